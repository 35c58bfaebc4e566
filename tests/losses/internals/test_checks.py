"""Every loss of the table names the argument that is wrong, before anything is compiled."""

import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from darkrank_jax import losses
from tests.losses.batches import QUICK

BATCH, DIM, CLASSES = 4, 5, 3
SHAPES = {
    "embeddings": (BATCH, DIM),
    "features": (BATCH, 2, DIM),
    "logits": (BATCH, CLASSES),
    "maps": (BATCH, 2, 3, DIM),
}
SHAPES |= {f"teacher_{name}": shape for name, shape in SHAPES.items()}
# As many columns as fit the losses of 3 and of 10 centers a class.
SHAPES |= {"class_weights": (DIM, 30 * CLASSES)}
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


def refused(name, argument, *, inputs=None, hint="", **options):
    """Calls the loss without running it, and returns the line that it is refused with."""
    function, names = losses.LOSSES[name]
    given = {key: ARRAYS[key] for key in names} | (inputs or {})
    with pytest.raises((TypeError, ValueError)) as error:
        jax.eval_shape(lambda: function(*given.values(), **options))
    line = str(error.value)
    assert line.startswith(f"{argument}: got "), line
    assert "expected" in line
    assert hint in line
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
    refused(name, "where", hint="numbers are for weights", where=jnp.ones(BATCH))
    refused(name, "where", hint="numbers are for weights", where=jnp.ones(BATCH, int))
    refused(name, "where", where=[True] * BATCH)


@every_loss
def test_weights(name):
    refused(name, "weights", weights=jnp.ones(BATCH + 1))
    refused(name, "weights", weights=jnp.ones((BATCH, 1)))
    refused(name, "weights", weights=jnp.ones(BATCH, int))
    refused(name, "weights", weights=jnp.ones(BATCH, bool))
    refused(name, "weights", weights=[1.0] * BATCH)


@every_loss
def test_reduction(name):
    refused(name, "reduce_fn", reduce_fn="average")


CHOICES = [
    (name, parameter.name)
    for name in losses.LOSSES
    for parameter in parameters(name).values()
    if isinstance(parameter.default, str)
]


@pytest.mark.parametrize(("name", "option"), CHOICES)
def test_unknown_methods(name, option):
    refused(name, option, **{option: "fast"})


WHOLE = {"centers", "list_size", "num_anchors", "num_bins", "num_samples", "top_k"}
WHOLE_MARGINS = [("large_margin_softmax", "margin"), ("sphereface", "margin")]
# Names, flags and whole numbers decide what is compiled.
STATIC = [
    (name, parameter.name)
    for name in losses.LOSSES
    for parameter in parameters(name).values()
    if isinstance(parameter.default, str | bool)
    or parameter.name in WHOLE
    or (name, parameter.name) in WHOLE_MARGINS
]


@pytest.mark.parametrize(("name", "option"), STATIC)
def test_a_static_argument_that_is_an_array_is_refused(name, option):
    function, inputs = losses.LOSSES[name]
    arrays = [ARRAYS[key] for key in inputs]
    line = rf'^{option}: got {{}}, expected a static one.*static_argnames="{option}".*partial'
    with pytest.raises(TypeError, match=line.format("a traced value")):
        jax.eval_shape(lambda value: function(*arrays, **{option: value}), 1)
    with pytest.raises(TypeError, match=line.format("an array")):
        function(*arrays, **{option: jnp.array(1)})


@pytest.mark.parametrize("option", ["method", "num_samples", "top_k", "cross_entropy"])
def test_a_static_argument_of_a_loss_of_scores_that_is_traced_is_refused(option):
    scores = jnp.ones([2, 3])
    for loss in (losses.listmle_loss, losses.permutation_kl_loss):
        if option in inspect.signature(loss).parameters:
            with pytest.raises(TypeError, match=f"^{option}: got a traced value, expected a stat"):
                jax.eval_shape(lambda v, loss=loss: loss(scores, scores, **{option: v}), 1)


FLAGS = [(n, o) for n, o in STATIC if isinstance(parameters(n)[o].default, bool)]


@pytest.mark.parametrize(("name", "option"), FLAGS)
def test_a_flag_is_true_or_false(name, option):
    for value in (1, "no", None):
        refused(name, option, **{option: value})


LABELLED = [name for name, loss in losses.LOSSES.items() if "labels" in loss.inputs]


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40])
@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_jax_would_wrap_are_refused(name, value):
    labels = np.array([0, 1, value, 2])
    refused(name, "labels", hint="number them by np.unique", inputs={"labels": labels})


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_labels_of_64_bits_that_fit_give_the_value_of_32(dtype):
    labels = np.array([2**31 - 1, 5, 2**31 - 1, 5])
    rows = np.random.default_rng(0).normal(size=(BATCH, DIM)).astype(np.float32)
    found = losses.supcon_loss(rows, labels.astype(dtype))
    assert found == losses.supcon_loss(rows, labels.astype(np.int32)) > 0


@pytest.mark.parametrize("value", [2**32, -1])
def test_unsigned_labels_that_jax_would_wrap_are_refused(value):
    labels = np.array([0, 1, 2, 3], np.uint64)
    labels[1] = value % 2**64
    refused("triplet", "labels", inputs={"labels": labels})


def test_labels_beyond_32_bits_are_right_where_jax_has_64(x64):
    rows = np.random.default_rng(0).normal(size=(BATCH, DIM))
    wide = losses.supcon_loss(rows, np.array([2**32, 0, 2**32, 0]))
    assert wide == losses.supcon_loss(rows, np.array([1, 0, 1, 0]))


def test_the_memory_refuses_labels_that_jax_would_wrap():
    good, bad = ({"labels": np.array([1, value])} for value in (2, 2**32 + 1))
    with pytest.raises(ValueError, match=r"^labels: got 4294967297"):
        losses.memory.create(bad, 4)
    state = losses.memory.create(good, 4)
    for use in (losses.memory.push, losses.memory.join):
        with pytest.raises(ValueError, match=r"^labels: got 4294967297"):
            use(state, bad)


# Quickly, each format with some of the losses; slowly, all with all.
EIGHT_BITS = [
    pytest.param(n, dtype, marks=() if n in QUICK and (i + j) % 3 == 0 else pytest.mark.slow)
    for i, n in enumerate(losses.LOSSES)
    for j, dtype in enumerate(["float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"])
]


@pytest.mark.parametrize(("name", "dtype"), EIGHT_BITS)
def test_eight_bits_give_the_value_of_float32(name, dtype):
    function, inputs = losses.LOSSES[name]
    rng = np.random.default_rng(4)
    narrow = {
        key: jnp.asarray(rng.normal(size=shape), jnp.float32).astype(dtype)
        for key, shape in SHAPES.items()
    }
    wide = {key: array.astype(jnp.float32) for key, array in narrow.items()}
    labels = {"labels": jnp.array([0, 1, 0, 2])}

    def value(arrays, weights):
        return function(*[(arrays | labels)[key] for key in inputs], weights=weights)

    weights = jnp.array([0.5, 1.0, 2.0, 1.0])
    call = jax.jit(value)
    found, expected = call(narrow, weights.astype(dtype)), call(wide, weights)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


NUMBERS = {
    "alpha": 0.0, "beta": 0.0, "gamma": 0.0, "temperature": 0.0, "sigma": 0.0, "scale": 0.0,
    "list_size": 0, "num_samples": 0, "top_k": 0,
    "num_anchors": BATCH + 1, "power": 0.5, "push_weight": 1.5,
    "epsilon": -0.1, "centers": 0, "num_bins": 0, "angle": 0.0,
    "invariance_weight": -1.0, "variance_weight": -1.0, "covariance_weight": -1.0,
}  # fmt: skip
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


@pytest.mark.parametrize(("name", "option"), WHOLE_MARGINS)
def test_the_margin_that_multiplies_an_angle_is_whole(name, option):
    refused(name, option, margin=1.5)
    refused(name, option, margin=0)


@pytest.mark.parametrize("name", ["soft_triple", "sub_center_arcface"])
def test_class_weights_that_are_no_multiple_of_the_centers_are_refused(name):
    refused(name, "class_weights", hint="with 7 centers a class", centers=7)


@pytest.mark.parametrize("shape", [(BATCH, 1), (1, BATCH), (CLASSES,)])
def test_boundaries_of_another_shape(shape):
    refused("margin", "beta", beta=jnp.ones(shape))


CLASSIFICATION = [name for name, loss in losses.LOSSES.items() if "class_weights" in loss.inputs]


@pytest.mark.parametrize("label", [-1, CLASSES])
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_a_label_that_is_no_class_gives_nan(name, label):
    rng = np.random.default_rng(0)
    columns = CLASSES * losses.centers_of(name, {})
    arrays = [jnp.asarray(rng.normal(size=shape)) for shape in ((BATCH, DIM), (DIM, columns))]
    labels = jnp.array([0, label, 1, 2])
    where = jnp.array([True, False, True, True])
    loss = jax.jit(losses.LOSSES[name].function)
    assert jnp.isnan(loss(arrays[0], labels, arrays[1], where=jnp.ones(BATCH, bool)))
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
