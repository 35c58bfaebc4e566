"""Processes of one run: they meet, lead, wait and give the losses of one."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from darkrank_jax import main as command_line
from darkrank_jax.distributed import processes
from darkrank_jax.errors import UserError
from darkrank_jax.workdir.metrics_log import read_log
from tests import devices_config

CONFIG = Path(devices_config.__file__)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file of a teacher's embeddings, of the 48 images trained on."""
    path = tmp_path_factory.mktemp("teacher") / "embeddings.npy"
    np.save(path, np.random.default_rng(2).normal(size=(48, 5)).astype(np.float32))
    return path


def losses_of(workdir):
    """The loss of each step as the run logged it."""
    return [row["loss"] for row in read_log(workdir) if "loss" in row]


def start(number, port, code, *given):
    """One of two processes with two devices each, on this machine."""
    script = f"import jax; jax.config.update('jax_num_cpu_devices', 2); {code}"
    return subprocess.Popen(
        [sys.executable, "-c", script, *given, f"--process={number}"],
        env=os.environ | {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def arguments(workdir, stored):
    return [
        f"--config={CONFIG}",
        f"--workdir={workdir}",
        f"--config.teacher.embeddings={stored}",
    ]


# The same run, by a teacher that is a network.
TAUGHT = """
from tests import devices_config

def get_config():
    config = devices_config.get_config().unlock()
    config.teacher.embeddings = ""
    config.teacher.losses = {"triplet": {"weight": 1.0, "margin": 0.2}}
    return config.lock()
"""
MAIN = "import sys; from darkrank_jax.main import console; console()"


# A hook that fails in process 0, which alone has one.
BROKEN = """
class Broken:
    def __init__(self, workdir, config):
        pass
    def on_log(self, step, values):
        assert "{method}" != "on_log", "no network"
    def on_validation(self, step, values):
        pass
    def on_end(self, results):
        assert "{method}" != "on_end", "no network"
"""


# Of process 0, longer than devices wait for each other: as it builds a source, and as it reports.
SLOW = """
import sys, time
from darkrank_jax.distributed import processes
processes.join(None, None, int(sys.argv[1][-1]))
with processes.lead_first():
    time.sleep(40 * processes.leads())
print(processes.agreed(3 + processes.leads()))
time.sleep(40 * processes.leads())
processes.leave(0)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(stored, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert command_line.main(["main", *arguments(alone, stored)]) == 0
    port = free_port()
    given = arguments(together, stored)
    both = [start(number, port, MAIN, *given) for number in (0, 1)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "4 x cpu of 2 processes" in said[0][0]
    assert "student" not in "".join(said[1])
    np.testing.assert_allclose(losses_of(together), losses_of(alone), rtol=1e-4)
    first, second = (read_log(workdir)[-1] for workdir in (together, alone))
    assert first == pytest.approx(second, rel=1e-4)
    assert (together / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("on_log", "error: hook: failed in the first process; its error says why"),
        # The first one writes the report, which the other waits for.
        ("on_end", "error: process 0 ended: hook: Broken.on_end raised AssertionError: no network"),
    ],
)
def test_a_hook_that_fails_in_the_first_process_ends_both_in_a_line(
    method, line, stored, tmp_path, monkeypatch
):
    (tmp_path / "broken.py").write_text(BROKEN.format(method=method))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, CONFIG.parents[1]))))
    port, workdir = free_port(), tmp_path / "run"
    given = [*arguments(workdir, stored), "--config.hook=broken.Broken"]
    both = [start(number, port, MAIN, *given) for number in (0, 1)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [2, 2], said
    *_, first = said[0][1].splitlines()
    (second,) = (each for each in said[1][1].splitlines() if each.startswith("error:"))
    assert first.startswith(f"error: hook: Broken.{method} raised AssertionError: no network; ")
    assert second.startswith(line)
    assert "Traceback" not in "".join(said[1])
    assert [row["step"] for row in read_log(workdir)] == (
        [1] if method == "on_log" else [*range(1, 21), 20]
    )
    assert (workdir / "checkpoints" / ("1" if method == "on_log" else "20")).exists()


@pytest.mark.slow
@pytest.mark.parametrize("views", [0, 2])
def test_two_processes_fill_one_cache_and_train_as_one(views, workdir, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(TAUGHT)

    def given(place):
        # A teacher of its own, beside which its outputs are kept.
        shutil.copytree(workdir, tmp_path / f"teacher of {place}")
        return [
            f"--config={config}",
            f"--workdir={tmp_path / place}",
            f"--config.teacher.checkpoint={tmp_path / f'teacher of {place}'}",
            "--config.store_teacher=True",
            f"--config.data.views={views}",
        ]

    assert command_line.main(["main", *given("alone")]) == 0
    port, asked = free_port(), given("together")
    both = [start(number, port, MAIN, *asked) for number in (0, 1)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    np.testing.assert_allclose(
        losses_of(tmp_path / "together"), losses_of(tmp_path / "alone"), rtol=1e-4
    )
    stores = [
        {file.name: np.load(file) for file in tmp_path.glob(f"teacher of {place}/outputs/*/*.npy")}
        for place in ("alone", "together")
    ]
    assert stores[0].keys() == stores[1].keys()
    assert len(stores[0]) > 1
    for name, array in stores[0].items():
        np.testing.assert_allclose(stores[1][name], array, atol=1e-6)


@pytest.mark.slow
def test_processes_wait_for_a_slow_first_one():
    port = free_port()
    both = [start(number, port, SLOW) for number in (0, 1)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out.splitlines()[-1] for out, _ in said] == ["4", "4"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((None, 2, 0), "^--processes, --process: must be given with --coordinator .got none.; "),
        ((None, None, 1), "^--process: must be given with --coordinator .got none.; give --coord"),
        (("auto", None, None), "--coordinator: auto: .* give --coordinator HOST:PORT of process 0"),
        (("localhost:1", 2, None), "--coordinator: localhost:1: .*; give --coordinator HOST:PORT"),
    ],
)
def test_refuses_processes_that_cannot_meet(arguments, line, monkeypatch):
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    with pytest.raises(UserError, match=line):
        processes.join(*arguments)


def test_the_environment_says_what_flags_do_not(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: calls.append(given))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "one:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    processes.join(None, None, None)
    processes.join("two:2", 8, 0)
    processes.join("auto", None, None)
    assert calls == [("one:1", 4, 3), ("two:2", 8, 0), (None, 4, 3)]
    monkeypatch.setenv("JAX_PROCESS_ID", "last")
    with pytest.raises(UserError, match=r"JAX_PROCESS_ID: must be a whole number \(got 'last'\)"):
        processes.join(None, None, None)


def test_a_lost_process_ends_the_others_with_what_to_do(capsys):
    error = RuntimeError("Connection closed by peer")
    with pytest.raises(SystemExit) as end:
        processes.fail(RuntimeError, error, None)
    *_, cause, line = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert cause == "RuntimeError: Connection closed by peer"
    assert line.startswith("error: this process ended by the above;")
    assert line.endswith("The same command, in all of them, goes on from the last checkpoint")


class Coordinator(dict):
    """JAX's service for keys and values, with another process that reads of every error."""

    def key_value_set(self, key, value):
        if key in self:
            raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")
        self[key] = value
        if "error" in key:
            self["darkrank_jax_readers/1"] = ""

    def key_value_dir_get(self, prefix):
        return [(key, value) for key, value in self.items() if key.startswith(f"{prefix}/")]


@pytest.fixture
def two_processes(monkeypatch):
    """The service of two processes, of which this is the first."""
    service = Coordinator()
    # Devices that are there already need none.
    assert jax.process_index() == 0
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(processes.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(processes.multihost, "get_jax_distributed_client", lambda: service)
    return service


def test_an_error_is_announced_with_its_process_and_waits_for_readers(two_processes):
    processes.announce("step 3: loss is NaN")
    assert two_processes == {
        "darkrank_jax_errors/0": "process 0 ended: step 3: loss is NaN",
        "darkrank_jax_readers/0": "",
        "darkrank_jax_readers/1": "",
    }
    # The first error is the one that counts.
    processes.announce("another")
    assert "another" not in "".join(two_processes.values())


def test_an_error_without_a_coordinator_is_this_processs_alone(two_processes, monkeypatch):
    def gone(*_):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE")

    monkeypatch.setattr(Coordinator, "key_value_set", gone)
    processes.announce("step 3: loss is NaN")
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: False)
    processes.announce("step 3: loss is NaN")
    assert not two_processes


def test_one_process_leads_and_agrees_with_itself():
    assert processes.leads()
    assert processes.agreed(15) == 15
    with processes.lead_first():
        pass
