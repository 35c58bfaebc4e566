"""Teachers from elsewhere: imported weights, ensembles, chains, stored embeddings."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from PIL import Image
from safetensors.numpy import load_file, save_file

from darkrank_jax import main as command_line
from darkrank_jax.data import SOURCES, Split, batches
from darkrank_jax.data.glyphs import glyphs
from darkrank_jax.errors import UserError
from darkrank_jax.export.gallery import Gallery, write_gallery
from darkrank_jax.export.images_in import list_images
from darkrank_jax.models.pretrained import detect_resnet, load_resnet
from darkrank_jax.training import loop, preflight, runs
from darkrank_jax.training.ensemble import combine_embeddings
from darkrank_jax.training.imported import import_network, read_weights, with_weights
from darkrank_jax.training.mesh import make_mesh
from darkrank_jax.training.metrics_log import read_log
from darkrank_jax.training.network import Network, build, embed, make_ensemble
from darkrank_jax.training.preflight import check_sizes, load_data
from darkrank_jax.training.run_config import baseline_of, read_run
from darkrank_jax.training.stored_embeddings import read_stored, with_stored
from tests import tiny_config

WEIGHTS = Path(__file__).parent.parent / "golden" / "resnet_basic.safetensors"


class NamedSplit(Split):
    """A split whose images have names."""

    @property
    def names(self):
        return tuple(f"train/{row:03}.png" for row in range(len(self.labels)))


def colored(*, path, image_size, num_classes=20, images_per_class=4):
    """The glyphs in three channels of unlike contrast, each with a name."""
    options = {"num_classes": num_classes, "images_per_class": images_per_class}
    splits = glyphs(path=path, image_size=image_size, **options)
    contrast = np.array([1.0, 0.5, 0.25])
    return {
        use: NamedSplit((split.images * contrast).astype(np.uint8), *split[1:])
        for use, split in splits.items()
    }


@pytest.fixture(autouse=True)
def source(monkeypatch):
    monkeypatch.setitem(SOURCES, "colored", colored)
    yield
    preflight._load.cache_clear()


def small(**changes):
    """A run of one step on the coloured glyphs."""
    config = tiny_config.small()
    config.data.source = "colored"
    config.data.augmentation = ConfigDict()
    config.losses = ConfigDict({"triplet": {"weight": 1.0}})
    config.update({"steps": 1, "log_every": 1, "eval_every": 1, **changes})
    return config


def imported(**model):
    """A teacher of torchvision's weights, as they are."""
    config = small(steps=0)
    config.losses = ConfigDict()
    config.model = ConfigDict(
        {"name": "resnet18", "width": 8, "pooling": "average", "embedding_dim": 0, **model}
    )
    config.weights.path = str(WEIGHTS)
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    return config


def student(teacher, **changes):
    config = small(**changes)
    config.losses = ConfigDict({"rkd_distance": {"weight": 1.0}})
    config.teacher = teacher
    return config


def stored(path):
    config = small()
    config.losses = ConfigDict()
    config.embeddings = str(path)
    return config


def ensemble(combine="concatenation", **members):
    config = small()
    config.losses = ConfigDict()
    config.ensemble = ConfigDict(members)
    config.combine = combine
    return config


def refusal(function, *arguments):
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def checked(config):
    check_sizes(read_run(config.to_dict()))


def test_imported_weights_embed_as_the_network_they_are_of(tmp_path):
    run, split = read_run(imported().to_dict(), "teacher"), load_data(read(small()).data)["test"]
    network = import_network(run, tmp_path, make_mesh(8), 3)
    found = embed(network, split, make_mesh(8))
    mean, std = (np.array(x, np.float32) for x in (run.data.mean, run.data.std))
    images = jnp.asarray((split.images / np.float32(255) - mean) / std, jnp.float32)
    maps = jax.jit(lambda v, x: detect_resnet(WEIGHTS).apply(v, x, train=False))(
        load_resnet(WEIGHTS), images
    )
    expected = maps[-1].mean(axis=(1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (network.step, network.seconds) == (0, 0.0)


def read(config):
    return read_run(config.to_dict())


def test_a_student_starts_from_weights_and_the_files_own_head(tmp_path):
    path = tmp_path / "metric.safetensors"
    head = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    save_file({**load_file(WEIGHTS), "fc.weight": head, "fc.bias": np.ones(5)}, path)
    config = imported(embedding_dim=5)
    config.update({"steps": 3, "losses": {"softmax": {"weight": 1.0}}, "ema_decay": 0.5})
    config.weights.update({"path": str(path), "head": "fc"})
    run = read(config)
    shapes = jax.eval_shape(build(run, channels=3, num_classes=7)[2])
    drawn = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state = with_weights(run, drawn, 3)
    loaded = load_resnet(WEIGHTS)
    for params in (state.params["model"], state.ema_params["model"]):
        jax.tree.map(np.testing.assert_array_equal, params["backbone"], loaded["params"])
        np.testing.assert_array_equal(params["embedding"]["kernel"], head.T)
        np.testing.assert_array_equal(params["embedding"]["bias"], 1)
    jax.tree.map(
        np.testing.assert_array_equal, state.batch_stats["backbone"], loaded["batch_stats"]
    )
    assert state.params["class_weights"]["softmax"].shape == (5, 7)
    line = refusal(
        read_weights, dataclasses.replace(run, model={**run.model, "embedding_dim": 6}), 3
    )
    assert line.startswith(f"{path}: its layer 'fc' makes 5 numbers of 64, and the model 6 of 64;")


def test_members_are_combined_at_length_one():
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(6, dim)) * [[s] for s in range(1, 7)] for dim in (3, 5))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]

    def squared(x):
        return np.square(x[:, None] - x[None]).sum(axis=-1)

    joined = combine_embeddings([jnp.asarray(first), jnp.asarray(second)], "concatenation")
    np.testing.assert_allclose(
        squared(np.asarray(joined)), (squared(units[0]) + squared(units[1])) / 2, atol=1e-5
    )
    mean = combine_embeddings([jnp.asarray(first), jnp.asarray(second[:, 1:4])], "mean")
    other = second[:, 1:4] / np.linalg.norm(second[:, 1:4], axis=1, keepdims=True)
    expected = (units[0] + other) / 2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(mean, expected, atol=1e-6)


class Brightness(nn.Module):
    """A network that costs no compilation: embeds an image as the brightness of its channels."""

    power: float

    def __call__(self, images, train):
        return {"embeddings": (images**self.power).mean(axis=(1, 2))}


def test_an_ensemble_embeds_as_its_members_do_combined(tmp_path):
    """Each with its own preprocessing."""
    split, mesh = load_data(read(small()).data)["test"], make_mesh(8)
    configs = {"plain": imported(), "dim": changed(imported(), data__mean=0.1, data__std=2.0)}
    run = read_run(ensemble("mean", **configs).to_dict(), "teacher")
    empty = {"params": {"model": {}}, "batch_stats": {}}
    members = {
        name: Network(
            member, Brightness({"plain": 1.0, "dim": 2.0}[name]), empty, 0, 1.5, tmp_path, 1
        )
        for name, member in run.ensemble.items()
    }
    together = make_ensemble(run, members, tmp_path)
    pixels = split.images.astype(np.float64) / 255
    mean, std = (np.array(x) for x in (run.ensemble["plain"].data.mean, (0.229, 0.224, 0.225)))
    first = ((pixels - mean) / std).mean(axis=(1, 2))
    second = (((pixels - 0.1) / 2.0) ** 2).mean(axis=(1, 2))
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    expected = sum(units) / np.linalg.norm(sum(units), axis=1, keepdims=True)
    np.testing.assert_allclose(embed(together, split, mesh), expected, atol=1e-5)
    assert together.seconds == 3.0


@pytest.mark.slow
def test_the_command_line_takes_a_teacher_of_torchvisions_weights(tmp_path, capsys):
    """As docs/pretrained.md shows it, from a config file and a flag to results."""
    path = tmp_path / "config.py"
    path.write_text(
        "from tests.training import test_teachers as configs\n"
        "def get_config():\n    return configs.student(configs.imported()).lock()\n"
    )
    workdir = tmp_path / "run"
    arguments = [f"--config={path}", f"--workdir={workdir}"]
    weights = "--config.teacher.weights.path"
    pickle = tmp_path / "weights.pth"
    assert command_line.main(["main", *arguments, f"{weights}={pickle}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(
        f"error: {pickle}: is a pickle, which can run any code and is not opened"
    )
    assert not workdir.exists()
    mean = "--config.teacher.data.mean=(0.5, 0.4, 0.3)"
    assert command_line.main(["main", *arguments, f"{weights}={WEIGHTS}", mean]) == 0
    said = capsys.readouterr().out
    size = sum(leaf.size for leaf in jax.tree.leaves(load_resnet(WEIGHTS)["params"]))
    assert f"teacher   resnet18, {size:,} parameters, from {WEIGHTS}\n" in said
    teacher = json.loads((workdir / "results.json").read_text())["networks"]["teacher"]
    assert (teacher["parameters"], teacher["steps"], teacher["training_seconds"]) == (size, 0, 0)


@pytest.mark.slow
def test_an_ensemble_of_weights_and_a_chain_teaches(tmp_path, capsys):
    """The student's teacher is an ensemble; a member of it has learnt from a teacher itself."""
    assistant = student(imported())
    run = read(student(ensemble(weights=imported(), assistant=assistant)))
    runs.train_and_report(run, tmp_path)
    size = sum(leaf.size for leaf in jax.tree.leaves(load_resnet(WEIGHTS)["params"]))
    said = capsys.readouterr().out
    assert "teacher   concatenation of resnet10, " in said
    assert f"; resnet18, {size:,} parameters, from {WEIGHTS}\n" in said
    networks = json.loads((tmp_path / "results.json").read_text())["networks"]
    assert list(networks) == ["teacher", "student"]
    assert networks["teacher"]["parameters"] == size + networks["student"]["parameters"]
    assert networks["teacher"]["model"] == {
        "name": "concatenation",
        "weights": "resnet18",
        "assistant": "resnet10",
    }
    assert (tmp_path / "teacher" / "assistant" / "run.json").exists()
    assert not (tmp_path / "teacher" / "weights").exists()
    assert [row["losses/rkd_distance"] > 0 for row in read_log(tmp_path) if "loss" in row] == [True]
    (tmp_path / "results.json").unlink()
    runs.evaluate_and_report(run, tmp_path)
    again = json.loads((tmp_path / "results.json").read_text())["networks"]
    assert again["teacher"]["metrics"] == networks["teacher"]["metrics"]


@pytest.mark.parametrize("by", ["names", "rows", "order", "records"])
def test_stored_embeddings_follow_the_images_of_each_batch(by, tmp_path):
    config = student(stored(tmp_path / ("f.npz" if by in ("names", "rows") else "f.npy")), steps=5)
    run = read(config)
    train = load_data(run.data)["train"]
    vectors = train.images.reshape(len(train.labels), -1)[:, ::7].astype(np.float64)
    # The file has them in an order of its own, and others besides.
    order = np.random.default_rng(2).permutation(len(train.labels))
    names = np.array([f"other/{n}" for n in range(3)] + [train.names[row] for row in order])
    mixed = np.concatenate([np.zeros((3, vectors.shape[1])), vectors[order]])
    path = run.teacher.embeddings
    if by == "names":
        np.savez(path, ids=names, vectors=mixed)
    elif by == "rows":
        np.savez(path, ids=order, vectors=vectors[order])
    elif by == "records":
        records = np.zeros(len(mixed), [("ids", names.dtype), ("vectors", "f8", mixed.shape[1:])])
        records["ids"], records["vectors"] = names, mixed
        np.save(path, records)
    else:
        np.save(path, vectors)
    stream = batches(
        train,
        seed=run.seed,
        first_step=2,
        num_steps=3,
        batch_size=8,
        images_per_class=2,
        augmentation={},
        num_threads=1,
    )
    found = list(with_stored(stream, run, train))
    assert len(found) == 3
    for batch in found:
        expected = batch["images"].reshape(8, -1)[:, ::7]
        np.testing.assert_array_equal(batch["teacher"]["teacher_embeddings"], expected)
        assert batch["teacher"]["teacher_embeddings"].dtype == np.float32


@pytest.mark.slow
def test_a_student_learns_from_stored_embeddings_as_from_the_network(tmp_path):
    live, mesh = read(student(imported())), make_mesh(8)
    teacher = import_network(live.teacher, tmp_path, mesh, 3)
    train = load_data(live.data)["train"]
    np.savez(tmp_path / "e.npz", ids=train.names, vectors=embed(teacher, train, mesh))
    runs.train(live, tmp_path / "live", "student", mesh, teacher)
    run = read(student(stored(tmp_path / "e.npz")))
    runs.train(run, tmp_path / "stored", "student", mesh)
    losses = [
        [row["loss"] for row in read_log(tmp_path / name) if "loss" in row]
        for name in ("live", "stored")
    ]
    assert losses[0][0] > 0
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


@pytest.mark.slow
def test_stored_embeddings_are_no_network_of_the_report(tmp_path, capsys):
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(48, 5)))
    config = student(stored(tmp_path / "e.npy"))
    config.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    runs.train_and_report(read(config), tmp_path / "run")
    networks = json.loads((tmp_path / "run" / "results.json").read_text())["networks"]
    assert list(networks) == ["baseline", "student"]
    assert f"teacher   {tmp_path / 'e.npy'}" in capsys.readouterr().out


def test_the_baseline_sees_the_batches_that_the_teacher_chose_for_the_student(
    tmp_path, monkeypatch
):
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(48, 5)))
    config = student(stored(tmp_path / "e.npy"), steps=2)
    config.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    config.data.sampler = ConfigDict({"name": "hard_classes", "group": 2, "pool": 2})
    seen, original = [], loop.put

    def put(tree, sharding):
        if isinstance(tree, dict) and "rows" in tree:
            seen.append(tree["rows"].tolist())
        return original(tree, sharding)

    monkeypatch.setattr(loop, "put", put)
    run = read(config)
    for name, part in (("baseline", baseline_of(run)), ("student", run)):
        runs.train(part, tmp_path / name, name, make_mesh(8))
    assert len(seen) == 4
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        (
            {"ids": np.arange(48), "vector": np.ones((48, 2))},
            "has ids, vector; store either embeddings or vectors [n, dim]",
        ),
        ({"embeddings": np.ones((48, 2))}, "has no 'ids'; it has embeddings"),
        (
            {"ids": np.arange(47), "vectors": np.ones((48, 2))},
            "has 47 ids for 48 vectors; give one",
        ),
        ({"ids": np.arange(48), "vectors": np.ones(48)}, "its vectors are float64 of shape (48,);"),
        (
            {"ids": np.arange(48), "vectors": np.full((48, 2), "x")},
            "its vectors are <U1 of shape (48, 2); give numbers [n, dim]",
        ),
        (
            {"ids": np.array([*range(47), 3]), "vectors": np.ones((48, 2))},
            "id 3 is there twice; give each once",
        ),
        (
            {"ids": np.arange(2, 48), "vectors": np.ones((46, 2))},
            "has no vector for 2 of 48 training images: 0, 1; embed them too",
        ),
        (
            {
                "ids": np.array([f"train/{n:03}.png" for n in range(40)]),
                "vectors": np.ones((40, 2)),
            },
            "has no vector for 8 of 48 training images: train/040.png, train/041.png, "
            "train/042.png, train/043.png, train/044.png and 3 more; embed them too",
        ),
        (
            {"ids": np.arange(48), "vectors": np.where(np.eye(48, 2), np.nan, 1.0)},
            "the vector of id 0 is not finite; mend or drop it",
        ),
        (
            {"ids": np.array([*"ab"], object), "vectors": np.ones((2, 2))},
            "cannot be read (Object arrays cannot be loaded when allow_pickle=False); save ids as",
        ),
    ],
)
def test_stored_embeddings_that_do_not_fit_are_refused(arrays, line, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, **arrays)
    split = load_data(read(small()).data)["train"]
    assert refusal(read_stored, path, split).startswith(f"{path}: {line}")


@pytest.mark.parametrize("name", ["embeddings", "vectors"])
def test_stored_embeddings_may_have_either_name(name, tmp_path):
    split = load_data(read(small()).data)["train"]
    rows, vectors = (
        np.random.default_rng(1).permutation(48),
        np.random.default_rng(2).random((48, 3)),
    )
    np.savez(tmp_path / "e.npz", ids=rows, **{name: vectors})
    found = read_stored(tmp_path / "e.npz", split).of(np.array([5, 0, 47]))
    expected = [vectors[rows.tolist().index(row)] for row in (5, 0, 47)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_gallery_is_a_teacher_of_the_images_it_was_made_of(tmp_path, monkeypatch):
    """Made of a folder that holds all splits, in the order of its names."""
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(4)
    for place in (f"c{label}/{number}.png" for label in range(9) for number in range(2)):
        (tmp_path / "images" / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / place)
    listed = list_images(tmp_path / "images")
    vectors = rng.normal(size=(18, 4)).astype(np.float32)
    gallery = Gallery(np.array(listed.ids), np.array(listed.labels), vectors, {})
    write_gallery(gallery, tmp_path / "gallery.npz")
    train = SOURCES["images"](path=str(tmp_path / "images"), image_size=(8, 8))["train"]
    found = read_stored(tmp_path / "gallery.npz", train).of(np.arange(len(train.labels)))
    np.testing.assert_array_equal(found, vectors[[listed.ids.index(name) for name in train.names]])


def test_other_files_are_no_stored_embeddings(tmp_path):
    split = load_data(read(small()).data)["train"]
    np.save(tmp_path / "e.npy", np.ones((49, 2)))
    line = refusal(read_stored, tmp_path / "e.npy", split)
    assert f"{tmp_path}/e.npy: has 49 vectors for 48 training images; give ids" in line
    for name, content in (("no.npz", None), ("no.npy", b"x"), ("zip.npz", b"PK\x03\x04")):
        if content:
            (tmp_path / name).write_bytes(content)
        assert f"{tmp_path / name}: cannot be read (" in refusal(
            read_stored, tmp_path / name, split
        )
    line = refusal(read_stored, tmp_path / "e.csv", split)
    assert line == f"{tmp_path}/e.csv: is no .npy or .npz; give embeddings in one of them"
    np.savez(tmp_path / "names.npz", ids=["a"], vectors=np.ones((1, 2)))
    nameless = glyphs(path="", image_size=16, num_classes=20, images_per_class=4)["train"]
    line = refusal(read_stored, tmp_path / "names.npz", nameless)
    assert "its ids are names, and this source's images have none; give row numbers" in line


def changed(config, **fields):
    """A config with fields set by their dotted names."""
    for name, value in fields.items():
        holder, _, field = name.rpartition("__")
        target = config
        for part in holder.split("__") if holder else ():
            target = target[part]
        with target.ignore_type():
            target[field] = value
    return config


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (lambda: small(steps=0), "steps: is 0; give at least 1"),
        (
            lambda: changed(small(), ensemble=ConfigDict({"a": imported()})),
            "ensemble: is for a teacher; leave it empty to train this network",
        ),
        (
            lambda: changed(small(), embeddings="e.npz"),
            "embeddings: is for a teacher; leave it empty to train this network",
        ),
        (
            lambda: student(small(steps=0)),
            "teacher.steps: is 0, and there is no teacher.weights.path; give one, or train for",
        ),
        (
            lambda: student(imported(embedding_dim=4)),
            "teacher.weights.head: is empty, so that with teacher.steps of 0 the embedding would",
        ),
        (
            lambda: student(changed(imported(), weights__head="fc")),
            "teacher.weights.head: makes the embedding, and teacher.model.embedding_dim is 0; give",
        ),
        (
            lambda: changed(small(), weights__head="fc"),
            "weights.head: is of no file; give weights.path",
        ),
        (
            lambda: changed(small(), weights__hed="fc"),
            "weights.hed: unknown field; did you mean 'head'?",
        ),
        (
            lambda: changed(small(), model__embedding_dim=-1),
            "model.embedding_dim: is -1; give at least 0",
        ),
        (
            lambda: student(changed(stored("e.npz"), checkpoint="runs/a")),
            "teacher.embeddings: stands beside teacher.checkpoint; a teacher comes from one of",
        ),
        (
            lambda: student(ensemble(a=stored("e.npz"))),
            "teacher.ensemble.a.embeddings: an ensemble is of networks; combine the vectors",
        ),
        (
            lambda: student(ensemble("sum", a=imported())),
            "teacher.combine: is 'sum' (str); give 'concatenation' or 'mean'",
        ),
        (
            lambda: student(ensemble(a=changed(imported(), data__image_size=32))),
            "teacher.ensemble.a.data.image_size: is 32, the student's is 16; give both the same",
        ),
        (
            lambda: changed(
                student(stored("e.npz")), losses=ConfigDict({"fitnet": {"weight": 1.0}})
            ),
            "losses.fitnet: takes teacher_features, and of this teacher there is only "
            "teacher_embeddings; name other losses",
        ),
        (
            lambda: changed(student(imported()), losses=ConfigDict({"kd": {"weight": 1.0}})),
            "losses.kd: takes teacher_logits, and of this teacher there is only teacher_emb",
        ),
        (
            lambda: changed(small(), data__mean=(0.5, "x")),
            "data.mean: is (0.5, 'x'); give a number, or one a channel",
        ),
        (
            lambda: changed(small(), data__std=(0.5, 0.0, 0.5)),
            "data.std: is (0.5, 0.0, 0.5); give more than 0",
        ),
    ],
)
def test_refuses_a_teacher_in_one_line(config, line):
    assert refusal(read_run, config().to_dict()).startswith(line)


def test_refuses_before_anything_is_compiled_what_the_files_show(tmp_path):
    path = tmp_path / "weights.pth"
    line = refusal(checked, student(changed(imported(), weights__path=str(path))))
    assert line.startswith(f"{path}: is a pickle, which can run any code and is not opened; docs/")
    line = refusal(checked, student(imported(width=16)))
    assert f"{WEIGHTS}: is of another architecture; of another shape: bn1.running_mean" in line
    wide = small()
    wide.model.embedding_dim = 4
    line = refusal(checked, student(ensemble("mean", a=imported(), b=wide)))
    assert line.startswith("teacher.ensemble: embeddings of 4 and 64 numbers have no mean; give")
    line = refusal(checked, student(changed(imported(), data__mean=(0.5, 0.5))))
    assert line.startswith("teacher.data.mean: has 2 numbers, and images have 3 channels; give one")
    np.save(tmp_path / "e.npy", np.ones((2, 3)))
    line = refusal(checked, student(stored(tmp_path / "e.npy")))
    assert "e.npy: has no vector for 46 of 48 training images: 2, 3, 4, 5, 6 and 41 more;" in line
