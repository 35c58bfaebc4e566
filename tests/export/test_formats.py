"""Every format embeds as the run does, and what is no export is refused."""

import numpy as np
import onnx
import pytest

import darkrank_jax
from darkrank_jax.errors import UserError
from darkrank_jax.export import formats


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_file_embeds_as_the_run_does(name, exported, network, images):
    loaded = darkrank_jax.load_run(exported / formats.FORMATS[name].file)
    assert loaded.facts == network.facts
    found, expected = loaded.embed(images), network.embed(images)
    if formats.FORMATS[name].exact:
        np.testing.assert_allclose(found, expected, atol=2e-6)
    else:
        assert 1e-6 < np.abs(found - expected).max() < 0.1
        assert np.sum(found * expected, axis=1).min() > 0.98


def test_refuses_files_that_are_no_exports(exported, tmp_path):
    for name, text in [("a.onnx", "no"), ("a.safetensors", "no"), ("a.stablehlo", "no")]:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=rf"^{tmp_path / name}"):
            darkrank_jax.load_run(tmp_path / name)
    stranger = onnx.load(exported / "model.onnx")
    del stranger.metadata_props[:]
    onnx.save(stranger, tmp_path / "stranger.onnx")
    with pytest.raises(UserError, match="so --mode export or embed did not write it"):
        darkrank_jax.load_run(tmp_path / "stranger.onnx")
    beside = exported / "model.stablehlo.json"
    (tmp_path / "b.stablehlo").write_bytes((exported / "model.stablehlo").read_bytes()[:-99])
    (tmp_path / "b.stablehlo.json").write_text(beside.read_text())
    with pytest.raises(UserError, match=r"does not belong to b\.stablehlo\.json, or is damaged"):
        darkrank_jax.load_run(tmp_path / "b.stablehlo")
    with pytest.raises(UserError, match="is no workdir of a run, and no export"):
        darkrank_jax.load_run(tmp_path / "nothing")
