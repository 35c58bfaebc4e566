"""The command starts again with large pages, once, and only where Linux gives them on request."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from pathlib import Path
{before}
from darkrank_jax.cli.large_pages import restart_with_large_pages
print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), flush=True)
restart_with_large_pages(Path(sys.argv[1]))
"""
LARGE = "glibc.malloc.hugetlb=1"
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")


def started(path, setting, before="", **environment):
    """What each start of a process prints: its number, its arguments, the tunables."""
    path.write_text(setting, encoding="ascii")
    kept = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before), path, "a b", "--c"],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.splitlines()


@linux
def test_process_starts_again_once_with_its_arguments_and_number(tmp_path):
    first, second = started(tmp_path / "enabled", "always [madvise] never\n")
    assert first.endswith(" None")
    assert second == first.removesuffix("None") + LARGE
    assert "'a b', '--c'" in second


@pytest.mark.parametrize(
    ("setting", "before", "environment"),
    [
        ("[always] madvise never\n", "", {}),
        ("always madvise [never]\n", "", {}),
        ("[madvise]\n", "", {"GLIBC_TUNABLES": ""}),
        ("[madvise]\n", "sys.modules['jax'] = None", {}),
        ("[madvise]\n", "os.confstr = lambda name: None", {}),
    ],
)
def test_process_goes_on_where_pages_are_not_on_request(tmp_path, setting, before, environment):
    assert len(started(tmp_path / "enabled", setting, before, **environment)) == 1


def test_process_goes_on_where_linux_hides_its_setting(tmp_path):
    script = SCRIPT.format(before="")
    missing = tmp_path / "missing"
    found = subprocess.run(
        [sys.executable, "-c", script, missing], capture_output=True, text=True, check=True
    )
    assert len(found.stdout.splitlines()) == 1
