"""Tiny archives in the layouts in which the authors of the standard sets publish them."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image
from scipy.io import savemat

from darkrank_jax.data import SOURCES


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
    trained = ("001.Albatross", "009.Jay", "029.Crow", "100.Brown_Pelican")
    labels = (*trained, "101.White_Pelican", "200.Yellow")
    names = [f"CUB_200_2011/images/{x}/{x[4:]}_000{k}.jpg" for x in labels for k in (1, 2)]
    notes = {"CUB_200_2011/images.txt": b"1 x\n", "attributes.txt": b"1 y\n"}
    return {"CUB_200_2011.tgz": notes | images(names)}, {"train": 4, "test": 2}


def cars196():
    numbers = [98, 1, 196, 99, 98, 2, 31, 1, 196, 99, 2, 31]
    dtype = [("relative_im_path", object), ("bbox_x1", object), ("class", object), ("test", object)]
    rows = np.zeros((1, len(numbers)), dtype)
    for place, number in enumerate(numbers):
        rows[0, place] = (f"car_ims/{place + 1:06d}.jpg", 3, number, 0)
    classes = np.array([[f"Car {number} C/V" for number in range(1, 197)]], object)
    buffer = io.BytesIO()
    savemat(buffer, {"annotations": rows, "class_names": classes})
    names = [f"car_ims/{place + 1:06d}.jpg" for place in range(len(numbers))]
    files = {"car_ims.tgz": images(names), "cars_annos.mat": buffer.getvalue()}
    return files, {"train": 4, "test": 2}


def sop():
    heads = "image_id class_id super_class_id path"
    names = [f"bicycle_final/11{label}_{k}.JPG" for label in range(6) for k in range(2)]
    rows = [f"{i + 1} {i // 2 + 1} 1 {name}" for i, name in enumerate(names)]
    notes = {
        "Stanford_Online_Products/Ebay_train.txt": text(heads, *rows[:8]),
        "Stanford_Online_Products/Ebay_test.txt": text(heads, *rows[8:]),
        "Stanford_Online_Products/Ebay_info.txt": text(heads, *rows),
        "Stanford_Online_Products/bicycle_final/._x.jpg": b"",
    }
    photos = {f"Stanford_Online_Products/{name}": jpeg(i) for i, name in enumerate(names)}
    return {"Stanford_Online_Products.zip": photos | notes}, {"train": 4, "test": 2}


def inshop():
    rows = [
        (f"img/WOMEN/Dresses/id_0000000{label}/0{k}_1_front.jpg", f"id_0000000{label}", part)
        for label, part in (
            *((label, "train") for label in (1, 2, 5, 6)),
            *((label, part) for label in (3, 4) for part in ("query", "gallery")),
        )
        for k in range(4)
        if part == "train" or (k < 2) == (part == "query")
    ]
    notes = text(str(len(rows)), "image_name item_id evaluation_status", *map(" ".join, rows))
    files = {"Img/img.zip": images(row[0] for row in rows)}
    return files | {"Eval/list_eval_partition.txt": notes}, {"train": 4, "query": 2, "gallery": 2}


def pedestrians(prefix, pattern, trained=(2, 7, 9, 11)):
    names = [
        *(f"bounding_box_train/{pattern.format(p, c)}" for p in trained for c in (1, 6)),
        *(f"query/{pattern.format(p, 1)}" for p in (3, 10)),
        *(f"bounding_box_test/{pattern.format(p, c)}" for p in (0, 3, 10) for c in (2, 4)),
        f"bounding_box_test/{pattern.format(-1, 3).replace('-001', '-1')}",
        "bounding_box_test/Thumbs.db",
    ]
    return images(f"{prefix}/{name}" for name in names)


REID = {"train": 4, "query": 2, "gallery": 3}


def market1501(trained=(2, 7, 9, 11)):
    files = pedestrians("Market-1501-v15.09.15", "{:04d}_c{}s1_000151_01.jpg", trained)
    hand = {"Market-1501-v15.09.15/gt_bbox/0003_c1s1_000151_01.jpg": jpeg(1)}
    return {"Market-1501-v15.09.15.zip": files | hand}, REID | {"train": len(trained)}


def dukemtmc_reid():
    return {"DukeMTMC-reID.zip": pedestrians("DukeMTMC-reID", "{:04d}_c{}_f0046182.jpg")}, REID


def cuhk03_detected():
    both = pedestrians("cuhk03-np/detected", "{:04d}_c{}_1.png")
    return {"cuhk03-np.zip": both | pedestrians("cuhk03-np/labeled", "{:04d}_c{}_9.png")}, REID


def msmt17():
    lists, names = {}, []
    for word, half, people in (
        ("train", "train", (0, 1, 2, 3)),
        ("val", "train", (0, 1, 2, 3)),
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
    return files, {"train": 4, "query": 1, "gallery": 2}


def omniglot():
    files = {}
    for part, characters in (("background", "abef"), ("evaluation", "cd")):
        names = [f"images_{part}/Greek/{x}/0001_0{k}.png" for x in characters for k in (1, 2)]
        files[f"images_{part}.zip"] = images(names)
    return files, {"train": 4, "test": 2}


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


def load_set(name, folder, path=None):
    """The splits of a set, built in the folder where it is not yet."""
    options = {"image_size": (12, 10), "data_dir": str(folder / "built"), "center_crop": 0.0}
    options["path"] = str(folder) if path is None else path
    if name == "omniglot":
        return SOURCES["tfds"](name="darkrank_sets/omniglot", **options)
    return SOURCES[name](**options)
