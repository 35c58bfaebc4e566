"""The recipes of the standard benchmarks and of own images, on tiny data of the right layout."""

import json
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from darkrank_jax import main as command_line
from darkrank_jax.evaluation import embed
from tests import layouts

CONFIGS = Path(__file__).parent.parent / "configs"
# Six persons make the paper's batch, and two are validated on.
PERSONS = (2, 7, 9, 11, 13, 15, 20, 21)
SQUARE = ("--config.data.batch_size=4", "--config.data.image_size=32")
PERSON = ("--config.data.batch_size=8", "--config.data.image_size=(64, 32)")
# Fields that are the teacher's as well; its images follow the student's.
BOTH = ("data.batch_size", "steps", "epochs", "warmup_epochs", "eval_every")


def own_images():
    names = [f"photos/{label}/{number}.jpg" for label in "abcdef" for number in range(3)]
    return layouts.images(names), {}


def persons():
    return layouts.market1501(PERSONS)


# Config -> what makes its data; flags of a small batch; images, and queries among those tested on.
RECIPES = {
    "cub_relaxed_contrastive": (layouts.cub200, SQUARE, (4, 4, 4)),
    "cub_rkd": (layouts.cub200, SQUARE, (4, 4, 4)),
    "cub_resnet50_to_resnet18": (layouts.cub200, SQUARE, (4, 4, 4)),
    "cars196_resnet50_to_resnet18": (layouts.cars196, SQUARE, (4, 4, 4)),
    "sop_resnet50_to_resnet18": (layouts.sop, SQUARE, (4, 4, 4)),
    "inshop_resnet50_to_resnet18": (layouts.inshop, SQUARE, (8, 8, 8)),
    "market1501_paper": (persons, PERSON, (12, 4, 8)),
    "market1501_resnet50_to_osnet": (persons, PERSON, (12, 4, 8)),
    "own_images": (own_images, SQUARE, (6, 6, 6)),
}
QUERIES = {
    "inshop_resnet50_to_resnet18": 4,
    "market1501_paper": 2,
    "market1501_resnet50_to_osnet": 2,
}

# Those whose papers train no student on labels.
ALONE = ("cub_relaxed_contrastive", "cub_rkd")


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """What is built and looked at stays out of the user's folders, and batches are small."""
    monkeypatch.setattr(embed, "BATCH", 8)
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "built"))


def run(name, tmp_path, *arguments, config=""):
    """Exit code of a recipe on its tiny data; flags are for the teacher as well."""
    make, sizes, _ = RECIPES[name]
    data = layouts.write(tmp_path / "data", make()[0])
    flags = [f"--config.data.path={data}", *sizes, *arguments]
    for flag in tuple(flags):
        field = flag.removeprefix("--config.")
        if field.startswith(BOTH):
            flags.append(f"--config.teacher.{field}")
    config = config or f"--config={CONFIGS / name}.py"
    return command_line.main(["main", config, f"--workdir={tmp_path / 'run'}", *flags])


def check_trained(name, tmp_path, config=""):
    """Trains a recipe for two steps; its results are of the set's own test images."""
    length = {"steps": 2, "epochs": 0, "warmup_epochs": 0, "eval_every": 2}
    flags = (f"--config.{field}={value}" for field, value in length.items())
    assert run(name, tmp_path, *flags, config=config) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    *_, tested = RECIPES[name][2]
    assert results["dataset"]["images"] == tested
    assert results["dataset"]["queries"] == QUERIES.get(name, tested)
    for network in results["networks"].values():
        assert network["steps"] == network["best_step"] == 2
        assert 0 <= network["metrics"]["map_at_r"] <= 1
        assert ("reid" in network) == name.startswith("market1501")
    return results


@pytest.mark.parametrize("name", RECIPES)
def test_prepare_says_what_the_data_of_a_recipe_hold(name, tmp_path, capsys):
    assert run(name, tmp_path, "--mode=prepare") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line}
    counts = tuple(int(rows[split][0]) for split in ("train", "validation", "test"))
    assert counts == RECIPES[name][2]
    assert ("queries" in rows["split"]) == (name in QUERIES)
    assert ("cameras" in rows["split"]) == name.startswith("market1501")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_queries_and_gallery_are_measured_as_such(tmp_path):
    tiny = f"--config={Path(__file__).parent / 'tiny_persons_config.py'}"
    results = check_trained("market1501_paper", tmp_path, config=tiny)
    assert results["networks"]["student"]["reid"].keys() >= {"cmc_at_1", "mean_average_precision"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_and_is_measured(name, tmp_path):
    results = check_trained(name, tmp_path)
    trained = ["teacher", "student"] if name in ALONE else ["teacher", "baseline", "student"]
    assert list(results["networks"]) == trained
