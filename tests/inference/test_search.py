"""Embedding folders, archives and tables; searching; the command line of both."""

import csv
import html
import json
import os
import re
import shutil
import textwrap
from pathlib import Path

import faiss
import numpy as np
import pytest
from PIL import Image

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.errors import UserError
from darkrank_jax.export.command import export_run
from darkrank_jax.inference.gallery import read_gallery
from darkrank_jax.inference.search import embed_images, search

GUIDE = Path(__file__).parent.parent.parent / "docs/guides/export.md"


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
    with pytest.raises(UserError, match=r"must be from 1 to 19, .* but the query \(got 20\)"):
        search(workdir, query=spelt, gallery=str(gallery), nearest=20, exclude_self=True)


@pytest.mark.slow
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
    assert page.count("<table>") == page.count("<h2 ") - 1 == 3
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
    assert refusal(capsys, export).startswith("--workdir: must be given with --mode export")
    said = refusal(capsys, export, f"--workdir={empty}")
    assert said.startswith(f"--workdir: must be the folder of a trained run (got {empty}, which")
    (empty).mkdir()
    said = refusal(capsys, export, f"--workdir={empty}")
    assert said == f"{empty}: has no run.json, so no run was trained there; train it first"
    (empty / "run.json").write_text((workdir / "run.json").read_text())
    said = refusal(capsys, export, f"--workdir={empty}")
    assert said == f"{empty}: holds no validated checkpoint yet; train it first"
    said = refusal(capsys, export, here, f"--output={tmp_path / 'file' / 'out'}")
    assert said.startswith(
        f"{tmp_path / 'file' / 'out'}: cannot be written (Not a directory); choose"
    )
    said = refusal(capsys, export, here, "--formats=onxx")
    assert said == "--formats: unknown name 'onxx'; did you mean 'onnx'?"
    assert refusal(capsys, export, here, "--formats=,").startswith(
        "--formats: unknown name ''; valid: onnx, "
    )
    said = refusal(capsys, export, here, f"--query={query}")
    assert said == "--query: is a flag of --mode search, not of export; leave it out"
    said = refusal(capsys, "--mode=train", here)
    assert said.startswith("--config: must be given with --mode train (got nothing)")
    assert refusal(capsys, embed, here, "--output=a.npz").startswith(
        "--images: must be given with --mode embed"
    )
    (bare := tmp_path / "bare").mkdir()
    said = refusal(capsys, embed, here, f"--images={bare}", "--output=a.npz")
    assert said.startswith(f"{bare}: holds no image; images end in ")
    said = refusal(capsys, embed, here, f"--images={pictures}", "--output=a.csv")
    assert said.startswith("--output: must be a file that ends in .npz or .parquet or .faiss (got")
    said = refusal(capsys, look, here, f"--query={query}", "--gallery=none.npz")
    assert said == (
        "--gallery: must be a gallery that exists (got none.npz); write it with --mode embed"
    )
    said = refusal(capsys, look, here, f"--query={tmp_path / 'no.png'}", f"--gallery={gallery}")
    assert (
        said == f"{tmp_path / 'no.png'}: must not be empty; delete it or put the image there again"
    )
    said = refusal(capsys, look, here, f"--query={query}", f"--gallery={gallery}", "--nearest=99")
    assert said == "--nearest: must be from 1 to 20, the images of the gallery (got 99)"


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


def test_appended_images_are_those_that_the_gallery_lacks(
    workdir, other_workdir, pictures, gallery, tmp_path, capsys
):
    """By name; what is there is not looked at again, and nothing is lost by a refusal."""
    folder = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    late = sorted(folder.rglob("*.png"))[::4]
    kept = {path: path.read_bytes() for path in late}
    for path in late:
        path.unlink()
    output = tmp_path / "g.npz"
    asked = {"images": str(folder), "output": str(output), "append": True}
    with pytest.raises(
        UserError,
        match=r"^--output: must be a gallery that exists \(got .*g\.npz\); leave out --append",
    ):
        embed_images(workdir, **asked)
    embed_images(workdir, **(asked | {"append": False}))
    first = read_gallery(output)
    for path, file in kept.items():
        path.write_bytes(file)
    embed_images(workdir, **asked)
    again, whole = read_gallery(output), read_gallery(gallery)
    assert again.ids[: len(first.ids)].tolist() == first.ids.tolist()
    assert again.ids[len(first.ids) :].tolist() == sorted(
        path.relative_to(folder).as_posix() for path in late
    )
    order, same = np.argsort(again.ids), np.argsort(whole.ids)
    assert again.ids[order].tolist() == whole.ids[same].tolist()
    assert again.labels[order].tolist() == whole.labels[same].tolist()
    np.testing.assert_allclose(again.vectors[order], whole.vectors[same], atol=1e-5)
    said = capsys.readouterr().out
    assert f": {len(whole.ids)} embeddings of " in said
    assert f"numbers, {len(late)} of them new." in said
    written = output.read_bytes()
    embed_images(workdir, **asked)
    assert capsys.readouterr().out == f"{output} has all of the {len(whole.ids)} images already.\n"
    with pytest.raises(UserError, match=r"^--images: must be .* to add to .*g\.npz \(got "):
        embed_images(workdir, **(asked | {"images": str(pictures)}))
    with pytest.raises(UserError, match=r"g\.npz: must be a gallery of .* to be added to"):
        embed_images(other_workdir, **asked)
    assert output.read_bytes() == written


def test_an_index_lies_beside_the_gallery(workdir, pictures, tmp_path, capsys):
    output = tmp_path / "g.npz"
    embed_images(workdir, images=str(pictures), output=str(output), index="hnsw")
    said = capsys.readouterr().out.splitlines()[1]
    assert said == (
        f"Wrote {tmp_path / 'g.hnsw.faiss'}: of the nearest by exact search it finds 100.0% "
        "(recall@10)."
    )
    index, known = faiss.read_index(str(tmp_path / "g.hnsw.faiss")), read_gallery(output)
    assert index.search(known.vectors[:3], 1)[1].ravel().tolist() == [0, 1, 2]


@pytest.mark.slow
def test_the_guides_service_finds_what_search_finds(
    workdir, pictures, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/demo").symlink_to(workdir)
    shutil.copy(sorted(pictures.rglob("*.png"))[4], "new.png")
    embed_images(workdir, images=str(pictures), output="gallery.npz", index="hnsw")
    asked = {"query": "new.png", "gallery": "gallery.npz", "nearest": 3}
    search(workdir, **asked, output="near.csv")
    with Path("near.csv").open(newline="") as file:
        expected = [(row["image"], row["label"]) for row in csv.DictReader(file)]
    (block,) = re.findall(r"\n\n(    import faiss\n(?:    .*\n|\n)+)", GUIDE.read_text())
    capsys.readouterr()
    exec(compile(textwrap.dedent(block), str(GUIDE), "exec"), {})
    lines = [line.rsplit(" ", 1)[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == [" ".join(each) for each in expected]


def test_what_is_near_is_written_as_a_table(workdir, network, gallery, pictures, tmp_path):
    asked = {"query": str(pictures), "gallery": str(gallery), "nearest": 2}
    search(workdir, **asked, exclude_self=True, output=str(tmp_path / "near.csv"))
    with (tmp_path / "near.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = read_gallery(gallery)
    assert [row["query"] for row in rows[::2]] == known.ids.tolist()
    distances = np.linalg.norm(known.vectors[:, None] - known.vectors[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    best = np.argsort(distances, axis=1, kind="stable")[:, :2]
    assert [int(row["row"]) for row in rows] == best.ravel().tolist()
    assert [row["image"] for row in rows] == known.ids[best.ravel()].tolist()
    assert [row["rank"] for row in rows[:2]] == ["1", "2"]
    with pytest.raises(UserError, match=r"^--output: must be \.html, \.csv, .* \(got near\.txt\)"):
        search(workdir, **asked, output="near.txt")
