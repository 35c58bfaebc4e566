"""--mode prepare prints what it found."""

import pytest

from darkrank_jax import main as command_line
from tests.data.image_files import (
    CLASSES,
    CONFIG,
    WHOLE,
    layout,
    write_folder,
)

pytestmark = pytest.mark.usefixtures("cache")


def test_prepare_prints_what_it_found(tmp_path, capsys):
    files = layout(CLASSES[:7]) | layout(["big"], 9) | {"big/copy.png": WHOLE["class 1/0.png"]}
    path = write_folder(tmp_path, files)
    arguments = [f"--config.data.path={path}", "--mode=prepare", f"--workdir={tmp_path / 'w'}"]
    options = "--config.data.options.tolerated=0.06"
    assert command_line.main(["main", CONFIG, *arguments, options]) == 0
    said = capsys.readouterr().out
    assert f"images {path}" in said
    assert "2 of 38 images are left out, all listed in " in said
    lines = [line.split("  ") for line in said.splitlines()]
    heads = [cell.strip() for cell in next(line for line in lines if line[0] == "split") if cell]
    assert heads == ["split", "images", "classes", "smallest class", "largest class"]
    assert [line[0].strip() for line in lines[-3:]] == ["train", "validation", "test"]
    assert "big (9)" in said
    assert "class 1 (3)" in said
    assert not (tmp_path / "w").exists()
