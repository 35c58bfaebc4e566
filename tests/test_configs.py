"""Every config is a valid run, and configs/default.py states every field."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from configs import default
from darkrank_jax.config.reader import read_run
from tests.command import config_of_command

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_a_valid_run(path):
    if path.stem != "default":  # which names no loss
        read_run(load(path).to_dict())


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if path.stem != "default"], ids=lambda path: path.stem
)
def test_every_config_says_its_command_hardware_time_and_result(path):
    header = ast.get_docstring(ast.parse(path.read_text())) or ""
    fields = [
        line.split(":")[0] for line in header.splitlines() if re.match(r"[A-Z]\w+: {2}", line)
    ]
    assert fields == ["Command", "Hardware", "Time", "Result"]
    assert path.name in header or path.stem == "demo"


def flagged(name, flag):
    """A shipped config after a flag, as plain values."""
    path = Path(default.__file__).parent / f"{name}.py"
    return config_of_command(f"--config={path}", f"--config.{flag}").to_dict()


def test_a_flag_makes_a_number_of_what_is_none():
    name = "losses.darkrank_soft.list_size"
    assert flagged("omniglot", f"{name}=7")["losses"]["darkrank_soft"]["list_size"] == 7
    # Of this config alone, not of those made later.
    assert flagged("omniglot", "seed=3")["losses"]["darkrank_soft"]["list_size"] is None


@pytest.mark.parametrize("name", ["own_images", "cars196_half"])
def test_one_flag_moves_the_classes_of_student_and_teacher(name):
    config = flagged(name, "data.options.num_train_classes=6")
    assert config["data"]["options"]["num_train_classes"] == 6
    assert config["teacher"]["data"]["options"] == config["data"]["options"]


def test_a_flag_of_the_student_s_data_moves_the_teacher_s_and_one_of_the_teacher_s_does_not():
    path = Path(default.__file__).parent / "own_images.py"
    flags = ("data.mean=0.4", "teacher.data.image_size=448", "data.batch_size=32")
    flags += ("teacher.data.batch_size=16", "data.num_workers=3")
    config = config_of_command(f"--config={path}", *(f"--config.{flag}" for flag in flags))
    student, teacher = config.to_dict()["data"], config.to_dict()["teacher"]["data"]
    assert (student["mean"], teacher["mean"]) == (0.4, 0.4)
    assert (student["image_size"], teacher["image_size"]) == (224, 448)
    assert (student["batch_size"], teacher["batch_size"]) == (32, 16)
    assert (student["num_workers"], teacher["num_workers"]) == (3, 3)
