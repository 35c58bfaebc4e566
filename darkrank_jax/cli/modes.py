"""What the command line can do: each mode with its flags, as plain values that load nothing else.

`--help` and every error of a flag come from here, before JAX is imported.
"""

import importlib
from collections.abc import Callable
from typing import Literal, NamedTuple


class Flag(NamedTuple):
    """A flag of one mode: a keyword argument of its function.

    Attributes:
      name: of the flag and the argument.
      default: that of the argument; None: the flag must be given.
      text: what `--help` says.
      kind: type of its value.
    """

    name: str
    default: str | int | float | bool | tuple | None
    text: str
    kind: type = str


class Mode(NamedTuple):
    """One thing that the command line does.

    Attributes:
      function: "module:name" within this package. It takes a run and a workdir, or a workdir, or
        workdirs of runs and a workdir, or a config, its changed fields and a workdir, as `takes`
        says; and the flags.
      text: first line of `--help`.
      takes: "run": a config is needed; "run or workdir": it may be left out; "workdir": the run
        is that in the workdir; "runs": workdirs of several runs; "config": the name of a config and
        the fields that are changed.
      flags: of this mode.
      shared: whether several processes can do it as one.
    """

    function: str
    text: str
    takes: Literal["run", "run or workdir", "workdir", "runs", "config"]
    flags: tuple[Flag, ...] = ()
    shared: bool = False


MODES = {
    "prepare": Mode(
        "runs.inspect_data:prepare",
        "Builds the sources of a run and its teachers, and prints splits and what is left out.",
        "run",
    ),
    "plan": Mode(
        "runs.plan:plan",
        "Prints what a step of each network of a run takes, and refuses a run that does not fit.",
        "run",
        (
            Flag(
                "devices",
                0,
                "how many; they need not be there. 0: those that there are, or one of an "
                "accelerator that is named.",
                int,
            ),
            Flag(
                "accelerator",
                "",
                "what they are, such as h100 or tpu_v5e; empty: what is there. The step is "
                "compiled for it where XLA's compiler for it is installed, and for as many CPUs "
                "where not.",
            ),
            Flag("memory", 0, "of each in GB; 0: what the accelerator has.", int),
        ),
    ),
    "train": Mode(
        "runs.train:train_and_report",
        "Trains what a run names and is not trained yet, then evaluates and reports.",
        "run",
        shared=True,
    ),
    "eval": Mode(
        "runs.evaluate:evaluate_and_report",
        "Evaluates a finished run again, or what the config's `evaluation` names, and reports.",
        "run or workdir",
        shared=True,
    ),
    "compare": Mode(
        "runs.compare:compare_and_report", "Makes one page out of several finished runs.", "runs"
    ),
    "sweep": Mode(
        "runs.sweep.grid:sweep",
        "Trains every combination of a grid's values with every seed, each as a run, and makes one "
        "table of them.",
        "config",
        (
            Flag(
                "grid",
                (),
                'a field and its values, such as --grid "learning_rate 1e-3 4e-3"; several make '
                "every combination.",
                tuple,
            ),
            Flag("seeds", "0 1 2", "of the runs and their teachers, with spaces between."),
            Flag(
                "workers",
                0,
                "runs at a time; 0: one a core, and one alone where JAX runs on an accelerator.",
                int,
            ),
        ),
    ),
    "export": Mode(
        "export.command:export_run",
        "Exports the network of a workdir; loads each file again and compares it with the model.",
        "workdir",
        (
            Flag(
                "formats",
                "",
                "stablehlo, onnx, safetensors, stablehlo_int8 or onnx_int8, several with commas "
                "between; empty: all that can be written with what is installed.",
            ),
            Flag(
                "output",
                "",
                "folder for the files, model_card.md and preprocess.py; empty: WORKDIR/export.",
            ),
        ),
    ),
    "embed": Mode(
        "inference.search:embed_images",
        "Embeds the images of a folder, an archive or a table into a gallery.",
        "workdir",
        (
            Flag(
                "images",
                None,
                "a folder, a .zip or .tar, a .csv, .tsv or .parquet with columns `path` and "
                "`label`, or one image; or the workdir of a run, for the images that it was "
                "tested on.",
            ),
            Flag("output", None, ".npz, .parquet or .faiss."),
            Flag(
                "append",
                False,
                "adds to the gallery at --output those of the images that it lacks, by their "
                "names.",
                bool,
            ),
            Flag(
                "index",
                "",
                "hnsw or ivf_pq writes an approximate index for faiss besides, and prints what "
                "share of the nearest it finds.",
            ),
            Flag(
                "invert",
                False,
                "white becomes black: for ink on paper, where the network knows chalk on slate.",
                bool,
            ),
            Flag(
                "tolerated",
                0.01,
                "largest share of images that are left out since they cannot be read, with a "
                "warning.",
                float,
            ),
        ),
    ),
    "search": Mode(
        "inference.search:search",
        "Shows the images of a gallery that are nearest to a query, or to each of several.",
        "workdir",
        (
            Flag("query", None, "an image; or a folder, an archive or a table of them."),
            Flag("gallery", None, "that --mode embed wrote."),
            Flag(
                "output",
                "",
                ".html for a page with the pictures; .csv, .tsv or .parquet for a row each; "
                "empty: tables are printed.",
            ),
            Flag("nearest", 10, "how many to show.", int),
            Flag(
                "exclude_self",
                False,
                "leaves out the query where it is itself an image of the gallery.",
                bool,
            ),
            Flag("invert", False, "of the queries; see --mode embed.", bool),
            Flag("tolerated", 0.01, "of the queries; see --mode embed.", float),
        ),
    ),
}


def function_of(mode: str) -> Callable[..., None]:
    """The function that does a mode; imports what it needs."""
    module, _, name = MODES[mode].function.partition(":")
    return getattr(importlib.import_module(f"darkrank_jax.{module}"), name)


def flag_types() -> dict[str, type]:
    """The flags of all modes, and the type of each.

    Example:
      >>> flag_types()["nearest"]
      <class 'int'>
    """
    return {flag.name: flag.kind for mode in MODES.values() for flag in mode.flags}
