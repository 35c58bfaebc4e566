"""Small tables in files, and the errors of reading them."""

import pytest

from darkrank_jax.data.files.tables import read_table
from darkrank_jax.errors import UserError


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def lines(path):
    return [tuple(line) for line in read_table(path)]


def error_of(path):
    with pytest.raises(UserError) as error:
        lines(path)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(f"{path}: ")
    return said.removeprefix(f"{path}: ")


def parquet(path, /, **columns):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(arrow.table(columns), path)
    return path
