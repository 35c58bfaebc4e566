"""What embed and search take as images."""

import html
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from darkrank_jax.errors import UserError
from darkrank_jax.inference.gallery import read_gallery
from darkrank_jax.inference.search import embed_images, search
from darkrank_jax.runs.splits import Splits
from darkrank_jax.workdir.run_file import recorded_run


def test_a_folder_an_archive_and_a_table_give_the_same(
    gallery, workdir, network, pictures, tmp_path
):
    known = read_gallery(gallery)
    names = [path.relative_to(pictures).as_posix() for path in sorted(pictures.rglob("*.png"))]
    assert known.ids.tolist() == names
    assert known.labels[0] == os.path.dirname(names[0])
    np.testing.assert_allclose(
        known.vectors, network.embed([pictures / x for x in names]), atol=1e-6
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in reversed(names):
            archive.write(pictures / name, name)
    rows = [f"{pictures.name}/{name},it's {name[:7]}" for name in names[4:7]]
    (pictures.parent / "a.csv").write_text("\n".join(["path,label", *rows]))
    embed_images(workdir, images=str(tmp_path / "a.zip"), output=str(tmp_path / "a.npz"))
    zipped = read_gallery(tmp_path / "a.npz")
    assert zipped.ids.tolist() == names
    np.testing.assert_array_equal(zipped.vectors, known.vectors)
    embed_images(workdir, images=str(pictures.parent / "a.csv"), output=str(tmp_path / "t.npz"))
    table = read_gallery(tmp_path / "t.npz")
    assert table.labels[0] == f"it's {names[4][:7]}"
    np.testing.assert_allclose(table.vectors, known.vectors[4:7], atol=1e-6)


def test_the_images_that_a_run_was_tested_on(workdir, network, tmp_path, capsys):
    test = Splits()[recorded_run(workdir).data]["test"]
    path = tmp_path / "tested.npz"
    embed_images(workdir, images=str(workdir), output=str(path))
    known = read_gallery(path)
    np.testing.assert_allclose(known.vectors, network.embed(test.images), atol=1e-6)
    assert known.labels.tolist() == [test.class_names[label] for label in test.labels]
    assert len(set(known.ids.tolist())) == len(test.labels)
    Image.fromarray(test.images[5][:, :, 0]).save(tmp_path / "query.png")
    page = tmp_path / "near.html"
    search(
        workdir, query=str(tmp_path / "query.png"), gallery=str(path), output=str(page), nearest=2
    )
    assert known.ids[5] in html.unescape(page.read_text())
    capsys.readouterr()
    search(workdir, query=str(tmp_path / "query.png"), gallery=str(path), nearest=1)
    assert str(known.ids[5]) in capsys.readouterr().out.splitlines()[1]


def test_each_image_of_an_archive_is_a_query(workdir, images, tmp_path, capsys):
    embed_images(workdir, images=str(images), output=str(tmp_path / "g.npz"), tolerated=0.5)
    with zipfile.ZipFile(tmp_path / "q.zip", "w") as archive:
        archive.write(tmp_path / "picture.png", "x/1.png")
        archive.write(tmp_path / "picture.png", "x/2.png")
    capsys.readouterr()
    search(workdir, query=str(tmp_path / "q.zip"), gallery=str(tmp_path / "g.npz"), nearest=1)
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == ["x/1.png", "x/2.png"]


def test_missing_images_name_their_flag(workdir, tmp_path):
    with pytest.raises(UserError, match=r"^--images: must exist \(got .*void\); give a folder"):
        embed_images(workdir, images=str(tmp_path / "void"), output=str(tmp_path / "g.npz"))
