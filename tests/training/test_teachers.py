"""Teachers from elsewhere: imported weights, ensembles, chains, and the batches they choose."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict
from safetensors.numpy import load_file, save_file

from darkrank_jax import main as command_line
from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh
from darkrank_jax.errors import UserError
from darkrank_jax.models.pretrained import detect_resnet, load_resnet
from darkrank_jax.runs import train as runs
from darkrank_jax.runs.evaluate import evaluate_and_report
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from darkrank_jax.training import loop
from darkrank_jax.training.initial_weights import import_network, read_weights, with_weights
from darkrank_jax.training.network import Network, build, embed, make_ensemble
from darkrank_jax.training.teacher.ensemble import combine_embeddings
from darkrank_jax.workdir.metrics_log import read_log
from tests.small_runs import WEIGHTS, imported, read, refusal, small, stored, student

pytestmark = pytest.mark.usefixtures("source")


def ensemble(combine="concatenation", **members):
    config = small()
    config.losses = ConfigDict()
    config.ensemble = ConfigDict(members)
    config.combine = combine
    return config


def weights_of(run):
    return read_weights(run.weights, run.model, run.data, 3)


def checked(config):
    check_sizes(read_run(config.to_dict()), Splits())


def test_imported_weights_embed_as_the_network_they_are_of(tmp_path):
    run, split = read_run(imported().to_dict(), "teacher"), Splits()[read(small()).data]["test"]
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


def test_a_teacher_ignores_the_neck_that_its_config_names(tmp_path):
    path = tmp_path / "neck.safetensors"
    save_file({**load_file(WEIGHTS), "bottleneck.weight": np.ones(64, np.float32)}, path)
    config = changed(imported(), weights__path=str(path))
    with pytest.raises(UserError, match=r"set weights.ignore to \('bottleneck.',\)"):
        weights_of(read_run(config.to_dict(), "teacher"))
    config = changed(config, weights__ignore=("bottleneck.",))
    found = weights_of(read_run(config.to_dict(), "teacher"))
    jax.tree.map(
        np.testing.assert_array_equal, found["params"]["backbone"], load_resnet(WEIGHTS)["params"]
    )


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
    state = with_weights(drawn, weights_of(run))
    loaded = load_resnet(WEIGHTS)
    for params in (state.params["model"], state.ema_params["model"]):
        jax.tree.map(np.testing.assert_array_equal, params["backbone"], loaded["params"])
        np.testing.assert_array_equal(params["embedding"]["kernel"], head.T)
        np.testing.assert_array_equal(params["embedding"]["bias"], 1)
    jax.tree.map(
        np.testing.assert_array_equal, state.batch_stats["backbone"], loaded["batch_stats"]
    )
    assert state.params["class_weights"]["softmax"].shape == (5, 7)
    line = refusal(weights_of, dataclasses.replace(run, model={**run.model, "embedding_dim": 6}))
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
    split, mesh = Splits()[read(small()).data]["test"], make_mesh(8)
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
    evaluate_and_report(run, tmp_path)
    again = json.loads((tmp_path / "results.json").read_text())["networks"]
    assert again["teacher"]["metrics"] == networks["teacher"]["metrics"]


def test_the_baseline_sees_the_batches_that_the_teacher_chose_for_the_student(
    tmp_path, monkeypatch
):
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(48, 5)))
    config = student(stored(tmp_path / "e.npy"), steps=2, eval_every=2)
    config.baseline = ConfigDict({"triplet": {"weight": 1.0}})
    config.data.sampler = ConfigDict({"name": "hard_classes", "group": 2, "pool": 2})
    seen, original = [], loop.put

    def put(tree, sharding):
        if isinstance(tree, dict) and "rows" in tree:
            seen.append(tree["rows"].tolist())
        return original(tree, sharding)

    monkeypatch.setattr(loop, "put", put)
    run = read(config)
    for name, part in (("baseline", run.baseline_run), ("student", run)):
        runs.train(part, Splits(), tmp_path / name, name, make_mesh(8, jax.devices()[:1]))
    assert len(seen) == 4
    assert seen[:2] == seen[2:]
    assert seen[0] != seen[1]


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
            lambda: student(changed(imported(), weights__ignore=("neck.", ""))),
            "teacher.weights.ignore: must be what names begin with (got ('neck.', '')); give texts",
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
            lambda: student(ensemble(**{"a/b": imported()})),
            "teacher.ensemble: names must be names of files, of letters, digits and _, with . + - "
            "and spaces between them (got 'a/b'); choose another",
        ),
        (
            lambda: student(ensemble(outputs=imported())),
            "teacher.ensemble: names must not be 'outputs', which a file beside them has; choose",
        ),
        (
            lambda: student(small(checkpoint="a\0b")),
            "teacher.checkpoint: must be text without the character of code 0 (got 'a\\x00b')",
        ),
        (
            lambda: student(ensemble("sum", a=imported())),
            "teacher.combine: is 'sum' (str); give 'concatenation' or 'mean'",
        ),
        (
            lambda: student(ensemble(a=imported(), b=changed(imported(), data__image_size=32))),
            "teacher.ensemble.b.data.image_size: must be 16, as of the first of the ensemble (got "
            "32); give all members the same",
        ),
        (
            lambda: changed(
                student(changed(imported(), data__image_size=32)),
                data__augmentation=ConfigDict({"random_crop": {"padding": 2}}),
            ),
            "data.augmentation.random_crop: moves by pixels, and teacher and student have images "
            "of different sizes; use resized_random_crop or random_affine",
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
    assert f"{WEIGHTS}: is of another architecture; of another shape: bn1." in line
    wide = small()
    wide.model.embedding_dim = 4
    line = refusal(checked, student(ensemble("mean", a=imported(), b=wide)))
    assert line.startswith("teacher.ensemble: embeddings of 4 and 64 numbers have no mean; give")
    line = refusal(checked, student(changed(imported(), data__mean=(0.5, 0.5))))
    assert line.startswith("teacher.data.mean: has 2 numbers, and images have 3 channels; give one")
    np.save(tmp_path / "e.npy", np.ones((2, 3)))
    line = refusal(checked, student(stored(tmp_path / "e.npy")))
    assert "e.npy: has no vector for 46 of 48 training images: 2, 3, 4, 5, 6 and 41 more;" in line
