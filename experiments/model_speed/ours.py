"""Forward pass and training step of a network here."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from darkrank_jax.models import build_model
from experiments.model_speed import case as cases
from experiments.model_speed.case import Case, Engine


def engine(case: Case, compiled: bool) -> Engine:
    """A network of MODELS under its head."""
    assert compiled
    model = build_model(case.network, dtype=case.dtype, embedding_dim=cases.DIM)
    images, targets = jnp.asarray(cases.images(case)), jnp.asarray(cases.targets(case))
    optimizer = optax.sgd(cases.LEARNING_RATE, cases.MOMENTUM)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images[:1], train=False))()
    params = variables["params"]
    statistics = {name: tree for name, tree in variables.items() if name != "params"}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    holder = [(params, statistics, optimizer.init(params))]

    @jax.jit
    def forward(params: Any, statistics: Any, images: jax.Array) -> jax.Array:
        outputs: Any = model.apply({"params": params, **statistics}, images, train=False)
        return outputs["embeddings"]

    def loss(params: Any, statistics: Any, images: jax.Array) -> tuple[jax.Array, Any]:
        outputs, updates = model.apply(
            {"params": params, **statistics},
            images,
            train=True,
            mutable=list(statistics),
            rngs={"dropout": jax.random.key(1)},
        )
        return jnp.mean(jnp.sum((outputs["embeddings"] - targets) ** 2, -1)), updates

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: tuple[Any, Any, Any], images: jax.Array) -> Any:
        params, statistics, opt_state = state
        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (value, statistics), gradient = gradient_of(params, statistics, images)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), statistics, opt_state), value

    def step() -> jax.Array:
        holder[0], value = update(holder[0], images)
        return value

    passes = {"forward": lambda: forward(*holder[0][:2], images), "step": step}
    (device, *_) = jax.devices()
    peak = None if device.platform == "cpu" else lambda: device.memory_stats()["peak_bytes_in_use"]
    return Engine(passes, jax.block_until_ready, parameters, peak)
