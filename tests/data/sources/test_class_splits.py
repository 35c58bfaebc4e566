"""How classes are shared out to splits."""

import pytest

from tests.data.image_files import (
    CLASSES,
    class_names,
    layout,
    load,
    refusal,
    write_folder,
)

pytestmark = pytest.mark.usefixtures("cache")


def test_the_same_classes_in_train_and_test_are_refused(tmp_path, capsys):
    files = layout(CLASSES[:6], 2, "Training/") | layout(CLASSES[:4], 3, "Testing/")
    assert refusal(capsys, write_folder(tmp_path, files)) == (
        "data.path: 4 of 4 classes of test are also in train, first 'class 1'; what is measured "
        "must be unseen, so keep each class in one of them, or give train alone, of which classes "
        "are held out"
    )
    assert set.union(*class_names(load(tmp_path / "Training")).values()) == set(CLASSES[:6])
