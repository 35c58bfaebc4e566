"""Every loss of the table names the argument that is wrong, before anything is compiled."""

import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from darkrank_jax import losses

BATCH, DIM, CLASSES = 4, 5, 3
SHAPES = {
    "embeddings": (BATCH, DIM),
    "features": (BATCH, 2, DIM),
    "logits": (BATCH, CLASSES),
    "maps": (BATCH, 2, 3, DIM),
}
SHAPES |= {f"teacher_{name}": shape for name, shape in SHAPES.items()}
SHAPES |= {"class_weights": (DIM, CLASSES)}
ARRAYS = {name: jnp.ones(shape) for name, shape in SHAPES.items()} | {
    "labels": jnp.zeros(BATCH, jnp.int32)
}
SPOILT = {
    "another rank": lambda array: array[None],
    "no axes": lambda array: array.reshape(-1)[0],
    "another batch": lambda array: array[1:],
    "another type": lambda array: array.astype(
        jnp.int32 if jnp.issubdtype(array.dtype, jnp.floating) else jnp.float32
    ),
    "nothing in it": lambda array: array[:0],
    "no array": lambda array: array.tolist(),
}
every_loss = pytest.mark.parametrize("name", losses.LOSSES)


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the type checker of the test run, which would be the first to complain."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def parameters(name):
    return inspect.signature(losses.LOSSES[name].function).parameters


def refused(name, argument, *, inputs=None, **options):
    """Calls the loss without running it, and returns the line that it is refused with."""
    function, names = losses.LOSSES[name]
    given = {key: ARRAYS[key] for key in names} | (inputs or {})
    with pytest.raises((TypeError, ValueError)) as error:
        jax.eval_shape(lambda: function(*given.values(), **options))
    line = str(error.value)
    assert line.startswith(f"{argument}: got "), line
    assert "expected" in line
    assert "\n" not in line


@pytest.mark.parametrize("kind", SPOILT)
@every_loss
def test_arrays(name, kind):
    for position, key in enumerate(losses.LOSSES[name].inputs):
        # The first array says what the batch is, whatever its own.
        if kind == "another batch" and position == 0 and len(losses.LOSSES[name].inputs) > 1:
            continue
        wrong = SPOILT[kind](ARRAYS[key])
        # Rank: whatever axes features have, they are those of the teacher's.
        blamed = list(parameters(name))[position]
        if "features" in key and kind == "another rank" and position == 0:
            blamed = "teacher_features"
        if "maps" in key and kind == "no array" and position == 0:
            blamed = "teacher_maps"  # a list is a map for each stage
        refused(name, blamed, inputs={key: wrong})


@every_loss
def test_where(name):
    refused(name, "where", where=jnp.ones(BATCH + 1, bool))
    refused(name, "where", where=jnp.ones((BATCH, 1), bool))
    refused(name, "where", where=jnp.ones(BATCH))
    refused(name, "where", where=[True] * BATCH)


@every_loss
def test_reduction(name):
    refused(name, "reduce_fn", reduce_fn="average")
    refused(name, "reduce_fn", reduce_fn=None)


CHOICES = [
    (name, parameter.name)
    for name in losses.LOSSES
    for parameter in parameters(name).values()
    if isinstance(parameter.default, str)
]


@pytest.mark.parametrize(("name", "option"), CHOICES)
def test_unknown_methods(name, option):
    refused(name, option, **{option: "fast"})


NUMBERS = {
    "alpha": 0.0, "beta": 0.0, "gamma": 0.0, "temperature": 0.0, "sigma": 0.0, "scale": 0.0,
    "list_size": 0, "num_samples": 0, "top_k": 0,
    "num_anchors": BATCH + 1, "power": 0.5, "push_weight": 1.5,
    "epsilon": -0.1,
}  # fmt: skip
WHOLE = {"list_size", "num_samples", "top_k", "num_anchors"}
# The boundary of the margin loss may lie anywhere.
RANGES = [
    (n, o)
    for n in losses.LOSSES
    for o in parameters(n)
    if o in NUMBERS and (n, o) != ("margin", "beta")
]


@pytest.mark.parametrize(("name", "option"), RANGES)
def test_numbers_out_of_range(name, option):
    refused(name, option, **{option: NUMBERS[option]})
    if option in WHOLE:
        refused(name, option, **{option: 2.5})


def test_the_margin_that_multiplies_an_angle_is_whole():
    refused("large_margin_softmax", "margin", margin=1.5)
    refused("large_margin_softmax", "margin", margin=0)


@pytest.mark.parametrize("shape", [(BATCH, 1), (1, BATCH), (CLASSES,)])
def test_boundaries_of_another_shape(shape):
    refused("margin", "beta", beta=jnp.ones(shape))


CLASSIFICATION = [name for name, loss in losses.LOSSES.items() if "class_weights" in loss.inputs]


@pytest.mark.parametrize("label", [-1, CLASSES])
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_a_label_that_is_no_class_gives_nan(name, label):
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=shape)) for shape in ((BATCH, DIM), (DIM, CLASSES))]
    labels = jnp.array([0, label, 1, 2])
    where = jnp.array([True, False, True, True])
    loss = losses.LOSSES[name].function
    assert jnp.isnan(loss(arrays[0], labels, arrays[1]))
    assert jnp.isfinite(loss(arrays[0], labels, arrays[1], where=where))


@pytest.mark.filterwarnings("error")
def test_numpy_float64_is_taken_without_a_warning():
    rows = np.random.default_rng(0).normal(size=(BATCH, DIM))
    for loss in (losses.rkd_distance_loss, losses.darkrank_hard_loss):
        assert loss(rows, rows[:, :2]).dtype == jnp.float32


SCORES = ("listmle_loss", "permutation_kl_loss")
# Shapes that would broadcast to another number of lists: student, teacher, where.
BROADCAST = {
    "teacher_scores": [((2, 2, 3), (2, 3), None), ((2, 4), (4,), None), ((4,), (2, 4), None)],
    "where": [((2, 4), (2, 4), (4,)), ((2, 3), (2, 3), (2, 2, 3)), ((4,), (4,), (1, 4))],
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("argument", "shapes"), [(name, shapes) for name, each in BROADCAST.items() for shapes in each]
)
def test_scores_of_another_rank(name, argument, shapes):
    student, teacher, where = shapes
    mask = None if where is None else jnp.ones(where, bool)
    with pytest.raises(ValueError, match=rf"^{argument}: got shape .*, expected \[.*$"):
        getattr(losses, name)(jnp.ones(student), jnp.ones(teacher), where=mask)


@pytest.mark.parametrize("shape", [(4, 4), (4,), (4, 4, 4, 1)])
def test_features_of_another_rank(shape):
    with pytest.raises(
        ValueError, match=r"^teacher_features: got .*, expected \[batch, axis0, axis1"
    ):
        losses.fitnet_loss(jnp.ones((4, 4, 4)), jnp.ones(shape))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("arcface", "margin", 0.35),
        ("arcface", "margin", 2.97),
        ("darkrank_hard", "alpha", 2.0),
        ("darkrank_hard", "beta", 3.0),
        ("darkrank_hard", "beta", 1.5),
    ],
)
def test_numbers_may_be_traced(name, option, value):
    rng = np.random.default_rng(3)
    function, inputs = losses.LOSSES[name]
    arrays = [
        jnp.arange(BATCH) % CLASSES
        if key == "labels"
        else jnp.asarray(rng.normal(size=SHAPES[key]))
        for key in inputs
    ]
    found = jax.jit(lambda traced: function(*arrays, **{option: traced}))(value)
    np.testing.assert_allclose(found, function(*arrays, **{option: value}), rtol=1e-5)
