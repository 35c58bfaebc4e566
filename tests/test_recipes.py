"""The configs of the standard benchmarks and of own images, run on tiny data of the right layout."""

import json
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from darkrank_jax import main as command_line
from tests import layouts

CONFIGS = Path(__file__).parent.parent / "configs"
# Six persons make the paper's batch, and one is validated on.
PERSONS = (2, 7, 9, 11, 13, 15, 20)
PAPER = ("--config.data.batch_size=8", "--config.data.image_size=(64, 32)")
SQUARE = ("--config.data.batch_size=4", "--config.data.image_size=32")


def own_images():
    names = [f"photos/{label}/{number}.jpg" for label in "abcdef" for number in range(3)]
    return layouts.images(names), {}


# Config -> what makes its data, its batch and size of images.
RECIPES = {
    "cub_resnet50_to_resnet18": (layouts.cub200, SQUARE),
    "cars196_resnet50_to_resnet18": (layouts.cars196, SQUARE),
    "sop_resnet50_to_resnet18": (layouts.sop, SQUARE),
    "inshop_resnet50_to_resnet18": (layouts.inshop, SQUARE),
    "market1501_paper": (lambda: layouts.market1501(PERSONS), PAPER),
    "market1501_resnet50_to_osnet": (lambda: layouts.market1501(PERSONS), PAPER),
    "own_images": (own_images, SQUARE),
}
REID = [name for name in RECIPES if name.startswith("market1501")]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """What is built and what was looked at stay out of the user's folders."""
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "built"))


def run(name, tmp_path, *arguments):
    make, sizes = RECIPES[name]
    files, _ = make()
    data = layouts.write(tmp_path / "data", files)
    both = ["data.path", "data.batch_size", "data.image_size", "steps"]
    flags = [f"--config.data.path={data}", *sizes, *arguments]
    flags += [
        flag.replace("--config.", "--config.teacher.")
        for flag in flags
        if any(flag.startswith(f"--config.{field}=") for field in both)
    ]
    config = f"--config={CONFIGS / name}.py"
    return command_line.main(["main", config, f"--workdir={tmp_path / 'run'}", *flags])


def trained(name, tmp_path, *arguments):
    steps = ("--config.steps=2", "--config.eval_every=2", "--config.teacher.eval_every=2")
    assert run(name, tmp_path, *steps, *arguments) == 0
    return json.loads((tmp_path / "run" / "results.json").read_text())


@pytest.mark.parametrize("name", RECIPES)
def test_prepare_says_what_the_data_of_a_recipe_hold(name, tmp_path, capsys):
    assert run(name, tmp_path, "--mode=prepare") == 0
    said = capsys.readouterr().out
    print(said)
    assert 0


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_and_is_measured(name, tmp_path):
    results = trained(name, tmp_path)
    print(results["dataset"])
    assert list(results["networks"]) == ["teacher", "baseline", "student"]
