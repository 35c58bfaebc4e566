"""Sets of tensorflow-datasets that somebody else describes, or that are built already."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from darkrank_jax.data import SOURCES
from darkrank_jax.errors import UserError
from tests.layouts import cub200, jpeg, write

pytestmark = pytest.mark.usefixtures("cache")


class OtherPets(tfds.core.GeneratorBasedBuilder):
    """A set of somebody else's, whose splits share their classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "picture": tfds.features.Image(),
            "kind": tfds.features.ClassLabel(names=["cat", "dog", "owl", "fox", "hen", "ant"]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("picture", "kind"),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(12), "test": self._generate_examples(6)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"picture": jpeg(number), "kind": number % 6}


class PartlyLabelledPets(OtherPets):
    """A set whose test images have no labels."""

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"picture": jpeg(number), "kind": number % 6 if count == 12 else -1}


class OtherSounds(OtherPets):
    """A set without images."""

    def _info(self):
        features = tfds.features.FeaturesDict({"sound": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self, count):
        yield from ((number, {"sound": "moo"}) for number in range(count))


def test_any_other_set_is_split_by_class(tmp_path):
    options = {"path": "", "image_size": 8, "data_dir": str(tmp_path)}
    splits = SOURCES["tfds"](name="other_pets", **options, num_train_classes=4)
    # Natural order: ant, cat, dog, fox, hen, owl.
    assert splits["test"].class_names == ("hen", "owl")
    assert sum(len(split.labels) for split in splits.values()) == 18
    assert set(splits["train"].class_names) < {"ant", "cat", "dog", "fox"}
    for split in splits.values():
        assert (np.bincount(split.labels) == 3).all()
    with pytest.raises(UserError, match="has no image with a class label; its features are sound"):
        SOURCES["tfds"](name="other_sounds", **options)
    with pytest.raises(UserError, match=r"^data\.options\.name: 'no_such_set' is no set of tfds "):
        SOURCES["tfds"](name="no_such_set", **options)
    with pytest.raises(UserError, match=r"^data\.options\.name: no standard set 'cub'; .*'cub200'"):
        SOURCES["tfds"](name="darkrank_sets/cub", **options)
    with pytest.raises(
        UserError, match=r"no: must be a folder; give the folder of the set's archives"
    ):
        SOURCES["tfds"](name="other_pets", **options | {"path": str(tmp_path / "no")})


def test_images_of_tfds_without_a_label_are_left_out_and_reported(tmp_path, caplog):
    options = {"path": "", "image_size": 8, "data_dir": str(tmp_path)}
    splits = SOURCES["tfds"](name="partly_labelled_pets", **options, num_train_classes=4)
    assert sum(len(split.labels) for split in splits.values()) == 12
    said = [record.getMessage() for record in caplog.records if "no label" in record.getMessage()]
    assert len(said) == 1
    assert said[0].endswith(": 6 images have no label and are left out; first test/0")


@pytest.mark.parametrize("file", ["dataset_info.json", "*train.array_record*"])
@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"[]"]
)
def test_a_damaged_built_set_gives_one_line(file, damage, tmp_path):
    write(tmp_path / "raw", cub200()[0])
    options = {"image_size": 8, "data_dir": str(tmp_path / "built")}
    SOURCES["cub200"](path=str(tmp_path / "raw"), **options)
    (place,) = (tmp_path / "built").rglob(file)
    place.write_bytes(damage(place.read_bytes()))
    with pytest.raises(UserError) as raised:
        SOURCES["cub200"](path=str(tmp_path / "raw"), **options)
    line = str(raised.value)
    assert line.startswith(f"{tmp_path / 'built'}")
    assert line.endswith("delete the set there, and build it again")
    assert "\n" not in line


def test_a_built_set_of_a_stranger_imports_no_module(tmp_path, monkeypatch):
    """As tfds would to find a feature by the name in the folder."""
    options = {"path": "", "image_size": 8, "data_dir": str(tmp_path), "num_train_classes": 4}
    SOURCES["tfds"](name="other_pets", **options)
    (tmp_path / "other_pets").rename(tmp_path / "unknown_pets")
    for path in tmp_path.rglob("*.json"):
        path.write_text(path.read_text().replace("other_pets", "unknown_pets"))
    for path in [*tmp_path.rglob("other_pets*")]:
        path.rename(path.with_name(path.name.replace("other_pets", "unknown_pets")))
    (place,) = tmp_path.rglob("features.json")
    whole = place.read_text()
    # A set without code here is read by what its folder says.
    splits = SOURCES["tfds"](name="unknown_pets", **options)
    assert sum(len(split.labels) for split in splits.values()) == 18
    (tmp_path / "poison_of_tfds.py").write_text("raise SystemExit('the stranger runs')")
    monkeypatch.syspath_prepend(tmp_path)
    feature = "tensorflow_datasets.core.features.image_feature.Image"
    assert feature in whole
    place.write_text(whole.replace(feature, "poison_of_tfds.Image"))
    with pytest.raises(UserError) as raised:
        SOURCES["tfds"](name="unknown_pets", **options)
    assert str(raised.value) == (
        f"{place}: must name features of tfds alone (got 'poison_of_tfds.Image'), since it would "
        "be imported; import its module in your config file if you trust it"
    )
