"""Embedding folders, archives and tables; searching; the command line of both."""

import html
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.errors import UserError
from darkrank_jax.export.command import export_run
from darkrank_jax.inference.gallery import Gallery, read_gallery, write_gallery
from darkrank_jax.inference.search import embed_images, search
from darkrank_jax.runs.splits import Splits
from darkrank_jax.workdir.run_file import recorded_run

SUFFIXES = (".npz", ".parquet", ".faiss")


@pytest.fixture(scope="module")
def network(workdir):
    return darkrank_jax.load_run(workdir)


@pytest.fixture(scope="module")
def gallery(workdir, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("gallery") / "gallery.npz"
    embed_images(workdir, images=str(pictures), output=str(path))
    return path


def test_embed_takes_images_of_any_kind_and_size(network, pictures):
    path = sorted(pictures.rglob("*.png"))[3]
    picture = Image.open(path)
    array = np.asarray(picture)
    (expected,) = network.embed(path)
    for image in (str(path), picture, array, array[:, :, None], np.stack([array] * 3, axis=-1)):
        np.testing.assert_allclose(network.embed([image])[0], expected, atol=1e-6)
    larger = network.embed([array.repeat(4, axis=0).repeat(4, axis=1)])
    assert larger[0] @ expected > 0.98
    wide = np.pad(array, ((0, 0), (8, 8)))
    np.testing.assert_allclose(network.embed([wide])[0], expected, atol=1e-6)
    inverted = network.embed([255 - array], invert=True)
    np.testing.assert_allclose(inverted[0], expected, atol=1e-6)


def test_embed_keeps_the_order_over_batches(network):
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 1), np.uint8)
    whole = network.embed(images)
    parts = network.embed(iter(images), batch_size=3)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert np.linalg.norm(whole - whole[::-1]) > 0.1
    assert network.embed([]).shape == (0, 8)


def test_embed_refuses_what_is_no_image(network, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(UserError, match=r"no\.png: is no image"):
        network.embed([tmp_path / "no.png"])
    with pytest.raises(UserError, match=r"missing\.png: cannot be read \(No such file"):
        network.embed(tmp_path / "missing.png")
    with pytest.raises(UserError, match=r"images\[0\]: must be .* \(got float64 \[16, 16\]\)$"):
        network.embed([np.zeros((16, 16))])


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


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_galleries_come_back_whole(suffix, gallery, tmp_path):
    known = read_gallery(gallery)
    path = tmp_path / f"a{suffix}"
    write_gallery(known, path)
    again = read_gallery(path)
    assert again.ids.tolist() == known.ids.tolist()
    assert again.labels.tolist() == known.labels.tolist()
    np.testing.assert_array_equal(again.vectors, known.vectors)
    assert again.facts == known.facts
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=rf"^{path}: cannot be read \("):
        read_gallery(path)


@pytest.mark.parametrize(("suffix", "module"), [(".parquet", "pyarrow")])
def test_says_which_library_is_missing(suffix, module, gallery, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"needs {module}.*; run `pip install"):
        write_gallery(read_gallery(gallery), tmp_path / f"a{suffix}")


def test_a_pickle_in_a_gallery_is_not_opened(tmp_path):
    path = tmp_path / "evil.npz"
    ids, facts = np.array([{"a": 1}], object), json.dumps({"schema": 1})
    np.savez(path, ids=ids, labels=["a"], vectors=[[1.0]], facts=facts)
    with pytest.raises(UserError, match="cannot be read"):
        read_gallery(path)


def test_search_puts_the_query_itself_on_top(workdir, gallery, pictures, capsys):
    query = sorted(pictures.rglob("*.png"))[5]
    search(workdir, query=str(query), gallery=str(gallery), nearest=3)
    head, first, *others = capsys.readouterr().out.splitlines()
    assert head.split() == ["distance", "image", "label"]
    assert first.split()[:2] == ["1", "0.000"]
    assert query.relative_to(pictures).as_posix() in first
    assert len(others) == 2


def test_search_leaves_out_the_query_itself(workdir, gallery, pictures, tmp_path, capsys):
    query = sorted(pictures.rglob("*.png"))[5]
    # Another file with the same picture stays.
    twin = Path(shutil.copy(query, tmp_path / "twin.png"))
    asked = {"gallery": str(gallery), "nearest": 3}
    search(workdir, query=str(query), **asked)
    _, first, *others = capsys.readouterr().out.splitlines()
    # By another spelling of its path.
    spelt = os.path.relpath(query)
    search(workdir, query=spelt, gallery=str(gallery), nearest=2, exclude_self=True)
    _, *rest = capsys.readouterr().out.splitlines()
    assert [line.split()[1:] for line in rest] == [line.split()[1:] for line in others]
    search(workdir, query=str(twin), exclude_self=True, **asked)
    assert capsys.readouterr().out.splitlines()[1] == first
    with pytest.raises(UserError, match="is 20; the gallery has 20 images but the query"):
        search(workdir, query=spelt, gallery=str(gallery), nearest=20, exclude_self=True)


def test_search_takes_a_folder_of_queries(workdir, gallery, pictures, tmp_path, capsys):
    files = sorted(pictures.rglob("*.png"))[3:6]
    singles = []
    for file in files:
        shutil.copy(file, tmp_path / file.name)
        search(workdir, query=str(file), gallery=str(gallery), nearest=2)
        singles.append(f"{file.name}\n{capsys.readouterr().out}")
    asked = {"query": str(tmp_path), "gallery": str(gallery), "nearest": 2}
    search(workdir, **asked)
    assert capsys.readouterr().out == "\n".join(sorted(singles))
    search(workdir, **asked, output=str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<table>") == page.count("<h1>") == 3
    assert page.count("data:image/png;base64,") == 3 + 6
    capsys.readouterr()
    # The gallery's own folder: each image is the query once.
    search(workdir, query=str(pictures), gallery=str(gallery), nearest=1, exclude_self=True)
    blocks = capsys.readouterr().out.split("\n\n")
    assert len(blocks) == 20
    for block in blocks:
        name, _, line = block.strip().splitlines()
        assert name not in line


def test_search_finds_the_nearest_by_the_vectors(workdir, network, gallery, pictures, capsys):
    known = read_gallery(gallery)
    query = sorted(pictures.rglob("*.png"))[8]
    search(workdir, query=str(query), gallery=str(gallery), nearest=6, invert=True)
    lines = capsys.readouterr().out.splitlines()[1:]
    distances = np.linalg.norm(known.vectors - network.embed(query, invert=True), axis=1)
    for row, line in zip(np.argsort(distances)[:6], lines, strict=True):
        assert f"{distances[row]:.3f}" in line
        assert known.ids[row] in line


def test_search_writes_a_page_that_escapes_names(workdir, tmp_path):
    name = "<script>alert(1)</script>.png".replace("/", "_")
    (tmp_path / "in").mkdir()
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "in" / name)
    embed_images(workdir, images=str(tmp_path / "in"), output=str(tmp_path / "g.npz"))
    asked = {"query": str(tmp_path / "in" / name), "gallery": str(tmp_path / "g.npz")}
    search(workdir, **asked, nearest=1, output=str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    os.rename(tmp_path / "in" / name, tmp_path / "in" / "other.png")
    asked["query"] = str(tmp_path / "in" / "other.png")
    with pytest.raises(UserError, match="has no <script>"):
        search(workdir, **asked, nearest=1, output=str(tmp_path / "page.html"))


def test_a_students_queries_search_the_gallery_that_it_was_trained_for(
    gallery, workdir, other_workdir, pictures, tmp_path, capsys
):
    query = str(sorted(pictures.rglob("*.png"))[0])
    with pytest.raises(UserError, match=r"was embedded by run \(.*another network"):
        search(other_workdir, query=query, gallery=str(gallery))
    student = shutil.copytree(other_workdir, tmp_path / "student")
    facts = json.loads((student / "run.json").read_text())
    facts["run"]["losses"]["compatible_ranking"] = {"weight": 1.0}
    alone = {"teacher": None, "ensemble": {}, "baseline": {}}
    facts["run"]["teacher"] = {"checkpoint": str(workdir), **alone}
    (student / "run.json").write_text(json.dumps(facts))
    search(student, query=query, gallery=str(gallery), nearest=2)
    assert len(capsys.readouterr().out.splitlines()) == 3
    shutil.move(shutil.copytree(workdir, tmp_path / "teacher"), student / "teacher")
    facts["run"]["teacher"]["checkpoint"] = ""
    (student / "run.json").write_text(json.dumps(facts))
    own = darkrank_jax.load_run(student).facts
    assert own["compatible_with"] == [read_gallery(gallery).facts["fingerprint"]]


def test_a_gallery_of_a_later_version_is_refused(gallery, workdir, tmp_path):
    known = read_gallery(gallery)
    write_gallery(known._replace(facts=known.facts | {"schema": 2}), tmp_path / "later.npz")
    with pytest.raises(UserError, match="is of layout 2, and this version reads 1; update"):
        search(workdir, query="none.png", gallery=str(tmp_path / "later.npz"))


def test_a_gallery_has_as_many_ids_as_vectors(gallery, tmp_path):
    known = read_gallery(gallery)
    write_gallery(Gallery(known.ids[1:], *known[1:]), tmp_path / "a.npz")
    with pytest.raises(UserError, match="has 19 ids for 20 vectors; embed the images again"):
        read_gallery(tmp_path / "a.npz")


def refusal(capsys, *arguments):
    """The one line of a refused command."""
    assert command_line.main(["main", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line.removeprefix("error: ")


def test_the_command_line_embeds_and_searches(workdir, pictures, tmp_path, capsys):
    onnx = tmp_path / "export" / "model.onnx"
    common = ["main", f"--workdir={workdir}"]
    arguments = ["--formats=onnx", f"--output={onnx.parent}"]
    assert command_line.main([*common, "--mode=export", *arguments]) == 0
    arguments = [f"--images={pictures}", f"--output={tmp_path / 'g.npz'}"]
    assert command_line.main([*common, "--mode=embed", *arguments]) == 0
    query = sorted(pictures.rglob("*.png"))[0]
    arguments = ["--mode=search", f"--query={query}", f"--gallery={tmp_path / 'g.npz'}"]
    capsys.readouterr()
    assert command_line.main(["main", f"--workdir={onnx}", *arguments, "--nearest=1"]) == 0
    assert query.name in capsys.readouterr().out


def test_refuses_in_one_line(workdir, other_workdir, gallery, pictures, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "no.png").write_text("")
    query = sorted(pictures.rglob("*.png"))[0]
    here, empty = f"--workdir={workdir}", tmp_path / "empty"
    export, embed, look = "--mode=export", "--mode=embed", "--mode=search"
    assert refusal(capsys, export).startswith("--workdir: missing; --mode export needs that of a")
    said = refusal(capsys, export, f"--workdir={empty}")
    assert said == f"{empty}: has no run.json, so no run was trained there; train it first"
    (empty).mkdir()
    (empty / "run.json").write_text((workdir / "run.json").read_text())
    said = refusal(capsys, export, f"--workdir={empty}")
    assert said == f"{empty}: holds no validated checkpoint yet; train it first"
    said = refusal(capsys, export, here, f"--output={tmp_path / 'file' / 'out'}")
    assert said.startswith(
        f"{tmp_path / 'file' / 'out'}: cannot be written (Not a directory); choose"
    )
    said = refusal(capsys, export, here, "--formats=onxx")
    assert said == "--formats: unknown name 'onxx'; did you mean 'onnx'?"
    assert refusal(capsys, export, here, "--formats=,").startswith("--formats: is empty; valid: ")
    said = refusal(capsys, export, here, f"--query={query}")
    assert said == "--query: is no flag of --mode export; leave it out"
    said = refusal(capsys, "--mode=train", here)
    assert said.startswith("--config: missing; give --config NAME or FILE")
    assert refusal(capsys, embed, here, "--output=a.npz").startswith(
        "--images: missing; --mode embed"
    )
    (bare := tmp_path / "bare").mkdir()
    said = refusal(capsys, embed, here, f"--images={bare}", "--output=a.npz")
    assert said.startswith(f"{bare}: holds no image; images end in ")
    said = refusal(capsys, embed, here, f"--images={pictures}", "--output=a.csv")
    assert said == "a.csv: must be one of .npz, .parquet, .faiss"
    said = refusal(capsys, look, here, f"--query={query}", "--gallery=none.npz")
    assert said == "none.npz: is missing; embed the images again with --mode embed"
    said = refusal(capsys, look, here, f"--query={tmp_path / 'no.png'}", f"--gallery={gallery}")
    assert said == f"{tmp_path / 'no.png'}: is empty; delete it or put the image there again"
    said = refusal(capsys, look, here, f"--query={query}", f"--gallery={gallery}", "--nearest=99")
    assert said == "--nearest: is 99; the gallery has 20 images"


def test_refuses_an_onnx_file_of_another_network(
    other_workdir, gallery, pictures, tmp_path, capsys
):
    export_run(other_workdir, formats="onnx", output=str(tmp_path))
    query = sorted(pictures.rglob("*.png"))[0]
    capsys.readouterr()
    asked = [f"--query={query}", f"--gallery={gallery}"]
    said = refusal(capsys, f"--workdir={tmp_path / 'model.onnx'}", "--mode=search", *asked)
    assert said.startswith(f"{gallery}: was embedded by run (")
    assert f"{tmp_path / 'model.onnx'} is another network" in said


def test_facts_are_plain(network):
    assert json.loads(json.dumps(network.facts)) == network.facts
    assert network.facts["image_shape"] == [16, 16, 1]
    assert network.facts["embedding_dim"] == 8


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
