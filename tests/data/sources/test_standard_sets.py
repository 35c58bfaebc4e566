"""Each standard set, from a tiny archive in the layout that its authors publish."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from darkrank_jax.data import SOURCES
from darkrank_jax.data.sources.standard_sets import STANDARD_SETS, find_images
from darkrank_jax.errors import UserError
from tests.layouts import (
    LAYOUTS,
    cars196,
    cub200,
    cuhk03_detected,
    images,
    inshop,
    load_set,
    msmt17,
    write,
)

pytestmark = pytest.mark.usefixtures("cache")


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
    assert len(found) == 16
    assert found["0007_c6s1_000151_01.jpg"] == ("train", "0007", 6)
    assert found["0003_c1s1_000151_01.jpg"] == ("query", "0003", 1)
    assert found["0000_c4s1_000151_01.jpg"] == ("gallery", "0000 distractors", 4)
    assert not any(name.startswith("-1") for name in found)


def test_detected_and_labelled_boxes_are_apart(tmp_path):
    detected, labeled = (
        find_images(f"cuhk03_{kind}", write(tmp_path, cuhk03_detected()[0]))
        for kind in ("detected", "labeled")
    )
    assert len(detected) == len(labeled) == 16
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
        *(f"train 000{number}" for number in range(4)),
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
        f"{tmp_path / 'no'}: must be a folder; give the one that holds "
        "Stanford_Online_Products.zip, "
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


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name != "absl"]


def test_a_set_of_another_size_than_published_is_told_at_every_use(tmp_path, caplog, capsys):
    write(tmp_path, cub200()[0])
    for _ in range(2):
        caplog.clear()
        load_set("cub200", tmp_path)
        assert said(caplog) == [
            f"cub200: {counts}; is all of it there?"
            for counts in (
                "train has 8 images of 4 classes, published are 5864 of 100",
                "test has 4 images of 2 classes, published are 5924 of 100",
            )
        ]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_was_built_is_not_used_for_a_path_without_the_set(unpacked, tmp_path, monkeypatch):
    data = write(tmp_path / "data", cub200()[0], unpacked=unpacked)
    load_set("cub200", tmp_path, str(data))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"no: must be a folder; give the one that holds CUB_200_2011"
    ):
        load_set("cub200", tmp_path, str(tmp_path / "no"))
    with pytest.raises(UserError, match=r"empty: holds no image of cub200; give CUB_200_2011"):
        load_set("cub200", tmp_path, str(tmp_path / "empty"))
    # The environment names a folder for all sets, which need not hold this one any more.
    monkeypatch.setenv("DARKRANK_DATA", str(tmp_path / "empty"))
    assert len(load_set("cub200", tmp_path, "")["test"].labels) == 4


def test_a_set_without_its_archive(tmp_path, monkeypatch):
    monkeypatch.delenv("DARKRANK_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no image of cub200; give CUB_200_2011\.tgz"):
        SOURCES["cub200"](path=str(tmp_path / "empty"), image_size=8, data_dir=str(tmp_path))
    with pytest.raises(
        UserError, match=r"^data\.path: must be the folder that holds the archives of cub200 \(got"
    ):
        SOURCES["cub200"](path="", image_size=8, data_dir=str(tmp_path))
    with pytest.raises(
        UserError, match=r"^data\.options\.cache_mib: must be at least 0 \(got -1\)$"
    ):
        SOURCES["cub200"](path="", image_size=8, data_dir=str(tmp_path), cache_mib=-1)


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
