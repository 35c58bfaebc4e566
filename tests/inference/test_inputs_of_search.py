"""What embed and search take: images of any kind, unreadable ones, hostile names."""

import html
import shutil
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import darkrank_jax
from darkrank_jax.errors import UserError
from darkrank_jax.export.command import export_run
from darkrank_jax.inference.gallery import read_gallery
from darkrank_jax.inference.search import embed_images, search

PIXELS = np.random.default_rng(2).integers(0, 256, (16, 16), np.uint8)


@pytest.fixture(scope="module")
def network(workdir):
    return darkrank_jax.load_run(workdir)


@pytest.mark.parametrize(
    ("images", "got"),
    [
        ([PIXELS, None], r"images\[1\]: .* \(got None\)"),
        ([["a.png"]], r"images\[0\]: .* \(got list\)"),
        ({"a.png": 1}, r"images: .* \(got dict\)"),
        (3, r"images: .* \(got int\)"),
        (None, r"images: .* \(got NoneType\)"),
        (PIXELS[:0], r"images: .* \(got uint8 \[0, 16\]\)"),
        (PIXELS / 255, r"images: .* \(got float64 \[16, 16\]\)"),
        (np.zeros((2, 16, 16, 4), np.uint8), r"images\[0\]: .* \(got uint8 \[16, 16, 4\]\)"),
        (np.zeros((1, 2, 16, 16, 1), np.uint8), r"images\[0\]: .* \(got uint8 \[2, 16, 16, 1\]\)"),
    ],
)
def test_embed_refuses_what_is_no_image_by_a_type_error(network, images, got):
    for kind in (TypeError, UserError):
        with pytest.raises(kind, match=got):
            network.embed(images)


def test_path_bytes_picture_and_arrays_give_one_embedding(network, tmp_path):
    large = np.asarray(Image.fromarray(PIXELS).resize((90, 70)))
    Image.fromarray(large).save(tmp_path / "a.png")
    (expected,) = network.embed(tmp_path / "a.png")
    file = (tmp_path / "a.png").read_bytes()
    for image in (file, Image.fromarray(large), large, jnp.asarray(large), large[:, :, None]):
        np.testing.assert_array_equal(network.embed(image)[0], expected)
        np.testing.assert_array_equal(network.embed([image])[0], expected)


@pytest.fixture
def images(tmp_path):
    """Three pictures, one of which is broken, under names that a terminal would act on."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a\x1b]0;owned\x07.png", "caf\udce9.png"):
        Image.fromarray(PIXELS[:: -1 if "caf" in name else 1]).save(tmp_path / "picture.png")
        (folder / name).write_bytes((tmp_path / "picture.png").read_bytes())
    (folder / "broken.png").write_text("no image")
    return folder


def test_unreadable_image_is_reported_and_the_rest_is_embedded(workdir, images, tmp_path, caplog):
    output = tmp_path / "g.npz"
    asked = {"images": str(images), "output": str(output)}
    with pytest.raises(UserError, match=r"broken\.png: is no image .*--tolerated leaves out"):
        embed_images(workdir, **asked)
    assert not output.exists()
    embed_images(workdir, **asked, tolerated=0.5)
    assert read_gallery(output).ids.tolist() == ["a\x1b]0;owned\x07.png", "caf\udce9.png"]
    assert "1 of 3 images are left out" in caplog.text
    assert "broken.png: is no image" in caplog.text
    (images / "broken.png").write_bytes(b"")
    with pytest.raises(UserError, match="--tolerated: must be a share from 0 to 1"):
        embed_images(workdir, **asked, tolerated=2.0)


def test_names_are_escaped_in_tables_and_on_the_page(workdir, images, tmp_path, capsys):
    gallery, page = tmp_path / "g.parquet", tmp_path / "page.html"
    embed_images(workdir, images=str(images), output=str(gallery), tolerated=0.5)
    query = str(tmp_path / "picture.png")
    capsys.readouterr()
    search(workdir, query=query, gallery=str(gallery), nearest=2)
    said = capsys.readouterr().out
    assert r"a\x1b]0;owned\x07.png" in said
    assert r"caf\udce9.png" in said
    assert "\x1b" not in said
    search(workdir, query=query, gallery=str(gallery), nearest=2, output=str(page))
    text = page.read_text(encoding="utf-8")
    assert r"caf\udce9.png" in text
    assert "\x1b" not in text
    assert "default-src 'none'; img-src data:" in html.unescape(text)
    assert "script-src" not in text


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
    with pytest.raises(UserError, match=r"^--images: .*void is missing; give a folder"):
        embed_images(workdir, images=str(tmp_path / "void"), output=str(tmp_path / "g.npz"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"networks": {"a": {}}}', '{"networks": [1]}'])
def test_damaged_results_are_named_before_anything_is_exported(text, workdir, tmp_path):
    run = Path(shutil.copytree(workdir, tmp_path / "run"))
    # Where another test exported the shared run.
    shutil.rmtree(run / "export", ignore_errors=True)
    (run / "results.json").write_text(text)
    with pytest.raises(UserError, match=rf"^{run}/results\.json: .*--mode eval$"):
        export_run(run)
    assert not (run / "export").exists()
