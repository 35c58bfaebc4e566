"""Where the images of an evaluation come from."""

import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES
from darkrank_jax.data.sources.glyphs import glyphs
from darkrank_jax.errors import UserError
from darkrank_jax.runs.datasets import check_queries, datasets_of, find_distractors
from darkrank_jax.runs.splits import Splits
from tests import tiny_config

FEW = {"num_classes": 20, "images_per_class": 4}


def run_of(**evaluation):
    config = tiny_config.get_config().unlock()
    config.evaluation.update(evaluation)
    return read_run(config.to_dict())


def found(**distractors):
    run = run_of(distractors=distractors)
    return find_distractors(run.evaluation, run.data, Splits())


def test_distractors_are_all_images_of_a_source_or_those_of_a_split():
    splits = glyphs(path="", image_size=(16, 16), **FEW, seed=3)
    counts = {name: len(split.labels) for name, split in splits.items()}
    options = FEW | {"seed": 3}
    whole, part = found(source="glyphs", options=options), found(source="glyphs", split="test")
    assert [source.split for source in whole.sources] == list(counts)
    assert whole.facts["images"] == sum(counts.values())
    assert whole.facts["source"] == "glyphs"
    # What is left out is as in the run's data, whose source it is.
    assert part.facts["images"] == counts["test"]
    assert part.sources[0].data == run_of().data
    assert whole.facts["digest"] != found(source="glyphs", options=FEW).facts["digest"]
    assert run_of().evaluation.distractors == {}
    assert find_distractors(run_of().evaluation, run_of().data, Splits()) is None


def test_images_without_labels_are_distractors(tmp_path, monkeypatch):
    split = glyphs(path="", image_size=(16, 16), **FEW)["test"]
    alone = split._replace(labels=0 * split.labels - 1, class_names=())
    monkeypatch.setitem(SOURCES, "alone", lambda *, path, image_size: {"train": alone})
    assert found(source="alone").facts["images"] == len(split.labels)
    with pytest.raises(UserError, match=r"distractors\.split: must be one of train \(got 'test'\)"):
        found(source="alone", split="test")


def test_a_set_in_which_every_image_searches_takes_no_distractors():
    for fields in ({"distractors": {"source": "glyphs"}}, {"protocols": {"single_shot": {}}}):
        run = run_of(**fields)
        datasets = datasets_of(run.evaluation, run.data)
        with pytest.raises(UserError, match="must be for a set with queries and a gallery"):
            check_queries(run.evaluation, datasets, Splits())
    run = run_of(protocols={"verification": {}})
    check_queries(run.evaluation, datasets_of(run.evaluation, run.data), Splits())
