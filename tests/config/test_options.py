"""Options of what a config names."""

import pytest

from darkrank_jax import losses
from darkrank_jax.config.fields import check_arguments
from darkrank_jax.config.options import default_options, known_options, taker
from darkrank_jax.errors import UserError

OLD_NAMES = [
    ("darkrank_soft", "num_queries"),
    ("darkrank_hard", "num_queries"),
    ("circle", "m"),
    ("circle", "gamma"),
    ("proxy_anchor", "alpha"),
    ("proxy_nca", "softmax_scale"),
    ("relaxed_contrastive", "delta"),
]


@pytest.mark.parametrize(("loss", "name"), OLD_NAMES)
def test_an_old_name_of_a_loss_argument_gets_one_line_with_the_valid_ones(loss, name):
    function, given = taker("losses", loss)
    with pytest.raises(UserError) as refusal:
        check_arguments(function, {name: 1}, f"losses.{loss}", given=given)
    line = str(refusal.value)
    assert line.startswith(f"losses.{loss}.{name}: unknown field; ")
    assert "valid: " in line or "did you mean 'scale'" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("field", "values", "option", "kind"),
    [
        ("losses.triplet", {}, "margin", float),
        ("losses.triplet", {}, "embeddings", str),
        ("teacher.baseline.supcon", {}, "prefixes", tuple),
        ("teacher.baseline.darkrank_soft", {}, "list_size", int | None),
        ("teacher.ensemble.a.model", {"teacher.ensemble.a.model.name": "resnet10"}, "width", int),
        ("optimizer", {"optimizer.name": "sgd"}, "nesterov", bool),
        ("data.options", {"data.source": "glyphs"}, "num_classes", int),
    ],
)
def test_options_of_a_field_are_those_of_what_it_names(field, values, option, kind):
    assert known_options(field, values.get)[option] == kind


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("losses.none_such", {}),
        ("steps", {}),
        ("model", {"model.name": "none_such"}),
        # Of another run.
        ("teacher.optimizer", {"optimizer.name": "sgd"}),
    ],
)
def test_what_names_nothing_known_has_no_options(field, values):
    assert known_options(field, values.get) == {}


def test_arrays_and_what_the_program_passes_are_not_stated():
    function, given = taker("losses", "triplet")
    assert set(given) == {"embeddings", "labels", "key", "where", "weights", "reduce_fn"}
    assert function is losses.triplet_loss
    defaults = default_options("darkrank_hard")
    assert "student_embeddings" not in defaults
    assert defaults["alpha"] == 3.0
