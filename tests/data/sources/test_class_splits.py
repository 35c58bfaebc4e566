"""How classes are shared out to splits."""

import inspect

import pytest

from darkrank_jax.data.sources.class_splits import SplitOptions, with_split_options
from darkrank_jax.errors import UserError
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


def test_a_flat_source_takes_the_options_of_splits_and_its_own():
    def source(options, *, own=3):
        return options, own

    flat = with_split_options(source, without=("grayscale",))
    assert flat(image_size=9, seed=4, own=5) == (SplitOptions(image_size=9, seed=4), 5)
    names = list(inspect.signature(flat).parameters)
    assert names[:2] == ["own", "image_size"]
    assert "grayscale" not in names
    with pytest.raises(
        UserError, match=r"^data\.options\.seed: must be 0 to 4294967295 \(got -2\)$"
    ):
        flat(image_size=9, seed=-2)


def test_classes_held_out_have_two_images_and_are_in_one_split_alone(tmp_path):
    files = layout(CLASSES, 3)
    alone = layout([f"single {number}" for number in range(8)], 1)
    splits = load(write_folder(tmp_path, files | alone), test_fraction=0.2, validation_fraction=0.3)
    names = class_names(splits)
    assert sum(map(len, names.values())) == len(set.union(*names.values())) == 18
    assert names["test"] | names["validation"] < set(CLASSES)
    # A share of all classes of training.
    assert len(names["test"]) == round(0.2 * 18)
    assert len(names["validation"]) == round(0.3 * (18 - len(names["test"])))
