"""Each standard set, from a tiny archive in the layout that its authors publish."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy.io import savemat

from darkrank_jax.data import SOURCES, Split, tfds_builder
from darkrank_jax.data.standard_sets import STANDARD_SETS, find_images
from darkrank_jax.errors import UserError


def jpeg(number):
    rng = np.random.default_rng(number)
    buffer = io.BytesIO()
    picture = Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8))
    picture.save(buffer, "JPEG")
    return buffer.getvalue()


def images(names):
    return {name: jpeg(number) for number, name in enumerate(names)}


def text(*lines):
    return ("\n".join(lines) + "\n").encode()


def cub200():
    labels = ("001.Albatross", "009.Jay", "100.Brown_Pelican", "101.White_Pelican", "200.Yellow")
    names = [f"CUB_200_2011/images/{x}/{x[4:]}_000{k}.jpg" for x in labels for k in (1, 2)]
    notes = {"CUB_200_2011/images.txt": b"1 x\n", "attributes.txt": b"1 y\n"}
    return {"CUB_200_2011.tgz": notes | images(names)}, {"train": 3, "test": 2}


def cars196():
    numbers = [98, 1, 196, 99, 98, 2]
    dtype = [("relative_im_path", object), ("bbox_x1", object), ("class", object), ("test", object)]
    rows = np.zeros((1, len(numbers)), dtype)
    for place, number in enumerate(numbers):
        rows[0, place] = (f"car_ims/00000{place + 1}.jpg", 3, number, 0)
    classes = np.array([[f"Car {number} C/V" for number in range(1, 197)]], object)
    buffer = io.BytesIO()
    savemat(buffer, {"annotations": rows, "class_names": classes})
    names = [f"car_ims/00000{place + 1}.jpg" for place in range(len(numbers))]
    files = {"car_ims.tgz": images(names), "cars_annos.mat": buffer.getvalue()}
    return files, {"train": 3, "test": 2}


def sop():
    heads = "image_id class_id super_class_id path"
    names = [f"bicycle_final/11{label}_{k}.JPG" for label in range(5) for k in range(2)]
    rows = [f"{i + 1} {i // 2 + 1} 1 {name}" for i, name in enumerate(names)]
    notes = {
        "Stanford_Online_Products/Ebay_train.txt": text(heads, *rows[:6]),
        "Stanford_Online_Products/Ebay_test.txt": text(heads, *rows[6:]),
        "Stanford_Online_Products/Ebay_info.txt": text(heads, *rows),
        "Stanford_Online_Products/bicycle_final/._x.jpg": b"",
    }
    photos = {f"Stanford_Online_Products/{name}": jpeg(i) for i, name in enumerate(names)}
    return {"Stanford_Online_Products.zip": photos | notes}, {"train": 3, "test": 2}


def inshop():
    rows = [
        (f"img/WOMEN/Dresses/id_0000000{label}/0{k}_1_front.jpg", f"id_0000000{label}", part)
        for label, part in (*((x, "train") for x in (1, 2, 5)), (3, "query"), (3, "gallery"))
        for k in range(4)
        if part == "train" or (k < 2) == (part == "query")
    ]
    notes = text(str(len(rows)), "image_name item_id evaluation_status", *map(" ".join, rows))
    files = {"Img/img.zip": images(row[0] for row in rows)}
    return files | {"Eval/list_eval_partition.txt": notes}, {"train": 3, "query": 1, "gallery": 1}


def pedestrians(prefix, pattern):
    names = [
        *(f"bounding_box_train/{pattern.format(p, c)}" for p in (2, 7, 9) for c in (1, 6)),
        *(f"query/{pattern.format(p, 1)}" for p in (3, 10)),
        *(f"bounding_box_test/{pattern.format(p, c)}" for p in (0, 3, 10) for c in (2, 4)),
        f"bounding_box_test/{pattern.format(-1, 3).replace('-001', '-1')}",
        "bounding_box_test/Thumbs.db",
    ]
    return images(f"{prefix}/{name}" for name in names)


REID = {"train": 3, "query": 2, "gallery": 3}


def market1501():
    files = pedestrians("Market-1501-v15.09.15", "{:04d}_c{}s1_000151_01.jpg")
    hand = {"Market-1501-v15.09.15/gt_bbox/0003_c1s1_000151_01.jpg": jpeg(1)}
    return {"Market-1501-v15.09.15.zip": files | hand}, REID


def dukemtmc_reid():
    return {"DukeMTMC-reID.zip": pedestrians("DukeMTMC-reID", "{:04d}_c{}_f0046182.jpg")}, REID


def cuhk03_detected():
    both = pedestrians("cuhk03-np/detected", "{:04d}_c{}_1.png")
    return {"cuhk03-np.zip": both | pedestrians("cuhk03-np/labeled", "{:04d}_c{}_9.png")}, REID


def msmt17():
    lists, names = {}, []
    for word, half, people in (
        ("train", "train", (0, 1, 2)),
        ("val", "train", (0, 1, 2)),
        ("query", "test", (0,)),
        ("gallery", "test", (0, 1)),
    ):
        paths = [
            f"{p:04d}/{p:04d}_{len(names):03d}_{c:02d}_0303morning_00{c}5_0.jpg"
            for p in people
            for c in (3, 15)
        ]
        names += [f"MSMT17_V1/{half}/{path}" for path in paths]
        rows = [f"{path} {int(path[:4])}" for path in paths]
        lists[f"MSMT17_V1/list_{word}.txt"] = text(*rows)
    files = {"MSMT17_V1.tar.gz": images(names) | lists}
    return files, {"train": 3, "query": 1, "gallery": 2}


def omniglot():
    files = {}
    for part, characters in (("background", "abe"), ("evaluation", "cd")):
        names = [f"images_{part}/Greek/{x}/0001_0{k}.png" for x in characters for k in (1, 2)]
        files[f"images_{part}.zip"] = images(names)
    return files, {"train": 3, "test": 2}


LAYOUTS = {
    each.__name__: each
    for each in (
        *(cub200, cars196, sop, inshop, market1501, dukemtmc_reid, cuhk03_detected, msmt17),
        omniglot,
    )
}
LAYOUTS["cuhk03_labeled"] = cuhk03_detected


def write(folder, files, *, unpacked=False):
    """Archives with their files, or those files where unpacking would put them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif unpacked:
            for entry, data in content.items():
                (path.parent / entry).parent.mkdir(parents=True, exist_ok=True)
                (path.parent / entry).write_bytes(data)
        elif name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                for entry, data in content.items():
                    archive.writestr(entry, data)
        else:
            with tarfile.open(path, "w:gz") as archive:
                for entry, data in content.items():
                    info = tarfile.TarInfo(entry)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_every_set_has_a_test():
    assert LAYOUTS.keys() == STANDARD_SETS.keys()
    assert STANDARD_SETS.keys() - {"omniglot"} <= SOURCES.keys()


@pytest.mark.parametrize("unpacked", [False, True], ids=["archive", "folder"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_parts_and_classes_are_those_of_the_authors(name, unpacked, tmp_path):
    files, expected = LAYOUTS[name]()
    found = find_images(name, write(tmp_path, files, unpacked=unpacked))
    classes = {part: {x.place.label for x in found if x.place.part == part} for part in expected}
    assert {part: len(labels) for part, labels in classes.items()} == expected
    assert len({each.place.part for each in found}) == len(expected)
    assert not classes["train"] & set.union(*(classes[p] for p in expected if p != "train"))
    assert expected.keys() == STANDARD_SETS[name].counts.keys()
    assert [each.name for each in found] == sorted(each.name for each in found)
    for each in found:
        assert Image.open(io.BytesIO(each.read(each.name))).size == (10, 12)


def places(name, tmp_path):
    found = find_images(name, write(tmp_path, LAYOUTS[name]()[0]))
    return {Path(each.name).name: each.place for each in found}


def test_cars_have_the_names_of_their_list(tmp_path):
    found = places("cars196", tmp_path)
    assert found["000001.jpg"] == ("train", "098 Car 98 C/V", -1)
    assert found["000003.jpg"] == ("test", "196 Car 196 C/V", -1)


def test_pedestrians_have_identity_and_camera(tmp_path):
    found = places("market1501", tmp_path)
    assert len(found) == 14
    assert found["0007_c6s1_000151_01.jpg"] == ("train", "0007", 6)
    assert found["0003_c1s1_000151_01.jpg"] == ("query", "0003", 1)
    assert found["0000_c4s1_000151_01.jpg"] == ("gallery", "0000 distractors", 4)
    assert not any(name.startswith("-1") for name in found)


def test_detected_and_labelled_boxes_are_apart(tmp_path):
    detected, labeled = (
        find_images(f"cuhk03_{kind}", write(tmp_path, cuhk03_detected()[0]))
        for kind in ("detected", "labeled")
    )
    assert len(detected) == len(labeled) == 14
    assert {each.name.split("/")[1] for each in detected} == {"detected"}
    assert {each.name.split("/")[1] for each in labeled} == {"labeled"}


def test_cameras_of_msmt17_and_its_second_version(tmp_path):
    files, expected = msmt17()
    content = {
        name.replace("V1/train", "V2/mask_train_v2").replace("V1/test", "V2/mask_test_v2"): data
        for name, data in files["MSMT17_V1.tar.gz"].items()
    }
    found = find_images("msmt17", write(tmp_path, {"MSMT17_V2.tar.gz": content}))
    assert {each.place.camera for each in found} == {3, 15}
    assert {each.place.label for each in found} == {
        *("train 0000", "train 0001", "train 0002"),
        *("test 0000", "test 0001"),
    }
    assert len({each.place.part for each in found}) == len(expected)


def refusal(name, folder):
    with pytest.raises(UserError) as caught:
        find_images(name, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_is_named(tmp_path):
    assert refusal("sop", tmp_path / "no") == (
        f"{tmp_path / 'no'}: is no folder; give the one that holds Stanford_Online_Products.zip, "
        "Ebay_train.txt, Ebay_test.txt"
    )
    assert refusal("cub200", tmp_path) == (
        f"{tmp_path}: holds no image of cub200; give CUB_200_2011.tgz or its folder"
    )
    write(tmp_path, {"Img/img.zip": images(["img/a/1.jpg"])})
    assert refusal("inshop", tmp_path) == (
        f"{tmp_path}: lacks list_eval_partition.txt of inshop; put its authors' file there"
    )


def test_damaged_lists_are_named(tmp_path):
    files = inshop()[0] | {"Eval/list_eval_partition.txt": b"2\nheads\nimg/a.jpg id\n"}
    assert refusal("inshop", write(tmp_path / "a", files)).startswith(
        "list_eval_partition.txt: has a line 'img/a.jpg id' without 3 words"
    )
    files = cars196()[0] | {"cars_annos.mat": b"no MATLAB"}
    assert refusal("cars196", write(tmp_path / "b", files)).startswith("cars_annos.mat: cannot be")


def load(name, folder):
    """The splits of a set, built in the folder where it is not yet."""
    options = {"image_size": (12, 10), "data_dir": str(folder / "built"), "center_crop": 0.0}
    if name == "omniglot":
        return SOURCES["tfds"](path=str(folder), name="darkrank_sets/omniglot", **options)
    return SOURCES[name](path=str(folder), **options)


def by_part(splits):
    """The authors' part of each split: training, and the test or its queries and gallery."""
    test = splits["test"]
    yield from (("train", splits["train"]), ("train", splits["validation"]))
    if test.queries is None:
        yield "test", test
        return
    for part, rows in (("query", test.queries), ("gallery", ~test.queries)):
        cameras = None if test.cameras is None else test.cameras[rows]
        images_ = test.images.select(np.flatnonzero(rows))
        yield part, Split(images_, test.labels[rows], test.class_names, cameras)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_is_built_once_with_its_files_as_they_are(name, tmp_path):
    files, expected = LAYOUTS[name]()
    found = find_images(name, write(tmp_path, files))
    load(name, tmp_path)
    for path in tmp_path.iterdir():
        if path.name != "built":
            path.rename(tmp_path / "built" / path.name)
    splits = load(name, tmp_path)
    assert splits.keys() == {"train", "validation", "test"}
    assert len(splits["train"].class_names) + len(splits["validation"].class_names) == 3
    assert len(splits["test"].class_names) == max(
        number for part, number in expected.items() if part != "train"
    )
    for part, split in by_part(splits):
        names = split.class_names
        inside = [x for x in found if x.place.part == part and x.place.label in names]
        decoded = [np.asarray(Image.open(io.BytesIO(bytes_of(files, x.name)))) for x in inside]
        np.testing.assert_array_equal(split.images[:], np.stack(decoded))
        assert [names[label] for label in split.labels] == [x.place.label for x in inside]
        if "query" in expected and name != "inshop":
            cameras = [x.place.camera for x in inside]
            same = np.equal.outer(cameras, cameras)
            np.testing.assert_array_equal(np.equal.outer(split.cameras, split.cameras), same)
        else:
            assert split.cameras is None


def bytes_of(files, name):
    """The bytes that were written under a name."""
    return next(content[name] for content in files.values() if name in content)


def test_a_set_of_another_size_than_published_is_told(tmp_path, caplog):
    write(tmp_path, cub200()[0])
    load("cub200", tmp_path)
    said = [record.getMessage() for record in caplog.records if record.name != "absl"]
    assert said == [
        "cub200: train has 6 images of 3 classes, published are 5864 of 100; is all of it there?",
        "cub200: test has 4 images of 2 classes, published are 5924 of 100; is all of it there?",
    ]


def test_an_interrupted_build_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    write(tmp_path, cub200()[0])
    original = tfds_builder.DarkrankSets._generate_examples

    def stop(self, found):
        yield from list(original(self, found))[:1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tfds_builder.DarkrankSets, "_generate_examples", stop)
        with pytest.raises(KeyboardInterrupt):
            load("cub200", tmp_path)
    splits = load("cub200", tmp_path)
    assert sum(len(split.labels) for split in splits.values()) == 10


def test_a_set_without_its_archive(tmp_path, monkeypatch):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no image of cub200; give CUB_200_2011\.tgz"):
        SOURCES["cub200"](path=str(tmp_path / "empty"), image_size=8, data_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"^data\.path: is empty, and so is the environment variab"):
        SOURCES["cub200"](path="", image_size=8, data_dir=str(tmp_path))


class OtherPets(tfds.core.GeneratorBasedBuilder):
    """A set of somebody else's, whose splits share their classes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "picture": tfds.features.Image(),
            "kind": tfds.features.ClassLabel(names=["cat", "dog", "owl", "fox", "hen"]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("picture", "kind"),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(10), "test": self._generate_examples(5)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"picture": jpeg(number), "kind": number % 5}


class OtherSounds(OtherPets):
    """A set without images."""

    def _info(self):
        features = tfds.features.FeaturesDict({"sound": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self, count):
        yield from ((number, {"sound": "moo"}) for number in range(count))


def test_any_other_set_is_split_by_class(tmp_path):
    options = {"path": "", "image_size": 8, "data_dir": str(tmp_path)}
    splits = SOURCES["tfds"](name="other_pets", **options, num_train_classes=3)
    # Natural order: cat, dog, fox, hen, owl.
    assert splits["test"].class_names == ("hen", "owl")
    assert sum(len(split.labels) for split in splits.values()) == 15
    assert set(splits["train"].class_names) < {"cat", "dog", "fox"}
    for split in splits.values():
        assert (np.bincount(split.labels) == 3).all()
    with pytest.raises(UserError, match="has no image with a class label; its features are sound"):
        SOURCES["tfds"](name="other_sounds", **options)
    with pytest.raises(UserError, match=r"^data\.options\.name: 'no_such_set' is no set of tfds "):
        SOURCES["tfds"](name="no_such_set", **options)


@pytest.mark.skipif("DARKRANK_DATA" not in os.environ, reason="DARKRANK_DATA is not set")
@pytest.mark.parametrize("name", STANDARD_SETS)
def test_a_real_set_has_its_published_counts(name):
    try:
        found = find_images(name, Path(os.environ["DARKRANK_DATA"]))
    except UserError as missing:
        pytest.skip(str(missing))
    for part, (number, classes) in STANDARD_SETS[name].counts.items():
        labels = [each.place.label for each in found if each.place.part == part]
        assert len(labels) == number
        assert len(set(labels)) == classes
