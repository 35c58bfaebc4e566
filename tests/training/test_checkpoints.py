"""Checkpoints are whole or not used, as a warning says; a failed save costs nothing before it."""

import errno
import itertools
import logging
import os
import resource
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import tensorstore

from darkrank_jax.config.reader import read_run
from darkrank_jax.distributed.mesh import make_mesh, replicated
from darkrank_jax.distributed.signals import Interrupted
from darkrank_jax.errors import UserError
from darkrank_jax.runs.splits import Splits
from darkrank_jax.runs.train import train, train_and_report
from darkrank_jax.training import batches, checkpoints, loop
from darkrank_jax.training.state import TrainState
from darkrank_jax.workdir import run_file
from darkrank_jax.workdir.metrics_log import read_log
from tests import tiny_config


def state(step):
    weights = np.random.default_rng(step).normal(size=(30, 40)).astype(np.float32)
    params = {"model": {"kernel": jnp.asarray(weights)}, "class_weights": {}}
    optimizer = optax.adam(1e-3).init(params)
    return TrainState(jnp.asarray(step, jnp.int32), params, {}, optimizer, None)


def save(workdir, *steps):
    """Saves some steps, the later the better."""
    with checkpoints.open_checkpoints(workdir, 3) as manager:
        for step in steps:
            checkpoints.save(manager, state(step), float(step), {"recall_at_1": step / 10})


def kernel(found):
    return np.asarray(found.params["model"]["kernel"])


def restored(workdir, step):
    sharding = replicated(make_mesh(8))
    return checkpoints.restore(workdir, step, jax.eval_shape(lambda: state(0)), sharding)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("checkpoints")
    save(workdir, 1, 2)
    return workdir


@pytest.fixture
def workdir(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def array_file(folder):
    files = (path for path in (folder / "params").rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def truncate(folder):
    file = array_file(folder)
    os.truncate(file, file.stat().st_size // 2)


def alter(folder):
    file = array_file(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def delete_file(folder):
    array_file(folder).unlink()


def delete_metadata(folder):
    (folder / "params" / "_METADATA").unlink()


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def delete_half(folder):
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "metrics")


def spoil_manifest(folder):
    (folder / "manifest.json").write_text("{")


def spoil_manifest_types(folder):
    (folder / "manifest.json").write_text('{"files": {"a": ["3", 4]}}')


def spoil_metadata(folder):
    (folder / "_CHECKPOINT_METADATA").write_text('{"item_handlers": 3, "metrics": [1]}')


def spoil_metadata_whole(folder):
    (folder / "_CHECKPOINT_METADATA").write_text("[]")


DAMAGES = {
    spoil_manifest_types: "(manifest.json is altered)",
    spoil_metadata: "(_CHECKPOINT_METADATA is altered)",
    spoil_metadata_whole: "(_CHECKPOINT_METADATA is altered)",
    truncate: " bytes instead of ",
    alter: " is altered",
    delete_file: " is missing",
    delete_metadata: "(params/_METADATA is missing)",
    empty: "(manifest.json is missing)",
    delete_half: "(manifest.json is missing)",
    spoil_manifest: "(manifest.json is altered)",
}


@pytest.mark.parametrize(("spoil", "words"), DAMAGES.items())
def test_of_a_damaged_checkpoint_the_one_before_is_used(workdir, caplog, spoil, words):
    folder = workdir / "checkpoints" / "2"
    spoil(folder)
    assert checkpoints.best_step(workdir) == 1
    (line,) = caplog.messages
    assert line.startswith(f"{folder}: is damaged (")
    assert words in line
    assert line.endswith("; goes by the other checkpoints")
    caplog.clear()
    with checkpoints.open_checkpoints(workdir, 3) as manager:
        (line,) = caplog.messages
        aside = workdir / "damaged" / "2"
        assert line.startswith(f"{folder}: is damaged (")
        assert line.endswith(f"; moved it to {aside}; training goes on from step 1")
        assert manager.latest_step() == 1
        found = restored(workdir, 1)
        assert (kernel(found.state) == kernel(state(1))).all()
        assert found.seconds == 1.0
        checkpoints.save(manager, state(2), 2.0, {"recall_at_1": 0.2})
    caplog.clear()
    assert checkpoints.best_step(workdir) == 2
    assert (kernel(restored(workdir, 2).state) == kernel(state(2))).all()
    assert not caplog.messages


@pytest.mark.parametrize("name", ["007", "²", "2 copy", "old", "notes.txt", ".DS_Store", "7"])
def test_what_is_no_checkpoint_is_passed_over(workdir, name, caplog):
    place = workdir / "checkpoints" / name
    place.write_text("a") if name in ("notes.txt", ".DS_Store", "7") else place.mkdir()
    assert checkpoints.best_step(workdir) == 2
    save(workdir, 3)
    assert checkpoints.best_step(workdir) == 3
    assert not caplog.messages
    assert place.exists()


def test_an_unfinished_save_is_removed(workdir, caplog):
    folder = workdir / "checkpoints" / "3.orbax-checkpoint-tmp"
    shutil.copytree(workdir / "checkpoints" / "2", folder)
    assert checkpoints.best_step(workdir) == 2
    assert not caplog.messages
    with checkpoints.open_checkpoints(workdir, 3) as manager:
        assert manager.latest_step() == 2
    assert caplog.messages == [f"{folder}: was not finished when the run ended; removed it"]
    assert not folder.exists()


def test_without_a_whole_checkpoint_training_begins_again(workdir, caplog):
    for step in (1, 2):
        truncate(workdir / "checkpoints" / str(step))
    assert checkpoints.best_step(workdir) is None
    caplog.clear()
    with checkpoints.open_checkpoints(workdir, 3) as manager:
        assert manager.latest_step() is None
    assert len(caplog.messages) == 2
    assert all(line.endswith("; training goes on from the beginning") for line in caplog.messages)


@pytest.mark.parametrize(
    "name",
    ["lr[1]", "losses=[a,b]/seed0", "*?", "[", "a/../[!b]", "50%", "{a}#é", "new\nline", " x "],
)
def test_a_checkpoint_under_any_name_is_restored(tmp_path, name):
    workdir = tmp_path / name
    (tmp_path / "a").mkdir()
    workdir.mkdir(parents=True)
    save(workdir, 4, 5)
    found = restored(workdir, checkpoints.best_step(workdir))
    assert found.seconds == 5.0
    assert (kernel(found.state) == kernel(state(5))).all()
    # Nothing was written beside it.
    assert {path.name for path in tmp_path.iterdir()} <= {name.split("/")[0], "a", "[!b]"}


@pytest.mark.skipif(os.sep != "/", reason="paths of Windows have backslashes")
@pytest.mark.parametrize("name", ["a\\b", "caf\udce9", "a\\b/run"])
def test_a_path_that_tensorstore_cannot_take_is_refused_before_training(tmp_path, name):
    workdir = tmp_path / name
    with pytest.raises(UserError, match="must be a path in UTF-8 without a backslash"):
        train_and_report(tiny(), workdir)
    assert not workdir.exists()
    assert checkpoints.best_step(workdir) is None
    with pytest.raises(UserError, match="must be a path in UTF-8 without a backslash"):
        restored(workdir, 1)


def test_a_save_that_lacks_an_array_is_not_sealed(tmp_path, monkeypatch, caplog):
    """Orbax's last step does nothing, as where it found no files."""
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(ocp.StandardCheckpointHandler, "finalize", lambda self, directory: None)
    line = (
        r"a checkpoint cannot be written \((the list of its arrays|[12] arrays of \w+ are not on)"
    )
    with pytest.raises(UserError, match=line):
        save(tmp_path, 1)
    assert checkpoints.best_step(tmp_path) is None
    assert not list(tmp_path.rglob("manifest.json"))


FULL = r"/checkpoints: cannot be written \(File too large\); .*; checkpoints kept: 1, 2$"


# Bytes that a file may have at most: none; less than the arrays; less than the sealed list.
@pytest.mark.slow
# What the threads of the failed save leave behind is theirs.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("limit", [0, 1000])
def test_a_full_disk_keeps_what_was_saved_before(workdir, limit, caplog):
    """A limit of the file size stands for the full disk: writes really fail."""
    caplog.set_level(logging.CRITICAL)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with (
            pytest.raises(UserError, match=FULL),
            checkpoints.open_checkpoints(workdir, 3) as manager,
        ):
            checkpoints.save(manager, state(3), 3.0, {"recall_at_1": 0.3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.best_step(workdir) == 2
    wait_for_writers(workdir)
    save(workdir, 3)
    assert checkpoints.best_step(workdir) == 3


def wait_for_writers(workdir):
    """Threads of the save that failed may still write; a new process knows none of them."""
    found, now = None, set(workdir.rglob("*"))
    while found != now:
        time.sleep(0.3)
        found, now = now, set(workdir.rglob("*"))


def tiny():
    config = tiny_config.small()
    config.losses = {"triplet": {"weight": 1.0, "margin": 0.3}}
    config.update({"steps": 4, "eval_every": 2, "log_every": 1})
    return read_run(config.to_dict())


@pytest.mark.slow
def test_a_signal_during_validation_stops_and_another_number_of_devices_goes_on(
    tmp_path, monkeypatch
):
    """Trained on one device, told to stop in its last validation; then its end again on four."""
    one = make_mesh(8, jax.devices()[:1])
    original, calls = loop.embed, []

    def embed(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(loop, "embed", embed)
    with pytest.raises(Interrupted, match="network: stopped at step 4 of 4 and saved") as stopped:
        train(tiny(), Splits(), tmp_path, "network", one)
    assert stopped.value.signal == signal.SIGTERM
    losses = [row["loss"] for row in read_log(tmp_path) if "loss" in row]
    like = jax.eval_shape(lambda: loop.build(tiny(), channels=1, num_classes=12)[2]())
    expected = checkpoints.restore(tmp_path, 4, like, replicated(one)).state
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    network = train(tiny(), Splits(), tmp_path, "network", make_mesh(8))
    assert jax.tree.leaves(network.variables)[0].sharding.num_devices == 4
    again = [row["loss"] for row in read_log(tmp_path) if "loss" in row]
    assert len(again) == 4
    np.testing.assert_allclose(again, losses, rtol=1e-4)
    found = checkpoints.restore(tmp_path, 4, like, replicated(make_mesh(8))).state
    for a, b in zip(*map(jax.tree.leaves, (found.params, expected.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_asked_to_stop_without_more_images_a_run_saves_the_step_it_is_at(tmp_path, monkeypatch):
    """As when a worker was stopped: the batches end early; the step is between two validations."""
    one = make_mesh(8, jax.devices()[:1])
    original = batches.batches

    def few(*arguments, stopping, **options):
        yield from itertools.islice(original(*arguments, **options), 3)
        assert not stopping()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping() == signal.SIGTERM

    with monkeypatch.context() as patched:
        patched.setattr(batches, "batches", few)
        with pytest.raises(Interrupted, match="network: stopped at step 3 of 4 and saved"):
            train(tiny(), Splits(), tmp_path, "network", one)
    assert (tmp_path / "checkpoints" / "3").is_dir()
    assert train(tiny(), Splits(), tmp_path, "network", one).step == 4
    assert [row["step"] for row in read_log(tmp_path) if "loss" in row] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_signal_while_the_last_save_is_awaited_stops_once_it_is_there(tmp_path, monkeypatch):
    one = make_mesh(8, jax.devices()[:1])
    original = checkpoints.wait

    def wait(manager):
        os.kill(os.getpid(), signal.SIGINT)
        original(manager)

    monkeypatch.setattr(checkpoints, "wait", wait)
    with pytest.raises(Interrupted, match="network: stopped at step 4 of 4 and saved") as stopped:
        train(tiny(), Splits(), tmp_path, "network", one)
    assert stopped.value.signal == signal.SIGINT
    assert checkpoints.best_step(tmp_path) is not None
    monkeypatch.undo()
    assert train(tiny(), Splits(), tmp_path, "network", one).seconds > 0
    # Nobody trains there any more.
    with run_file.held(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EMFILE])
def test_the_error_of_the_system_is_found_in_that_of_tensorstore(number, tmp_path):
    name = "x" * (300 if number == errno.ENAMETOOLONG else 3)
    store = tensorstore.KvStore.open({"driver": "file", "path": f"{tmp_path}/{name}/"}).result()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if number == errno.EMFILE:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(ValueError, match=tmp_path.name) as raised:
            store.write("a", b"b").result()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    found = checkpoints.os_error_of(raised.value)
    assert (found.errno, found.strerror) == (number, os.strerror(number))
