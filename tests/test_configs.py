"""Every config is a valid run, and configs/default.py states every field."""

import importlib.util
from pathlib import Path

import pytest

from configs import default
from darkrank_jax.training.arguments import field_types
from darkrank_jax.training.run_config import Data, Evaluation, Run, read_run

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def test_default_states_every_field_and_no_other():
    config = default.get_config()
    assert set(config) == set(field_types(Run))
    assert set(config.data) == set(field_types(Data))
    assert set(config.evaluation) == set(field_types(Evaluation))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_a_valid_run(path):
    if path.stem != "default":  # which names no loss
        read_run(load(path).to_dict())
