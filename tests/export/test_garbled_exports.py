"""Exports, weights and stored embeddings that are damaged, mixed or newer: one line, or right."""

import json
import re
import shutil

import numpy as np
import onnx
import pytest
from jax import export as jax_export
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import darkrank_jax
from darkrank_jax.data import Split
from darkrank_jax.errors import UserError
from darkrank_jax.evaluation import stored
from darkrank_jax.export import facts as facts_of_files
from darkrank_jax.export.facts import CHECKSUM, KEY, checksum
from darkrank_jax.export.formats import FORMATS
from darkrank_jax.export.onnx import onnx_graph
from darkrank_jax.export.source import load_source
from darkrank_jax.models import build_model
from darkrank_jax.models.pretrained import load_weights
from darkrank_jax.training.teacher import embeddings as stored_embeddings

NAMES = ("stablehlo", "onnx", "safetensors")
RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (2, 16, 16, 1), np.uint8)
# Doubles, whose exponents reach beyond those of floats.
VECTORS = RNG.normal(size=(6, 3))
LABELS = np.array([2, 0, 2, 1, 0, 1])
IDS = np.array([4, 0, 2, 5, 1, 3])
ROWS = np.array([3, 0, 5])


@pytest.fixture(scope="session")
def exported(workdir, other_workdir, tmp_path_factory):
    """A folder with every exact format of two networks."""
    folder = tmp_path_factory.mktemp("exported")
    for name, place in (("one", workdir), ("two", other_workdir)):
        (folder / name).mkdir()
        source = load_source(place)
        for kind in map(FORMATS.get, NAMES):
            kind.write(source, folder / name / kind.file)
    return folder


@pytest.fixture
def copied(exported, tmp_path):
    """A copy of the first network's to spoil."""
    return shutil.copytree(exported / "one", tmp_path / "one")


def damages(sound):
    """Contents of a file that is emptied, cut, and of which single bits are turned."""
    rng = np.random.default_rng(3)
    for size in (0, 1, *rng.integers(2, len(sound), 8)):
        yield sound[:size]
    # Heads and tails of files say what the rest is.
    ends = rng.integers(0, 400, 18) - 200
    for place in (*rng.integers(0, len(sound), 12), *ends):
        garbled = bytearray(sound)
        garbled[place % len(sound)] ^= 1 << rng.integers(8)
        yield bytes(garbled)


def outcomes(path, read):
    """What `read` gives for each damaged content of a file: arrays, or the line of its error."""
    sound = path.read_bytes()
    for content in damages(sound):
        path.write_bytes(content)
        try:
            yield read()
        except UserError as error:
            line = str(error)
            assert line.isprintable()
            assert str(path.parent) in line
            yield line
    path.write_bytes(sound)


def refusal(path):
    """The one line by which an export is refused."""
    with pytest.raises(UserError) as raised:
        darkrank_jax.load_run(path).embed(IMAGES)
    assert str(raised.value).isprintable()
    return str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("model.stablehlo", marks=pytest.mark.slow),
        "model.stablehlo.json",
        "model.onnx",
        pytest.param("model.safetensors", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_export_gives_one_line_or_the_same_embeddings(name, copied):
    path = copied / name.removesuffix(".json")

    def read():
        network = darkrank_jax.load_run(path)
        return network.facts, network.embed(IMAGES)

    facts, expected = read()
    found = list(outcomes(copied / name, read))
    lines = [each for each in found if isinstance(each, str)]
    assert len(lines) >= 25
    for each in found:
        if not isinstance(each, str):
            assert each[0] == facts
            np.testing.assert_allclose(each[1], expected, atol=2e-6)


def test_damaged_weights_give_one_line_or_finite_numbers(copied, workdir):
    path = copied / "model.safetensors"
    backbone = build_model(**load_source(workdir).facts["model"]).backbone

    def read():
        return load_weights(path, backbone, image_shape=(16, 16, 1), prefix="backbone.")

    sound = shapes(read())
    found = list(outcomes(path, read))
    assert sum(isinstance(each, str) for each in found) >= 10
    for each in found:
        if not isinstance(each, str):
            assert shapes(each) == sound


def shapes(tree):
    """Shapes of finite arrays by name."""
    if isinstance(tree, dict):
        return {name: shapes(inner) for name, inner in tree.items()}
    assert np.isfinite(tree).all()
    assert tree.dtype == np.float32
    return tree.shape


def records(**columns):
    """An array of records with the named fields."""
    dtype = [(name, column.dtype, column.shape[1:]) for name, column in columns.items()]
    made = np.zeros(len(VECTORS), dtype)
    for name, column in columns.items():
        made[name] = column
    return made


def evaluated(path):
    found = stored.read_stored(path)
    cameras = () if found.cameras is None else (found.cameras,)
    return found.embeddings, found.labels, *cameras


def taught(path):
    split = Split(np.zeros((6, 2, 2, 1), np.uint8), LABELS, ("a", "b", "c"))
    return (stored_embeddings.read_teacher_embeddings(path, split).of(ROWS),)


@pytest.mark.parametrize(
    ("name", "arrays", "read"),
    [
        ("e.npz", {"embeddings": VECTORS, "labels": LABELS, "cameras": IDS}, evaluated),
        ("e.npy", records(vectors=VECTORS, labels=LABELS), evaluated),
        ("t.npz", {"vectors": VECTORS, "ids": IDS}, taught),
        ("t.npy", records(vectors=VECTORS, ids=IDS), taught),
        ("alone.npy", VECTORS, taught),
    ],
)
def test_damaged_embeddings_give_one_line_or_finite_numbers(name, arrays, read, tmp_path):
    path = tmp_path / name
    if isinstance(arrays, dict):
        np.savez(path, **arrays)
    else:
        np.save(path, arrays)
    sound = read(path)
    found = list(outcomes(path, lambda: read(path)))
    assert sum(isinstance(each, str) for each in found) >= 10
    for each in found:
        if isinstance(each, str):
            continue
        for values, expected in zip(each, sound, strict=True):
            assert values.shape == expected.shape
            assert np.isfinite(values).all()
            # Archives have checksums.
            if name.endswith(".npz"):
                np.testing.assert_array_equal(values, expected)


def test_a_turned_bit_in_the_name_of_an_array_does_not_hide_the_array(tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, embeddings=VECTORS, labels=LABELS, cameras=IDS)
    sound = path.read_bytes()
    assert sound.count(b"cameras.npy") == 2
    for place in (sound.find(b"cameras.npy"), sound.rfind(b"cameras.npy")):
        garbled = bytearray(sound)
        garbled[place] ^= 1
        path.write_bytes(garbled)
        with pytest.raises(UserError, match="cannot be read"):
            stored.read_stored(path)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_doubles_beyond_single_precision_are_refused(suffix, tmp_path):
    arrays = {"vectors": np.where(np.eye(6, 3), -1e39, VECTORS), "ids": IDS}
    path = tmp_path / f"t{suffix}"
    np.savez(path, **arrays) if suffix == ".npz" else np.save(path, records(**arrays))
    with pytest.raises(UserError, match=r"the vector of id 4 is not finite in float32; fix or"):
        taught(path)


@pytest.mark.parametrize("name", ["model.stablehlo", "model.stablehlo.json"])
def test_a_module_with_the_facts_of_another_run_is_refused(name, copied, exported):
    shutil.copy(exported / "two" / name, copied / name)
    path = copied / "model.stablehlo"
    assert refusal(path) == (
        f"{path}: does not belong to model.stablehlo.json, or is damaged; export it again"
    )


def rewrite(path, module=None, **changes):
    """Writes an export with other facts or another module, and a checksum that agrees."""
    if path.suffix == ".stablehlo":
        beside = path.with_name(f"{path.name}.json")
        facts = json.loads(json.loads(beside.read_text())[KEY]) | changes
        module = path.read_bytes() if module is None else module
        path.write_bytes(module)
        beside.write_text(json.dumps({KEY: json.dumps(facts), CHECKSUM: checksum(module, facts)}))
        return
    if path.suffix == ".onnx":
        model = onnx.load(path)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        facts = json.loads(facts[KEY]) | changes
        graph = onnx_graph(model.SerializeToString())
        texts = {KEY: json.dumps(facts), CHECKSUM: checksum(graph, facts)}
        onnx.helper.set_model_props(model, texts)
        onnx.save(model, path)
        return
    with safe_open(path, "numpy") as file:
        facts = json.loads(file.metadata()[KEY]) | changes
    texts = facts_of_files.write_facts(facts) | {CHECKSUM: checksum(b"", facts)}
    save_file(load_file(path), path, texts)


@pytest.mark.parametrize(
    "changes", [{"image_shape": [16, 20, 1]}, {"image_shape": [16, 16, 3]}, {"embedding_dim": 9}]
)
@pytest.mark.parametrize("name", NAMES)
def test_facts_that_are_not_those_of_the_graph_are_refused_at_once(name, changes, copied):
    path = copied / FORMATS[name].file
    rewrite(path)
    assert darkrank_jax.load_run(path).embed(IMAGES).shape == (2, 8)
    rewrite(path, **changes)
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))}: [^\n]*; export it again$"):
        darkrank_jax.load_run(path)


def newer_stablehlo(module):
    """A module with an operation of a later version of StableHLO."""
    assert b"return_v1" in module
    return module.replace(b"return_v1", b"return_v9")


def newer_convention(module):
    """A module of a later calling convention of jax.export."""
    exported = jax_export.deserialize(bytearray(module))
    later = jax_export.maximum_supported_calling_convention_version + 1
    object.__setattr__(exported, "calling_convention_version", later)
    return bytes(exported.serialize())


@pytest.mark.parametrize("newer", [newer_stablehlo, newer_convention])
def test_a_module_of_a_newer_jax_is_refused_and_says_so(newer, copied, capfd):
    path = copied / "model.stablehlo"
    rewrite(path, newer(path.read_bytes()))
    assert "or of a newer jax than" in refusal(path)
    # MLIR has nothing to say on its own.
    assert not any(capfd.readouterr())


def test_a_newer_layout_of_jax_export_is_refused_and_says_so(copied, monkeypatch):
    def newer(module):
        raise NotImplementedError("deserialize: unsupported serialization version 99")

    monkeypatch.setattr(jax_export, "deserialize", newer)
    assert "or of a newer jax than" in refusal(copied / "model.stablehlo")
