"""Labels of junk and distractors, ignored labels, and labels that look alike."""

import pytest

from darkrank_jax import main as command_line
from tests.data.image_files import CLASSES, CONFIG, layout, load, refusal, write_folder
from tests.data.table_files import written

pytestmark = pytest.mark.usefixtures("cache")
SMALL = layout(CLASSES[:8], 2)


def persons(path, junk="-1", distractors="0"):
    """Six identities to train on, six in query and gallery, and junk and distractors."""
    files = layout([str(number) for number in (*range(1, 13), "a", "b")], 3)
    rows = []
    for name in files:
        label, number = name.removesuffix(".png").split("/")
        split = (
            "train"
            if label.isdigit() and int(label) < 7
            else "query"
            if number == "0"
            else "gallery"
        )
        if label in "ab":
            label, split = {"a": junk, "b": distractors}[label], "gallery"
        rows.append(f"{name},{label},{split},{'' if number == '2' else 'c' + number}")
    return written(
        write_folder(path, files) / "t.csv", "\n".join(["path,label,split,camera", *rows])
    )


def test_unknown_cameras_are_no_camera(tmp_path):
    test = load(persons(tmp_path, "13", "14"))["test"]
    for label in range(6):
        of_label = test.labels == label
        assert sorted(test.cameras[of_label].tolist()) == [-1, 0, 1]
    text = "\n".join(["path,label,camera", *(f"{name},{name[:7]}," for name in SMALL)])
    splits = load(written(write_folder(tmp_path, SMALL) / "u.csv", text))
    assert splits["train"].cameras is None


def test_labels_of_junk_and_distractors_are_reported(tmp_path, caplog):
    path = persons(tmp_path)
    splits = load(path)
    assert splits["test"].class_names == ("0", "7", "8", "9", "10", "11", "12", "-1")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: the label -1 is a class of 3 images like any other; if it marks images to "
        'ignore, give data.options.ignored_labels=("-1",)',
        f"{path}: no query has the label 0, so that its 3 gallery images match nobody",
    ]


@pytest.mark.parametrize("ignored", [("-1",), (-1,), ("-1", "12")])
def test_ignored_labels_are_left_out_and_reported(ignored, tmp_path, caplog):
    path = persons(tmp_path)
    test = load(path, ignored_labels=ignored)["test"]
    assert test.class_names == ("0", "7", "8", "9", "10", "11", "12")[: 8 - len(ignored)]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{path}: 3 images of the ignored label -1 are left out"
    assert not any("like any other" in line for line in said)


def test_ignored_labels_by_flag(tmp_path, capsys):
    path = persons(tmp_path)
    flag = '--config.data.options.ignored_labels=("13",)'
    assert refusal(capsys, path, flag) == (
        f"data.options.ignored_labels: no image of {path} has the label '13'; leave it out"
    )
    arguments = [CONFIG, f"--config.data.path={path}", "--mode=prepare"]
    assert command_line.main(["main", *arguments, flag.replace("13", "-1")]) == 0
    said = capsys.readouterr().out
    assert f"{path}: 3 images of the ignored label -1 are left out\n" in said
    assert "2 (7 images unknown)" in said


def test_labels_that_look_alike_are_reported(tmp_path, caplog):
    labels = ["Cat", "cat", "new york", "New\u00a0 York", "dog\u200b", "dog", "x", "y"]
    rows = [f"{name},{labels[number // 2]}" for number, name in enumerate(SMALL)]
    path = write_folder(tmp_path, SMALL) / "t.csv"
    splits = load(written(path, "\n".join(["path,label", *rows])))
    assert sum(len(split.class_names) for split in splits.values()) == 8
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{path}: 3 classes differ from another in case or spaces alone; first 'Cat' and 'cat'"
    )


def test_ignored_labels_must_be_a_list(tmp_path, capsys):
    said = refusal(capsys, persons(tmp_path), "--config.data.options.ignored_labels=-1")
    assert said.startswith("data.options.ignored_labels: ")
