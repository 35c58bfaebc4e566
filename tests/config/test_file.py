"""What is wrong with a config, in one line; and the options that a flag may add to it."""

import pytest

from darkrank_jax.config.reader import read_run
from darkrank_jax.data import SOURCES
from tests.command import CONFIG, config_of_command, refusal

CHANGED = """
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    {change}
    return config
"""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("config.stpes = 3", "stpes: unknown field; did you mean 'steps'?"),
        ("del config.steps", "steps: must be int (got nothing)"),
        ("config.lock().stpes = 3", "{path}, line 5: no field 'stpes'; did you mean 'steps'?"),
        ("config.lock().model['widht'] = 3", "{path}, line 5: no field 'widht'; did you mean 'wi"),
        ("config.data.pth", "{path}, line 5: no field 'pth'; did you mean 'path'?"),
        ("confg.steps = 3", "{path}, line 5: NameError: name 'confg' is not defined"),
        ("import nowhere", "{path}, line 5: ModuleNotFoundError: No module named 'nowhere'"),
        ("config.steps = 1 / 0", "{path}, line 5: ZeroDivisionError: division by zero"),
        ("config.steps = 'x'", "{path}, line 5: TypeError: Could not override field 'steps' "),
        ("config.steps = (", "{path}, line 5: '(' was never closed; fix the line"),
        ("return 3", "{path}: get_config() gives int; return a ml_collections.ConfigDict"),
        ("return config.lock(\ndef x():", "{path}, line 5: "),
        (
            "with config.ignore_type(): config.data.path = 3.5",
            "data.path: must be str (got 3.5 (float))",
        ),
        ("config.losses = {}", "losses: must not be empty; name at least one of: "),
        (
            "config.losses = {'triplt': {'weight': 1}}",
            "losses: unknown name 'triplt'; did you mean ",
        ),
        (
            "config.losses = {'triplet': {}}",
            "losses.triplet: must be a mapping with a weight (got {}); give ",
        ),
        (
            "with config.ignore_type(): config.losses.kd.weight = 'x'",
            "losses.kd.weight: must be a number or a schedule with a value (got 'x')",
        ),
        ("config.losses.kd.weight.nam = 1", "losses.kd.weight.nam: unknown field; valid: "),
        ("config.losses.kd.temprature = 1.0", "losses.kd.temprature: unknown field; did you mean "),
        (
            "with config.ignore_type(): config.losses.kd.temperature = '1'",
            "losses.kd.temperature: must be float (got '1' (str))",
        ),
        (
            "config.losses.darkrank_soft.method = 'best'",
            "losses.darkrank_soft: method: got 'best', expected one of ",
        ),
        (
            "config.teacher = {}",
            "teacher: must not be empty for the loss darkrank_soft; state a teacher",
        ),
        ("config.baseline = {'pkt': {'weight': 1}}", "baseline.pkt: a baseline has no teacher; "),
        (
            "del config.teacher.losses.normalized_softmax",
            "teacher.losses: must not be empty; name at least",
        ),
        (
            "config.teacher.losses = {'triplet': {'weight': 1.0}}",
            "teacher.losses: kd compares class logits, so exactly one classification loss must",
        ),
        (
            "config.data.augmentation.random_afine = {}",
            "data.augmentation: unknown name 'random_afine'; did you mean 'random_affine'?",
        ),
        (
            "config.losses = {'embedding_match': {'weight': 1}}; config.model.embedding_dim = 9",
            "losses.embedding_match: ",
        ),
        (
            "config.losses.darkrank_hard = {'weight': 1.0, 'list_size': 8}",
            "losses.darkrank_hard.list_size: must be at most 7, the other images of a batch of 8",
        ),
    ],
)
def test_refuses_a_config_file_in_one_line(change, line, capsys, tmp_path):
    path = tmp_path / "changed.py"
    path.write_text(CHANGED.format(change=change))
    said = refusal(capsys, f"--config={path}", f"--workdir={tmp_path / 'w'}")
    assert said.startswith(line.format(path=path) if "{path}" in line else line)
    assert not (tmp_path / "w" / "checkpoints").exists()


def config_of(*flags):
    """The config of the tiny run with flags, as plain values."""
    return config_of_command(CONFIG, *flags).to_dict()


def test_a_flag_states_an_option_that_the_config_leaves_out():
    before, after = (
        config_of(*flags)
        for flags in (
            (),
            (
                "--config.data.options.test_fraction=0.5",
                "--config.data.options.seed",
                "7",
                "--config.teacher.model.head_batch_norm=true",
                "--config.losses.darkrank_soft.top_k=3",
                "--config.losses.darkrank_soft.beta=2",
                "--config.baseline.triplet.mining=semi_hard",
                "--config.data.augmentation.random_affine.scale=(0.5, 2.0)",
                # Of the optimizer that is named by another flag.
                "--config.optimizer.momentum=0.5",
                "--config.optimizer.name=sgd",
            ),
        )
    )
    assert after["data"]["options"] == before["data"]["options"] | {"test_fraction": 0.5, "seed": 7}
    assert after["teacher"]["model"] == before["teacher"]["model"] | {"head_batch_norm": True}
    assert after["model"] == before["model"]
    soft = before["losses"]["darkrank_soft"] | {"top_k": 3, "beta": 2.0}
    assert after["losses"]["darkrank_soft"] == soft
    assert isinstance(after["losses"]["darkrank_soft"]["beta"], float)
    assert after["baseline"]["triplet"] == before["baseline"]["triplet"] | {"mining": "semi_hard"}
    affine = {"degrees": 5.0, "scale": (0.5, 2.0)}
    assert after["data"]["augmentation"] == {"random_affine": affine}
    assert after["optimizer"] == {"name": "sgd", "weight_decay": 1e-4, "momentum": 0.5}
    read_run(after)


def test_a_flag_makes_none_of_a_number_that_may_be_none():
    flag = ("--config.losses.darkrank_soft.list_size=None",)
    before, after = config_of()["losses"], config_of(*flag)["losses"]
    assert before["darkrank_soft"]["list_size"] == 6
    assert after == before | {"darkrank_soft": before["darkrank_soft"] | {"list_size": None}}


def test_a_source_of_the_config_file_has_its_options_too(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from darkrank_jax.data import SOURCES\n"
        "from tests import tiny_config\n"
        "def stripes(*, path: str, image_size: tuple, width: int = 3): ...\n"
        "SOURCES['stripes'] = stripes\n"
        "def get_config():\n"
        "    config = tiny_config.get_config().unlock()\n"
        "    config.data.source = 'stripes'\n"
        "    config.data.options = {}\n"
        "    return config.lock()\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "stripes", None)
        config = config_of_command(f"--config={path}", "--config.data.options.width=8")
    assert config.data.options.to_dict() == {"width": 8}
