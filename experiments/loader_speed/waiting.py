"""How long the device waits for batches of a small set that stays decoded; README.md has the table.

    DARKRANK_DATA=DIR python -m experiments.loader_speed.waiting CONFIG ... [--steps N]

Trains the student of each config alone, for some steps. After each step the device is waited for,
so that it has nothing to do until the next batch is there: that time is what is measured. Loader
and step share the cores, which on a CPU is the harder case.
"""

import argparse
import runpy
import time

import jax

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import batches
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.compiled import compile_step
from darkrank_jax.training.network import build

WARM = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("configs", nargs="+", metavar="CONFIG")
    parser.add_argument("--steps", type=int, default=200, help="that are timed")
    arguments = parser.parse_args()
    print(
        "| config | batch | ms for a step | ms of it for the batch | share |\n|---|---|---|---|---|"
    )
    for config in arguments.configs:
        batch_size, step, waited = measure(config, arguments.steps)
        cells = [config, str(batch_size), f"{1e3 * step:.1f}", f"{1e3 * waited:.2f}"]
        print(f"| {' | '.join(cells)} | {waited / step:.1%} |", flush=True)


def measure(config: str, steps: int) -> tuple[int, float, float]:
    """Batch size, seconds of a step with its batch, and seconds that the batch is waited for."""
    run = read_run(runpy.run_path(config)["get_config"]().to_dict()).baseline_run
    train, data = Splits()[run.data]["train"], run.data
    # Every picture once, so that none is decoded on the clock.
    _ = train.images[:]
    channels, num_classes = train.images.shape[-1], len(train.class_names)
    model, optimizer, initial_state = build(run, channels=channels, num_classes=num_classes)
    train_step, state = compile_step(run, model, optimizer, None), jax.jit(initial_state)()
    stream = batches(
        train,
        seed=run.seed,
        first_step=0,
        num_steps=WARM + steps,
        batch_size=data.batch_size,
        images_per_class=data.images_per_class,
        augmentation=data.augmentation,
        num_threads=data.num_threads,
    )
    waited = start = 0.0
    for step in range(WARM + steps):
        if step == WARM:
            waited, start = 0.0, time.perf_counter()
        before = time.perf_counter()
        batch = next(stream) | {"teacher": {}}
        waited += time.perf_counter() - before
        state, _ = train_step(state, batch, {}, jax.random.key(run.seed))
        jax.block_until_ready(state)
    return data.batch_size, (time.perf_counter() - start) / steps, waited / steps


if __name__ == "__main__":
    main()
