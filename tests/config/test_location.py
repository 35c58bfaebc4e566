"""A config is found by its name, its file or its module, from any folder."""

import sys

import pytest

from darkrank_jax import configs
from darkrank_jax.config.file import load_config
from darkrank_jax.config.location import find_config
from darkrank_jax.errors import UserError
from tests.command import config_of_command

OWN = """
from configs import default
{other}
def get_config():
    config = default.get_config()
    config.steps = {steps}
    return config
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """An empty current folder, from which no checkout is found, as after `pip install`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if "site-packages" in place])
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("configs", "project"):
            monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize("source", ["own_images", "configs/own_images.py"])
def test_a_config_of_the_package_is_found_by_name_from_an_empty_folder(outside, source):
    assert find_config(source) == str(configs.FOLDER / "own_images.py")
    assert load_config(source, steps=7).data.source == "images"


def test_a_config_of_the_package_is_found_by_module_and_by_path(outside):
    for source in ("darkrank_jax.configs.own_images", configs.FOLDER / "own_images.py"):
        assert load_config(source, steps=7).data.source == "images"


def test_from_configs_import_default_works_in_a_file_of_any_folder(outside, monkeypatch):
    (outside / "own.py").write_text(OWN.format(other="", steps=11))
    other = outside / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    assert load_config("../own.py").steps == 11
    assert "configs" not in [place.rpartition("/")[2] for place in sys.path]


def test_a_folder_configs_of_ones_own_is_searched_before_the_packages(outside, monkeypatch):
    folder = outside / "project" / "configs"
    folder.mkdir(parents=True)
    (folder / "base.py").write_text("STEPS = 13\n")
    (folder / "own.py").write_text(OWN.format(other="from configs import base", steps="base.STEPS"))
    assert load_config(folder / "own.py").steps == 13
    monkeypatch.chdir(outside / "project")
    assert load_config("configs/own.py").steps == 13
    assert find_config("configs/demo.py") == str(configs.FOLDER / "demo.py")


def test_a_module_of_the_current_folder_is_imported_with_its_neighbours(outside):
    (outside / "project").mkdir()
    (outside / "project" / "sizes.py").write_text("STEPS = 17\n")
    code = OWN.format(other="from . import sizes", steps="sizes.STEPS")
    (outside / "project" / "large.py").write_text(code)
    assert load_config("project.large").steps == 17
    (outside / "project" / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match=r"^project\.broken: ZeroDivisionError: division by zero$"):
        load_config("project.broken")


def test_the_command_names_the_workdir_after_the_config(outside):
    from darkrank_jax.main import parse

    for source in ("own_images", "configs/own_images.py", "darkrank_jax.configs.own_images"):
        assert parse(["darkrank", f"--config={source}"]).workdir == "runs/own_images"
    assert config_of_command("--config=own_images", "--config.steps=19").steps == 19


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("own_image", "no file, name or module 'own_image'; did you mean 'own_images'?"),
        ("configs/dema.py", "no file, name or module 'configs/dema.py'; did you mean 'demo'?"),
        ("nowhere.at.all", "no file, name or module 'nowhere.at.all'; valid: cars196_half, "),
        ("", "no file, name or module ''; valid: cars196_half, "),
    ],
)
def test_an_unknown_config_is_refused_with_what_there_is(outside, source, line):
    with pytest.raises(UserError) as raised:
        load_config(source)
    assert str(raised.value).startswith(f"config: {line}")
