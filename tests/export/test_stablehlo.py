"""StableHLO modules of a network."""

from jax import export as jax_export


def test_stablehlo_is_for_every_platform(exported, images):
    loaded = jax_export.deserialize(bytearray((exported / "model.stablehlo").read_bytes()))
    assert loaded.platforms == ("cpu", "cuda", "tpu")
    for size in (1, 4):
        assert loaded.call(images[:size]).shape == (size, 8)
