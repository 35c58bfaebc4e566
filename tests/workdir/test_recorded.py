"""A run as its run.json has it, and what of a config must be the same to measure it."""

import dataclasses

import pytest

from darkrank_jax.config.description import describe
from darkrank_jax.config.reader import read_run
from darkrank_jax.errors import UserError
from darkrank_jax.workdir.recorded import as_recorded, check_measured, whole_run
from tests import tiny_config
from tests.claims import claim


@pytest.fixture
def run():
    """A student of an ensemble, one member of which has a teacher of its own."""
    config = tiny_config.get_config().unlock()
    config.losses = {"darkrank_hard": {"weight": 1.0}}
    with config.ignore_type():
        config.data.mean = (0.25,)
    chained = tiny_config.get_config().unlock()
    chained.baseline = {}
    plain = tiny_config.small()
    plain.losses = {"triplet": {"weight": 1.0}}
    plain.checkpoint = "runs/plain"
    config.teacher.ensemble = {"chained": chained, "plain": plain}
    return read_run(config.to_dict())


@pytest.fixture
def workdir(run, tmp_path):
    claim(tmp_path / "run", run, channels=1, num_classes=12)
    return tmp_path / "run"


def test_a_run_comes_back_whole(run, workdir):
    assert run.teacher.ensemble["chained"].teacher is not None
    assert whole_run(workdir) == run


def test_only_what_is_measured_must_be_the_same(run, workdir):
    def changed(**fields):
        return dataclasses.replace(run, **fields)

    plain = run.teacher.ensemble["plain"]

    def with_plain(**fields):
        members = run.teacher.ensemble | {"plain": dataclasses.replace(plain, **fields)}
        return changed(teacher=dataclasses.replace(run.teacher, ensemble=members))

    data = dataclasses.replace(run.data, batch_size=4, path="moved", augmentation={})
    same = changed(steps=3, data=data, losses={}, learning_rate=1.0, baseline={})
    check_measured(workdir, describe(same))
    for other, field in (
        (changed(seed=3), "seed is 0, not 3"),
        (changed(model=run.model | {"width": 5}), "model.width is 4, not 5"),
        (changed(data=dataclasses.replace(run.data, mean=(0.5,))), r"data.mean is \[0.25\], not "),
        (changed(data=dataclasses.replace(run.data, source="images")), "data.source is glyphs, "),
        (with_plain(model=plain.model | {"width": 9}), "teacher.ensemble.plain.model.width is 4,"),
    ):
        with pytest.raises(UserError, match=rf"holds a run whose {field}.*; leave out --config"):
            check_measured(workdir, describe(other))


def test_files_are_where_the_config_says(run, workdir):
    plain = dataclasses.replace(run.teacher.ensemble["plain"], checkpoint="moved/plain", steps=99)
    members = run.teacher.ensemble | {"plain": plain}
    given = dataclasses.replace(
        run,
        steps=99,
        data=dataclasses.replace(run.data, path="moved/data", batch_size=4),
        teacher=dataclasses.replace(run.teacher, ensemble=members),
        evaluation=dataclasses.replace(run.evaluation, split="train"),
    )
    found = as_recorded(workdir, given, "")
    assert (found.data.path, found.evaluation.split) == ("moved/data", "train")
    assert found.teacher.ensemble["plain"].checkpoint == "moved/plain"
    # The rest is as it was trained.
    assert (found.steps, found.data.batch_size) == (run.steps, run.data.batch_size)
    assert found.teacher.ensemble["plain"].steps == run.teacher.ensemble["plain"].steps
