"""Losses, networks and a whole step compile for TPUs and GPUs; run by `make test-accelerators`.

No accelerator is needed, and nothing is run: XLA's compilers come with JAX's packages for them.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from configs import demo
from darkrank_jax import losses
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import by_rows, make_mesh, replicated
from darkrank_jax.evaluation import (
    agreement,
    distances,
    kmeans,
    neighbors,
    reranking,
    retrieval,
)
from darkrank_jax.models import MODELS, build_model
from darkrank_jax.runs.accelerators import ACCELERATORS, absent_devices, has_compiler
from darkrank_jax.runs.plan import plan_step
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from tests.losses.batches import RANDOM, VARIANTS

pytestmark = pytest.mark.slow
BATCH, DEVICES = 128, 4


@pytest.fixture(params=["tpu_v5e", "h100"])
def mesh(request):
    accelerator = ACCELERATORS[request.param]
    if not has_compiler(accelerator):
        pytest.skip(f"no compiler for {request.param}; run make test-accelerators")
    # What was compiled for absent devices cannot be read again.
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    yield make_mesh(BATCH, absent_devices(accelerator, DEVICES))
    jax.config.update("jax_enable_compilation_cache", before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses(variant, mesh):
    name, options = VARIANTS[variant]
    function, inputs = losses.LOSSES[name]
    shapes = {"embeddings": (24,), "features": (16,), "logits": (9,), "maps": (3, 2, 8)}
    shapes |= {f"teacher_{name}": shape for name, shape in shapes.items()}
    rows, whole = by_rows(mesh), replicated(mesh)
    arrays = {
        name: jax.ShapeDtypeStruct((BATCH, *shapes[name]), jnp.float32, sharding=rows)
        for name in inputs
        if name in shapes
    }
    if "class_weights" in inputs:
        arrays["class_weights"] = jax.ShapeDtypeStruct((24, 9), jnp.float32, sharding=whole)
    labels = jax.ShapeDtypeStruct((BATCH,), jnp.int32, sharding=rows)

    def value(arrays, labels, key):
        given = arrays | {"labels": labels}
        drawn = {"key": key} if variant in RANDOM else {}
        return function(*[given[name] for name in inputs], **options, **drawn)

    key = jax.eval_shape(lambda: jax.random.key(0))
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=whole)
    program = jax.jit(jax.value_and_grad(value)).lower(arrays, labels, key).compile()
    assert program.memory_analysis().argument_size_in_bytes > 0


@pytest.mark.parametrize("name", MODELS)
def test_networks_and_their_gradients(name, mesh):
    model = build_model(name, dtype="bfloat16", embedding_dim=16)
    images = jax.ShapeDtypeStruct((BATCH, 32, 32, 3), jnp.float32, sharding=by_rows(mesh))
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    variables = jax.eval_shape(lambda: model.init(keys, jnp.zeros((2, 32, 32, 3)), train=False))

    def embedded(params, rest, images):
        outputs, updates = model.apply(
            {"params": params} | rest, images, train=True, mutable=["batch_stats"], rngs=keys
        )
        return outputs["embeddings"].sum(), updates

    laid = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, P())
        ),
        variables,
    )
    params = laid.pop("params")
    gradient = jax.jit(jax.grad(embedded, has_aux=True))
    program = gradient.lower(params, laid, images).compile()
    assert program.memory_analysis().argument_size_in_bytes > 0


@pytest.mark.parametrize("mesh", ["h100"], indirect=True)
def test_norms_and_shortcuts_in_evaluation_are_a_part_of_convolutions(mesh):
    model = build_model("resnet18", dtype="bfloat16", embedding_dim=16)
    images = jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    laid = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)),
        variables,
    )
    shape = jax.ShapeDtypeStruct((BATCH, 32, 32, 3), jnp.float32, sharding=by_rows(mesh))
    embed = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    program = embed.lower(laid, shape).compile().as_text()
    assert program.count('custom_call_target="__cudnn$convBiasActivationForward"') == 20
    assert "__cudnn$convForward" not in program


@pytest.mark.parametrize("options", [{}, {"chunks": 2}, {"remat": True}], ids=str)
def test_a_step_of_a_run(options, mesh):
    config = demo.get_config().unlock()
    config.update(options)
    run, splits = read_run(config.to_dict()), Splits()
    networks = check_sizes(run, splits)
    found = plan_step(networks[""], networks["teacher."], splits, mesh)
    assert found.temporary > 0
    assert found.traffic > found.state


def test_evaluation(mesh):
    one = make_mesh(1, list(mesh.devices.flat)[:1])

    def array(shape, dtype=jnp.float32, sharding=None):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding or replicated(one))

    key = jax.eval_shape(lambda: jax.random.key(0))
    rows, lines, number = array((4096, 32)), array((256, 32)), array((), jnp.int32)
    matches = array((256, 9), jnp.int32), array((256, 9), bool)
    best = array((256, 30)), array((256, 30), jnp.int32)
    whole = [array(leaf.shape, leaf.dtype, replicated(mesh)) for leaf in (lines, number, *best)]
    sharded = array(rows.shape, sharding=by_rows(mesh)), array((4096,), sharding=by_rows(mesh))
    programs = [
        neighbors.with_squares.lower(rows, number, cosine=True),
        neighbors.search_tile.lower(whole[0], *sharded, *whole[1:], wanted=30, mesh=mesh),
        retrieval.positive_ranks.lower(lines, rows, array((4096,)), *matches, number),
        distances.squared_distances.lower(lines, rows),
        reranking.largest_distances.lower(lines, rows),
        agreement.tile_agreement.lower(array((256,), jnp.int32), rows, rows, ks=(1, 10)),
        kmeans.kmeans.lower(rows, num_clusters=20, key=array(key.shape, key.dtype)),
    ]
    for program in programs:
        assert program.compile().memory_analysis().argument_size_in_bytes > 0
