from typing import Literal

import pytest

from darkrank_jax.config.fields import check_arguments
from darkrank_jax.config.names import check_file_name
from darkrank_jax.config.options import taker
from darkrank_jax.errors import UserError


def example(
    images,
    *,
    width: int,
    rate: float = 0.1,
    mode: Literal["hard", "soft"] = "hard",
    size: int | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    flag: bool = False,
):
    """Every kind of annotation that a config can meet."""


GOOD = {"width": 3, "rate": 1, "mode": "soft", "size": None, "span": (0.5, 2.0), "flag": True}


def test_accepts_every_kind_of_value():
    check_arguments(example, GOOD, "model", given=["images"])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"widht": 3}, "model.widht: unknown field; did you mean 'width'?"),
        ({"width": 3.5}, "model.width: is 3.5 (float); give int"),
        ({"width": True}, "model.width: is True (bool); give int"),
        ({"rate": "fast"}, "model.rate: is 'fast' (str); give float"),
        ({"mode": "sotf"}, "model.mode: is 'sotf' (str); give 'hard' or 'soft'"),
        ({"size": 1.5}, "model.size: is 1.5 (float); give int or None"),
        ({"span": 3}, "model.span: is 3 (int); give tuple"),
        ({"flag": 1}, "model.flag: is 1 (int); give bool"),
        ({"images": 1}, "model.images: unknown field; valid: flag, mode, rate, size, span, width"),
    ],
)
def test_refuses_in_one_line(change, line):
    with pytest.raises(UserError) as refusal:
        check_arguments(example, GOOD | change, "model", given=["images"])
    assert str(refusal.value) == line


def test_names_what_is_missing():
    with pytest.raises(UserError, match=r"^model\.width: missing; give int$"):
        check_arguments(example, {}, "model", given=["images"])


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


@pytest.mark.parametrize("name", ["a", "_", "ResNet-50 v1.5", "a+b", "猫", "a.b-", 200 * "x"])
def test_a_name_that_can_be_a_files_is_taken(name, tmp_path):
    check_file_name(name, "teacher.ensemble")
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/a", "a\\b", "a\0b", "-a", " a", "a ", ".a", "a.", "a\n"),
        *("C:", "a*", "\x1b[2J", "\udcff", "\u202egnp", 201 * "x", 67 * "猫", 3, None),
    ],
)
def test_a_name_that_leads_elsewhere_or_is_no_files_is_refused(name):
    with pytest.raises(UserError) as raised:
        check_file_name(name, "teacher.ensemble")
    line = str(raised.value)
    assert line.startswith("teacher.ensemble: names must be names of files, of letters, ")
    assert line.endswith("; choose another")
    assert len(line) < 400


def test_a_name_that_is_taken_is_refused():
    check_file_name("image", "evaluation.networks", taken=("images",))
    with pytest.raises(UserError, match=r"^evaluation\.networks: names must not be 'images', "):
        check_file_name("images", "evaluation.networks", taken=("images",))
