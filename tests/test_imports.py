"""The house's one rule: imports run one way, and the losses need jax alone."""

import ast
import graphlib
import math
import subprocess
import sys
from pathlib import Path

import pytest

from darkrank_jax import losses

PACKAGE = Path(__file__).parent.parent / "darkrank_jax"
# A module or package may import those that stand before it.
ORDER = [
    "version",
    "errors",
    "extras",
    "digests",
    "terminal",
    "files",
    "schema",
    "import_path",
    "configs",
    "losses",
    "models",
    "data",
    "evaluation",
    "optimizers",
    "config",
    "distributed",
    "workdir",
    "training",
    "runs",
    "export",
    "inference",
    "api",
    "cli",
    "main",
]


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


@pytest.mark.parametrize("room", ORDER)
def test_imports_run_one_way(room):
    place = PACKAGE / room
    paths = list(place.rglob("*.py")) if place.is_dir() else [PACKAGE / f"{room}.py"]
    assert paths
    for path in paths:
        for module in imported_modules(path):
            assert not module.startswith(("configs", "experiments", "tests")), f"{path}: {module}"
            if module.startswith("darkrank_jax."):
                other = module.split(".")[1]
                assert ORDER.index(other) <= ORDER.index(room), f"{path} imports {module}"


def test_no_modules_import_each_other_in_a_circle():
    """Within a package as well, and imports inside functions count."""
    paths = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in PACKAGE.rglob("*.py")
    }
    graph = {}
    for name, path in paths.items():
        found = imported_modules(path)
        # Of `from package import module` and of `from module import name`.
        graph[name] = {each if each in paths else each.rpartition(".")[0] for each in found}
        graph[name] &= paths.keys() - {name}
    # The root hands on names that it imports when they are used.
    graph.pop("darkrank_jax")
    graphlib.TopologicalSorter(graph).prepare()


def test_every_room_has_a_place_in_the_order():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert rooms - {"__init__", "__pycache__"} == set(ORDER)


def test_no_two_modules_and_no_two_classes_share_a_name():
    modules: dict[str, list[str]] = {}
    classes: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.stem != "__init__":
            # The folder is part of a name there: files, facts and names are those of weights.
            name = f"weights/{path.stem}" if path.parent.name == "weights" else path.stem
            modules.setdefault(name, []).append(str(path))
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(str(path))
    for names in (modules, classes):
        assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}


def test_losses_import_jax_and_nothing_else():
    # jax itself needs numpy.
    allowed = set(sys.stdlib_module_names) | {"jax", "numpy", "darkrank_jax"}
    for path in (PACKAGE / "losses").rglob("*.py"):
        for module in imported_modules(path):
            assert module.split(".")[0] in allowed, f"{path}: {module}"
            if module.startswith("darkrank_jax"):
                assert module.startswith("darkrank_jax.losses"), f"{path}: {module}"


def test_only_the_command_line_knows_absl_and_ml_collections():
    for path in PACKAGE.rglob("*.py"):
        known = {module.split(".")[0] for module in imported_modules(path)}
        known &= {"absl", "ml_collections"}
        assert path.relative_to(PACKAGE).as_posix() in ("main.py", "config/file.py") or not known, (
            path
        )


def test_losses_run_where_only_jax_is_installed():
    """Hides every installed package but jax and what jax itself needs; runs the whole table."""
    script = """
import importlib.metadata, sys
class Hide:
    needed = {"jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum"}
    hidden = set(importlib.metadata.packages_distributions()) - needed - {"darkrank_jax"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.hidden:
            raise ModuleNotFoundError(name)
assert {"flax", "optax", "absl"} <= Hide.hidden
sys.meta_path.insert(0, Hide())
import jax, jax.numpy as jnp
from darkrank_jax import losses
from darkrank_jax.losses import masks, memory, miners, pairwise, reductions
from darkrank_jax.losses.internals import sorting
rows = jnp.array([[0.5, -1.0], [1.5, 0.3], [0.2, 2.0]])
arrays = {"embeddings": rows, "logits": rows, "features": rows, "maps": rows.reshape(3, 1, 2, 1)}
arrays |= {f"teacher_{name}": array[::-1] for name, array in arrays.items()}
arrays |= {"labels": jnp.array([0, 0, 1]), "class_weights": jnp.tile(rows.T, 10)}
@jax.jit
def whole_table(arrays):
    table = losses.LOSSES.items()
    values = {name: loss(*[arrays[x] for x in inputs]) for name, (loss, inputs) in table}
    rows = arrays["embeddings"]
    values["permutation_kl"] = losses.permutation_kl_loss(rows, rows[::-1])
    return values | {"listmle": losses.listmle_loss(rows, rows[::-1])}
for name, value in whole_table(arrays).items():
    print(name, float(value))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    values = dict(line.split() for line in done.stdout.splitlines())
    assert set(values) == {*losses.LOSSES, "permutation_kl", "listmle"}
    assert all(math.isfinite(float(value)) for value in values.values())
    # The teacher ranks 2, 0.2 | 0.3, 1.5 | 0.5, -1: the student has the first two the other way.
    pairs = [(-1.0, 0.5), (1.5, 0.3), (0.2, 2.0)]
    expected = sum(math.log1p(math.exp(b - a)) for a, b in pairs) / 3
    assert float(values["listmle"]) == pytest.approx(expected, rel=1e-5)


def test_every_text_file_names_its_encoding():
    """What a system's own encoding is differs from machine to machine."""
    texts, modes = {"read_text", "write_text"}, {"r", "w", "a", "x", "r+", "w+", "rt", "wt"}
    for path in (PACKAGE, PACKAGE.parent / "experiments"):
        for file in path.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                opened = {a.value for a in node.args if isinstance(a, ast.Constant)} & modes
                # The function files.write_text(path, text) writes UTF-8 always.
                is_method = isinstance(node.func, ast.Attribute)
                if (name in texts and is_method) or (name == "open" and opened):
                    assert "encoding" in {word.arg for word in node.keywords}, (file, node.lineno)
