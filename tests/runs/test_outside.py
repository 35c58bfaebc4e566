"""A teacher of another framework stands in for the same teacher in JAX."""

import numpy as np
import pytest

import darkrank_jax
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.export.command import export_run
from darkrank_jax.runs.splits import Splits
from tests.small_runs import refusal
from tests.taught_runs import losses, taught, viewed


@pytest.mark.slow
def test_a_teacher_in_onnx_runtime_gives_the_student_of_the_same_teacher_in_jax(workdir, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    export_run(workdir, formats="onnx", output=str(tmp_path / "export"))
    session = onnxruntime.InferenceSession(tmp_path / "export" / "model.onnx")
    name = session.get_inputs()[0].name
    path = tmp_path / "teacher.npz"
    config = taught(embeddings=str(path))
    darkrank_jax.embed_outside(config, path, lambda images: session.run(None, {name: images})[0])
    live = losses(taught(checkpoint=str(workdir)), tmp_path / "live")
    assert len(live) == 4
    np.testing.assert_allclose(losses(config, tmp_path / "outside"), live, rtol=1e-4)


def test_the_function_sees_all_images_at_the_size_of_the_teacher(tmp_path):
    shapes, path = [], tmp_path / "teacher.npz"
    config = taught(embeddings=str(path))
    config.teacher.data.image_size = 24

    def function(images):
        shapes.append(images.shape)
        return images.reshape(len(images), -1)[:, :5] / np.float32(255)

    darkrank_jax.embed_outside(config, path, function)
    images = Splits()[read_run(config.teacher.to_dict() | {"embeddings": ""}).data]["train"].images
    with np.load(path) as found:
        assert found["ids"].tolist() == [*range(48)]
        expected = images[:].reshape(48, -1)[:, :5] / np.float32(255)
        np.testing.assert_array_equal(found["vectors"], expected)
    assert shapes == [(256, 24, 24, 1)]


def test_a_file_of_another_kind_is_refused_before_anything_is_embedded(tmp_path):
    path = tmp_path / "teacher.npy"
    with pytest.raises(UserError, match=r"teacher\.npy: must end in \.npz"):
        darkrank_jax.embed_outside(taught(embeddings=str(path)), path, pytest.fail)


FUNCTIONS = {
    "must give floats [256, dim] (got uint8": lambda images: images[:, 0, :, 0],
    "must give floats [256, dim] (got float32 [1, 2])": lambda _: np.ones((1, 2), np.float32),
    "gives NaN or infinite numbers": lambda images: np.full((len(images), 2), np.nan),
}


def test_embeddings_of_two_sizes_are_refused(tmp_path):
    path, sizes = tmp_path / "teacher.npz", iter((5, 7))

    def growing(images):
        return np.ones((len(images), next(sizes)), np.float32)

    assert refusal(darkrank_jax.embed_outside, viewed(path), path, growing) == (
        "function: must give embeddings of one size (got [5, 7]); check it"
    )


@pytest.mark.parametrize("line", FUNCTIONS)
def test_what_is_no_embedding_is_refused_and_nothing_written(line, tmp_path):
    path = tmp_path / "teacher.npz"
    with pytest.raises(UserError) as error:
        darkrank_jax.embed_outside(taught(embeddings=str(path)), path, FUNCTIONS[line])
    assert str(error.value).startswith(f"function: {line}")
    assert not list(tmp_path.iterdir())
