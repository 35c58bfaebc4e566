"""Augmented views that a teacher of another framework has embedded stand in for the teacher."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import darkrank_jax
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation.embed import embed_images
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training.network import load_network
from darkrank_jax.training.teacher.outputs import open_store
from darkrank_jax.training.teacher.views import open_views, views_of
from tests.drawn_runs import save_drawn
from tests.small_runs import refusal
from tests.taught_runs import losses, taught, viewed


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    run = read_run(taught().to_dict()).teacher
    workdir = save_drawn(tmp_path_factory.mktemp("drawn") / "run", run)
    return load_network(run, workdir, make_mesh(8))


@pytest.fixture(scope="module")
def outside(drawn):
    """The drawn teacher as a function of images, as another framework would have it."""
    step = jax.jit(drawn.embed_step())

    def embed(images):
        return step(drawn.variables, images)["embeddings"]

    # In batches of one size, so that it is compiled once.
    return lambda images: embed_images(embed, images)


def stored(path, config):
    """The embeddings of all views, [views, images, dim]."""
    run = read_run(config.to_dict())
    store = open_views(path, views_of(run.data, Splits()[run.teacher_data]["train"]), "float32")
    rows = np.arange(48)
    views = [store.read(6 * view + rows // 8, rows % 8) for view in range(2)]
    return np.stack([view["teacher_embeddings"] for view in views])


def test_views_embedded_outside_are_those_of_the_same_teacher_inside(drawn, outside, tmp_path):
    path, batch, place = tmp_path / "teacher.npz", np.arange(48) // 8, np.arange(48) % 8
    config = viewed(path)
    darkrank_jax.embed_outside(config, path, outside)
    found, run = stored(path, config), read_run(config.to_dict())
    batches, wanted = views_of(run.data, Splits()[run.data]["train"]), {"teacher_embeddings"}
    inside = open_store(tmp_path / "inside", batches, drawn, wanted, make_mesh(8))
    expected = [inside.read(6 * view + batch, place)["teacher_embeddings"] for view in range(2)]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-6)
    with np.load(path) as file:
        plain = file["vectors"]
    # Two views of each image, and neither is the image itself.
    for one, other in ((found[0], found[1]), (found[0], plain), (found[1], plain)):
        assert np.abs(one - other).max(axis=1).min() > 1e-4
    check_sizes(run, Splits())


@pytest.mark.slow
def test_a_student_learns_from_views_outside_as_from_the_teacher(drawn, outside, tmp_path):
    path = tmp_path / "teacher.npz"
    config = viewed(path, steps=13)
    darkrank_jax.embed_outside(config, path, outside)
    live = viewed(path, steps=13, store_teacher=False)
    live.teacher.update({"embeddings": "", "checkpoint": str(drawn.workdir)})
    expected = losses(live, tmp_path / "live")
    assert len(expected) == 13
    np.testing.assert_allclose(losses(config, tmp_path / "outside"), expected, rtol=1e-4)


def pixels(images, scale=255):
    return images.mean(axis=2, dtype=np.float32)[..., 0] / scale


def test_views_resume_after_a_kill_and_start_again_for_another_teacher(tmp_path):
    """48 images as they are in one call, two views of them in twelve of 8 images."""
    path, shapes = tmp_path / "teacher.npz", []

    def counting(function, stop=99):
        def call(images):
            shapes.append(images.shape)
            if len(shapes) > stop:
                raise KeyboardInterrupt
            return function(images)

        shapes.clear()
        return call

    config = viewed(path)
    config.teacher.data.image_size = 24
    with pytest.raises(KeyboardInterrupt):
        darkrank_jax.embed_outside(config, path, counting(pixels, stop=6))
    with pytest.raises(
        UserError, match=r"teacher\.npz: must have the embeddings of 2 views of each"
    ):
        stored(path, config)
    darkrank_jax.embed_outside(config, path, counting(pixels))
    assert shapes == [(256, 24, 24, 1)] + (12 - 5) * [(8, 24, 24, 1)]
    whole = tmp_path / "whole.npz"
    darkrank_jax.embed_outside(config, whole, pixels)
    np.testing.assert_array_equal(stored(path, config), stored(whole, config))
    darkrank_jax.embed_outside(config, path, counting(pixels))
    assert len(shapes) == 1
    darkrank_jax.embed_outside(config, path, counting(lambda images: pixels(images, 100)))
    assert len(shapes) == 13
    np.testing.assert_allclose(stored(path, config), 2.55 * stored(whole, config), rtol=1e-5)


def test_views_of_other_augmentations_or_shapes_are_refused_before_the_run(tmp_path):
    path = tmp_path / "teacher.npz"
    darkrank_jax.embed_outside(viewed(path), path, pixels)
    check_sizes(read_run(viewed(path).to_dict()), Splits())
    other = read_run(viewed(path, augmentation={"random_affine": {"degrees": 21.0}}).to_dict())
    line = refusal(check_sizes, other, Splits())
    assert line.startswith(f"{path}: must have the embeddings of 2 views of each image beside it")
    assert line.endswith(
        "run darkrank_jax.embed_outside with this config, or set store_teacher to False"
    )
    wide = viewed(path)
    wide.teacher.data = ConfigDict(wide.teacher.data.to_dict() | {"image_size": (24, 16)})
    assert refusal(read_run, wide.to_dict()) == (
        "teacher.data.image_size: must have the shape of the student's 16 x 16 (got 24 x 16); they "
        "see the same part of a picture"
    )


def test_a_damaged_view_says_what_to_delete_and_to_run(tmp_path):
    path = tmp_path / "teacher.npz"
    darkrank_jax.embed_outside(viewed(path), path, pixels)
    (file,) = tmp_path.glob("teacher.npz.views/*/teacher_embeddings-00003.npy")
    file.write_bytes(file.read_bytes()[:-3])
    line = refusal(stored, path, viewed(path))
    assert line.startswith(f"{file.parent}: is damaged ({file.name} ")
    assert line.endswith(f"delete {file.parent}, and run darkrank_jax.embed_outside again")
