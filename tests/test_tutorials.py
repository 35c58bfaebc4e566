"""The tutorials run as they stand, commands and code, with small networks and images made here."""

import functools
import json
import re
import shlex
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from safetensors.numpy import save_file

import darkrank_jax
from darkrank_jax import main as command_line
from darkrank_jax.evaluation import embed
from darkrank_jax.models import pretrained
from tests import layouts

FOLDER = Path(__file__).parent.parent / "docs" / "tutorials"
FENCED = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED = re.compile(r"# (\w+\.py)\n")
# Section of losses_in_your_project.md -> the package that its code needs.
SECTIONS = {
    "Plain JAX": "jax",
    "Flax NNX": "flax",
    "Flax Linen": "flax",
    "Equinox": "equinox",
    "A teacher in PyTorch": "torch",
    "A student with batch norm": "flax",
}

# Fields of a run of seconds, the teacher's too.
SHORT = {"steps": 2, "eval_every": 2, "data.batch_size": 8, "data.num_workers": 0}
NARROW = {"model.name": "resnet10", "model.width": 4}


def of_both(fields):
    return fields | {f"teacher.{name}": value for name, value in fields.items()}


PHOTOGRAPHS = of_both({"data.batch_size": 8}) | {"data.image_size": 28, "model.width": 4}
PHOTOGRAPHS |= {"steps": 2, "eval_every": 2}
PERSONS = of_both(SHORT | NARROW) | {"data.image_size": (32, 16)}
FEW = {"data.options.images_per_class": 4, "data.options.num_classes": 20}
DEMO = of_both(SHORT | NARROW | FEW | {"data.image_size": 16})


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder; what is built stays in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embed, "BATCH", 8)
    monkeypatch.setenv("DARKRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "built"))
    return tmp_path


def run_page(name, small, monkeypatch):
    """Runs a page from top to bottom; what its code defines.

    Args:
      name: of the page.
      small: field -> value, of every config that the page trains.
      monkeypatch: of the test.
    """
    load_config = functools.partial(_load_small, darkrank_jax.load_config, small)
    monkeypatch.setattr(darkrank_jax, "load_config", load_config)
    names = {"__name__": name}
    for kind, code in FENCED.findall((FOLDER / f"{name}.md").read_text()):
        if kind == "sh":
            for line in code.replace("\\\n", " ").splitlines():
                run_command(shlex.split(line), small)
        elif saved := SAVED.match(code):
            Path(saved[1]).write_text(code)
        else:
            run_code(code, names)
    return names


def _load_small(load_config, small, source, **overrides):
    return load_config(source, **(small | overrides))


def run_code(code, names):
    # Readers have JAX's own setting.
    with jax.numpy_rank_promotion("allow"):
        exec(compile(code, "tutorial", "exec"), names)


def run_command(words, small):
    """Runs one command of a page in this process; a config is made small."""
    while "=" in words[0]:
        assert words.pop(0).startswith("JAX_")
    if words[:3] == ["python", "-m", "darkrank_jax.models.pretrained"]:
        assert pretrained.main(words[3:]) == 0
        return
    assert words.pop(0) == "darkrank"
    given = {word.split("=")[0] for word in words}
    flags = {f"--config.{field}": value for field, value in small.items()}
    if "--config" in words:
        words += [f"{flag}={value}" for flag, value in flags.items() if flag not in given]
    assert command_line.main(["main", *words]) == 0


def write_pictures(folder, names, size, seed=0):
    """JPEG files of noise, each class around a brightness of its own."""
    rng = np.random.default_rng(seed)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        level = len(path.parent.name) * 20 + sum(map(ord, path.parent.name)) % 100
        noise = rng.integers(0, 50, (*size, 3))
        Image.fromarray((noise + level % 200).astype(np.uint8)).save(path)


def read_results(workdir):
    return json.loads((Path(workdir) / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("title", "package"), SECTIONS.items(), ids=SECTIONS)
def test_every_section_on_losses_in_a_project_runs_after_the_first(title, package):
    pytest.importorskip(package)
    first, *sections = (FOLDER / "losses_in_your_project.md").read_text().split("\n## ")
    assert [section.split("\n")[0] for section in sections] == list(SECTIONS)
    names = {"__name__": title}
    for text in (first, sections[list(SECTIONS).index(title)]):
        run_code("\n".join(code for _, code in FENCED.findall(text)), names)
    assert names["teacher_embeddings"].shape == (32, 512)
    # The code asserts itself that the loss falls.
    assert len(names.get("history", [])) == (0 if package == "torch" else 6)


def dinov2(width=384, depth=12, grid=2):
    """Drawn weights of DINOv2 S/14 for images of 28 pixels, under Meta's names."""
    rng = np.random.default_rng(0)
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid * grid, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in range(depth):
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for layer, shape in layers.items():
            shapes[f"blocks.{block}.{layer}.weight"] = shape
            shapes[f"blocks.{block}.{layer}.bias"] = shape[:1]
        for layer in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{layer}.{part}": (width,) for part in ("weight", "bias")}
        shapes |= {f"blocks.{block}.{layer}.gamma": (width,) for layer in ("ls1", "ls2")}
    return {
        name: rng.normal(0.5 if name.endswith("gamma") else 0, 0.1, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.mark.slow
def test_a_pretrained_transformer_teaches_a_small_network(here, monkeypatch, capsys):
    names = [f"class {c}/{i}.jpg" for c in range(8) for i in range(4)]
    write_pictures(here / "photos", names, (30, 34))
    save_file(dinov2(), here / "dinov2_vits14.safetensors")
    found = run_page("pretrained_teacher", PHOTOGRAPHS, monkeypatch)
    assert "dinov2_s14" in capsys.readouterr().out
    assert found["results"].networks["teacher"]["model"]["name"] == "dinov2_s14"
    assert set(found["results"].metrics) == {"teacher", "baseline", "student"}
    assert found["embeddings"].shape == (2, 128)


@pytest.mark.slow
def test_persons_are_trained_reranked_and_compared_by_command_and_from_python(here, monkeypatch):
    pattern = "{}/{:04d}_c{}s1_000151_{:02d}.jpg"
    people = [("bounding_box_train", p, c, 1) for p in range(2, 22) for c in (1, 6)]
    people += [("query", p, 1, 1) for p in range(30, 38)]
    people += [("bounding_box_test", p, c, 2) for p in (0, *range(30, 38)) for c in (1, 2, 4)]
    files = layouts.images("Market-1501-v15.09.15/" + pattern.format(*each) for each in people)
    (here / "market").mkdir()
    layouts.write(here / "market", {"Market-1501-v15.09.15.zip": files})
    write_pictures(here / "strangers", [f"{i}.jpg" for i in range(60)], (20, 12), seed=1)
    found = run_page("person_reidentification", PERSONS, monkeypatch)
    row = found["student"]
    assert set(row["protocols"]) == {"reranking"}
    assert "cmc_at_1" in row["reid"]
    page = found["page"].read_text()
    assert "Re-identification across cameras, in %" in page
    assert "Reranking, in %" in page
    assert "Ranked lists" in Path("runs/osnet_1/report.html").read_text()
    results = read_results("runs/osnet")
    assert results["dataset"]["queries"] == 8
    assert results["dataset"]["distractors"]["images"] == 60
    assert results["networks"]["student"]["reid"]["distractors"] == 60


@pytest.mark.slow
def test_a_run_and_losses_on_several_devices(here, monkeypatch, capsys):
    assert jax.device_count() == 4
    run_page("several_devices", DEMO, monkeypatch)
    assert read_results("runs/four")["devices"] == "4 x cpu"
    assert re.search(r"^devices +4 x ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.slow
def test_an_exported_student_embeds_without_this_package(here, workdir, monkeypatch):
    pytest.importorskip("onnxruntime")
    shutil.copytree(workdir, here / "runs" / "demo")
    strokes = np.zeros((37, 41), np.uint8)
    strokes[8:30, 12:16] = strokes[26:30, 12:33] = 255
    Image.fromarray(strokes).save("new.png")
    found = run_page("deploy_onnx", {}, monkeypatch)
    assert found["exact"].shape == found["embedding"].shape == (1, 8)


def test_every_tutorial_is_in_the_navigation_and_on_the_home_page():
    pages = sorted(f"tutorials/{page.name}" for page in FOLDER.glob("*.md"))
    for place in (FOLDER.parent.parent / "mkdocs.yml", FOLDER.parent / "index.md"):
        text = place.read_text()
        assert [page for page in pages if page not in text] == []
