"""What the command line can do: each mode with its flags, as plain values that load nothing else.

`--help` and every error of a flag come from here, before JAX is imported.
"""

import importlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Flag(NamedTuple):
    """A flag: of a mode, a keyword argument of its function; or one that every mode has.

    Attributes:
      name: of the flag and the argument.
      default: that of the argument; None: the flag must be given.
      text: what `--help` says.
      kind: type of its value; a tuple holds what the flag is given each time.
      least: the smallest number that it takes; None: any.
      most: the largest; None: any.
      names: all that its value may be, where these are few.
      several: whether its value may be several of the names, with commas between.
      endings: that the name of its file may have.
      check: "module:name" within this package, a function that raises `UserError` for a wrong value
        and is quick to import; empty: there is none.
    """

    name: str
    default: str | int | float | bool | tuple | None
    text: str
    kind: type = str
    least: int | None = None
    most: int | None = None
    names: tuple[str, ...] = ()
    several: bool = False
    endings: tuple[str, ...] = ()
    check: str = ""


class Mode(NamedTuple):
    """One thing that the command line does.

    Attributes:
      function: "module:name" within this package. It takes a run and a workdir, or a workdir, or
        workdirs of runs and a workdir, or a config, its changed fields and a workdir, as `takes`
        says; and the flags.
      text: what it does, for `--help`.
      takes: "run": a config is needed; "run or workdir": it may be left out; "workdir": the run
        is that in the workdir; "runs": workdirs of several runs; "config": the name of a config and
        the fields that are changed.
      workdir: what `--help` says of --workdir.
      example: a whole command, without the program.
      flags: of this mode.
      shared: whether several processes can do it as one.
    """

    function: str
    text: str
    takes: Literal["run", "run or workdir", "workdir", "runs", "config"]
    workdir: str
    example: str
    flags: tuple[Flag, ...] = ()
    shared: bool = False


_NOT_WRITTEN = "not used here; it may be given, so that a training command can be reused"
_TRAINED = "folder of a trained run, or the folder `teacher` or `baseline` in it"
_NETWORK = f"{_TRAINED}, or a file that --mode export wrote"
_GALLERIES = (".npz", ".parquet", ".faiss")
_INVERT = Flag(
    "invert",
    False,
    "inverts the pixels: for images that are dark on light where the training images were light on "
    "dark.",
    bool,
)
_TOLERATED = Flag(
    "tolerated",
    0.01,
    "from 0 to 1; an error if more than this share of the images cannot be read. The images that "
    "cannot be read are left out with a warning.",
    float,
    0,
    1,
)

MODES = {
    "prepare": Mode(
        "runs.inspect_data:prepare",
        "Downloads or reads the data sets of a run and of its teachers, and prints their splits "
        "and what was left out.",
        "run",
        _NOT_WRITTEN,
        "--mode prepare --config own_images --config.data.path=DIR",
    ),
    "plan": Mode(
        "runs.plan:plan",
        "Prints the memory, computation and time that one training step of each network needs. "
        "Fails if a step does not fit into memory.",
        "run",
        _NOT_WRITTEN,
        "--mode plan --config cub_rkd --accelerator h100 --devices 8",
        (
            Flag(
                "devices",
                0,
                "number of devices to plan for, which this machine need not have; 0: the devices "
                "of this machine, or 1 if --accelerator is given.",
                int,
                0,
            ),
            Flag(
                "accelerator",
                "",
                "kind of the devices: a100, a100_40gb, h100, h200, l4, tpu_v4, tpu_v5e, tpu_v5p "
                "or tpu_v6e; empty: the kind of this machine. The step is compiled for that kind "
                "if XLA's compiler for it is installed, and otherwise for CPUs.",
                names=(
                    "a100",
                    "a100_40gb",
                    "h100",
                    "h200",
                    "l4",
                    "tpu_v4",
                    "tpu_v5e",
                    "tpu_v5p",
                    "tpu_v6e",
                ),
            ),
            Flag(
                "memory",
                0,
                "memory of each device in GB; 0: that of the accelerator.",
                int,
                0,
                100_000,
            ),
        ),
    ),
    "train": Mode(
        "runs.train:train_and_report",
        "Trains the networks of a run that are not trained yet, evaluates all of them and writes a "
        "report. The same command resumes a run that was stopped.",
        "run",
        "folder that the run is written to; runs/NAME of the config by default",
        "--config demo --config.steps=500 --workdir runs/short",
        shared=True,
    ),
    "eval": Mode(
        "runs.evaluate:evaluate_and_report",
        "Evaluates a finished run again and writes its report. With a config whose field "
        "`evaluation` names other networks or data sets, evaluates these and writes to "
        "WORKDIR/evaluation.",
        "run or workdir",
        "folder of a finished run; runs/NAME of the config if one is given",
        "--mode eval --workdir runs/demo",
        shared=True,
    ),
    "compare": Mode(
        "runs.compare:compare_and_report",
        "Compares finished runs, each given by its folder: prints a table and writes WORKDIR/"
        "report.html.",
        "runs",
        "folder that report.html is written to; runs/compared by default",
        "--mode compare runs/a runs/b --workdir runs/a_and_b",
    ),
    "sweep": Mode(
        "runs.sweep.grid:sweep",
        "Trains every combination of a grid's values with every seed, each as a run of its own, "
        "and writes one table of their results.",
        "config",
        "folder that all runs are written to; runs/NAME_sweep of the config by default",
        '--mode sweep --config demo --grid "steps 100 200" --seeds "0 1"',
        (
            Flag(
                "grid",
                (),
                'a field of the config and its values, in quotes, such as --grid "learning_rate '
                '1e-3 4e-3"; may be given several times, for every combination.',
                tuple,
                check="runs.sweep.grid_arguments:read_grid",
            ),
            Flag(
                "seeds",
                "0 1 2",
                "seeds of the runs and of their teachers, in quotes, with spaces between.",
                check="runs.sweep.grid_arguments:read_seeds",
            ),
            Flag(
                "workers",
                0,
                "number of runs at a time; 0: as many as there are cores, or 1 if JAX runs on an "
                "accelerator.",
                int,
                0,
                1000,
            ),
        ),
    ),
    "export": Mode(
        "export.command:export_run",
        "Exports the trained network of a run (of a distillation, the distilled student), then "
        "loads each file and compares its embeddings with those of the network.",
        "workdir",
        _TRAINED,
        "--mode export --workdir runs/demo --formats=onnx,safetensors",
        (
            Flag(
                "formats",
                "",
                "stablehlo, onnx, safetensors, stablehlo_int8 or onnx_int8, several with commas "
                "between; empty: all formats whose libraries are installed.",
                names=("stablehlo", "onnx", "safetensors", "stablehlo_int8", "onnx_int8"),
                several=True,
            ),
            Flag(
                "output",
                "",
                "folder that the files, model_card.md and preprocess.py are written to; empty: "
                "WORKDIR/export.",
            ),
        ),
    ),
    "embed": Mode(
        "inference.search:embed_images",
        "Embeds images and writes a gallery: a file of their embeddings and names, which --mode "
        "search searches.",
        "workdir",
        _NETWORK,
        "--mode embed --workdir runs/demo --images=DIR --output=g.npz",
        (
            Flag(
                "images",
                None,
                "a folder of images, a .zip or .tar, a .csv, .tsv or .parquet with columns `path` "
                "and `label`, or one image; or the workdir of a run, for its test images.",
            ),
            Flag(
                "output",
                None,
                "the gallery file to write: .npz, .parquet or .faiss.",
                endings=_GALLERIES,
            ),
            Flag(
                "append",
                False,
                "adds to the gallery in --output the images whose names it lacks.",
                bool,
            ),
            Flag(
                "index",
                "",
                "hnsw or ivf_pq also writes an approximate index for faiss beside the gallery, as "
                "gallery.hnsw.faiss or gallery.ivf_pq.faiss, and prints its recall.",
                names=("hnsw", "ivf_pq"),
            ),
            _INVERT,
            _TOLERATED,
        ),
    ),
    "search": Mode(
        "inference.search:search",
        "Finds the images of a gallery (see --mode embed) that are nearest to each query.",
        "workdir",
        _NETWORK,
        "--mode search --workdir runs/demo --query=a.png --gallery=g.npz",
        (
            Flag(
                "query",
                None,
                "an image; or a folder, an archive or a table of images, each of which is a query.",
            ),
            Flag(
                "gallery",
                None,
                "the gallery file that --mode embed wrote.",
                endings=_GALLERIES,
            ),
            Flag(
                "output",
                "",
                "file to write: .html, a page with the pictures; .csv, .tsv or .parquet, a row for "
                "each image found; empty: tables are printed.",
                endings=(".html", ".csv", ".tsv", ".parquet"),
            ),
            Flag("nearest", 10, "number of images to find for each query.", int, 1),
            Flag(
                "exclude_self",
                False,
                "leaves out the query itself where the gallery holds it.",
                bool,
            ),
            _INVERT,
            _TOLERATED,
        ),
    ),
}

_SEVERAL = " and ".join(name for name, mode in MODES.items() if mode.shared)
# Flags that are not of one mode; `Mode.workdir` says more of --workdir.
SHARED = {
    flag.name: flag
    for flag in (
        Flag(
            "config",
            None,
            "what to run: a Python file, a module, or a name that `darkrank --help` lists",
        ),
        Flag("workdir", None, "folder of the run; runs/NAME of the config by default"),
        Flag("mode", "train", "what to do; train by default", names=tuple(MODES)),
        Flag(
            "coordinator",
            None,
            f"for several processes as one run: HOST:PORT of process 0, or auto; only {_SEVERAL} "
            "can use several processes",
        ),
        Flag("processes", None, "number of processes", int, 1),
        Flag("process", None, "number of this process, from 0", int, 0),
    )
}


def imported(place: str) -> Callable[..., Any]:
    """The function at "module:name" within this package; imports what it needs."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"darkrank_jax.{module}"), name)


def function_of(mode: str) -> Callable[..., None]:
    """The function that does a mode; imports what it needs."""
    return imported(MODES[mode].function)


def all_flags() -> dict[str, Flag]:
    """The flags of all modes, and those that they share, by name.

    Example:
      >>> all_flags()["nearest"].kind
      <class 'int'>
    """
    return {flag.name: flag for mode in MODES.values() for flag in mode.flags} | SHARED
