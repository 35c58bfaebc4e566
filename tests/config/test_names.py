"""Names of files, folders and tables in a config."""

import pytest

from darkrank_jax.config.names import check_file_name
from darkrank_jax.errors import UserError


@pytest.mark.parametrize("name", ["a", "_", "ResNet-50 v1.5", "a+b", "猫", "a.b-", 200 * "x"])
def test_a_name_that_can_be_a_files_is_taken(name, tmp_path):
    check_file_name(name, "teacher.ensemble")
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/a", "a\\b", "a\0b", "-a", " a", "a ", ".a", "a.", "a\n"),
        *("C:", "a*", "\x1b[2J", "\udcff", "\u202egnp", 201 * "x", 67 * "猫", 3, None),
    ],
)
def test_a_name_that_leads_elsewhere_or_is_no_files_is_refused(name):
    with pytest.raises(UserError) as raised:
        check_file_name(name, "teacher.ensemble")
    line = str(raised.value)
    assert line.startswith("teacher.ensemble: names must be names of files, of letters, ")
    assert line.endswith("; choose another")
    assert len(line) < 400


def test_a_name_that_is_taken_is_refused():
    check_file_name("image", "evaluation.networks", taken=("images",))
    with pytest.raises(UserError, match=r"^evaluation\.networks: names must not be 'images', "):
        check_file_name("images", "evaluation.networks", taken=("images",))
