"""Small configs, and the line that one is refused with before it is compiled."""

import pytest
from ml_collections import ConfigDict

from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.runs.preflight import check_sizes
from darkrank_jax.runs.splits import Splits
from tests import tiny_config


def config(losses, teacher=False, **changes):
    found = tiny_config.small()
    found.losses = ConfigDict(losses)
    if teacher:
        found.teacher = tiny_config.small()
        found.teacher.losses = ConfigDict({"normalized_softmax": {"weight": 1.0}})
    found.update(changes)
    return found


def refusal(config):
    with pytest.raises(UserError) as error:
        check_sizes(read_run(config.to_dict()), Splits())
    assert "\n" not in str(error.value)
    return str(error.value)
