"""What the command says of files of weights."""

import re
import subprocess
import sys

import numpy as np
import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.models.weights.description import describe_weights
from tests.models.saved_weights import saved


def test_a_file_of_something_else_is_refused_and_says_what_it_has(tmp_path):
    path = saved({"encoder.weight": np.ones((2, 3))}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"none of the networks of MODELS .* has encoder\.weight$"):
        describe_weights(path)


def test_the_command_prints_what_files_are_and_fails_in_one_line(files, tmp_path):
    path = saved(files("dinov2_registers"), tmp_path / "weights.safetensors")
    command = [sys.executable, "-m", "darkrank_jax.models.pretrained", path, tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{path}:\n  model: dinov2_b14\n" in done.stdout
    assert re.fullmatch(r".*/none: cannot be read as safetensors .*\n", done.stderr)
