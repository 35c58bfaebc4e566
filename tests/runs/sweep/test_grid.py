"""A grid of settings and seeds as runs in folders."""

import pytest

from darkrank_jax.errors import UserError
from darkrank_jax.runs.sweep import grid as sweep
from tests.runs.sweep.stub_runs import CONFIG, own_config


def test_all_settings_of_a_seed_learn_from_one_teacher(tmp_path):
    made = sweep.grid_jobs(CONFIG, {"learning_rate": ["1e-3", "1e-2"]}, [3, 5], tmp_path)
    teachers, students = made[:2], made[2:]
    assert [(job.name, job.seed) for job in teachers] == [("teacher", 3), ("teacher", 5)]
    assert [(job.seed, job.overrides["learning_rate"]) for job in students] == [
        (3, "1e-3"), (3, "1e-2"), (5, "1e-3"), (5, "1e-2"),
    ]  # fmt: skip
    for job, teacher in zip(students, [teachers[0]] * 2 + [teachers[1]] * 2, strict=True):
        assert job.after == teacher.workdir
        assert job.overrides["teacher.checkpoint"] == str(teacher.workdir)
        # What the student says of its teacher is what was trained there.
        trained, told = teacher.resolved(), job.resolved()["teacher"]
        assert {name for name in told if told[name] != trained[name]} == {"checkpoint"}
    # In another order and with another setting, the teachers are where they were.
    more = sweep.grid_jobs(CONFIG, {"learning_rate": ["1", "1e-2", "1e-3"]}, [5, 3], tmp_path)
    assert {job.workdir for job in more[:2]} == {job.workdir for job in teachers}


def test_a_setting_that_is_a_list_or_holds_slashes_names_one_folder(tmp_path):
    grid = {"data.mean": ["(0.5,)"], "evaluation.networks": [r"{'a': 'x[1]\\y/z'}"]}
    places = {job.workdir for job in sweep.grid_jobs(CONFIG, grid, [0], tmp_path)[1:]}
    assert [place.relative_to(tmp_path).parts for place in places] == [
        ("data.mean=(0.5,),evaluation.networks={'a': 'x[1]__y_z'}", "seed0")
    ]


@pytest.mark.parametrize(
    ("grid", "seeds", "line"),
    [
        ({"steps": ["2", "2"]}, [0], "two runs would have the folder steps=2/seed0; give each"),
        ({"steps": ["2"]}, [1, 0, 1], "two runs would have the folder steps=2/seed1; give each"),
        (
            {"data.path": ["a/b", "a_b"]},
            [0],
            "two runs would have the folder data.path=a_b/seed0; give each value and seed once, ",
        ),
        (
            {"data.path": [200 * "ü"]},
            [0],
            "the name of a setting must have at most 200 bytes, since a folder has it (got 410: ",
        ),
    ],
)
def test_settings_that_no_folder_of_their_own_can_hold_are_refused(grid, seeds, line, tmp_path):
    with pytest.raises(UserError) as raised:
        sweep.grid_jobs(CONFIG, grid, seeds, tmp_path)
    assert str(raised.value).startswith(f"--grid: {line}")
    assert not any(tmp_path.iterdir())


def test_settings_whose_teachers_differ_do_not_share_one(tmp_path):
    """The images' size is one for student and teacher, which the name of the field does not say."""
    grid = {"data.image_size": [16, 24], "steps": [2, 4]}
    made = sweep.grid_jobs(own_config(tmp_path), grid, [0], tmp_path)
    assert [job.resolved()["data"]["image_size"] for job in made[:2]] == [16, 24]
    first, second = (job.workdir for job in made[:2])
    assert first != second
    assert [job.after for job in made[2:]] == [first, first, second, second]
    grid = {"teacher.model.width": [3, 6]}
    assert len({job.after for job in sweep.grid_jobs(CONFIG, grid, [0], tmp_path)[2:]}) == 2


@pytest.mark.parametrize(
    "change",
    [
        "config.teacher = ConfigDict(); config.losses = config.baseline",
        "del config.losses['kd']; config.teacher.weights.path = 'w'; config.teacher.steps = 0; "
        "config.teacher.model.embedding_dim = 0",
        "config.teacher.checkpoint = 'runs/there'",
    ],
)
def test_a_teacher_that_is_not_trained_is_no_run(tmp_path, change):
    made = sweep.grid_jobs(own_config(tmp_path, change), {"steps": [2, 4]}, [0], tmp_path)
    assert [(job.name, job.after) for job in made] == [("steps=2", None), ("steps=4", None)]
    assert all(list(job.overrides) == ["steps"] for job in made)
