"""Configs of a sweep, and what stands for its runs."""

from tests.runs.whole_results import WHOLE

CONFIG = "tests/tiny_config.py"

OWN = """
from ml_collections import ConfigDict
from configs import default
from tests import tiny_config
def get_config():
    config = tiny_config.get_config().unlock()
    default.share_images(config)
    {change}
    return config.lock()
"""
# Stands for a run, which costs the start of JAX and a compilation; the slow test has real ones.
STUB = """
import json, pathlib, sys
flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
if flags.get("config.steps") == "0":
    sys.exit("error: steps: must be at least 1 (got 0)")
workdir = pathlib.Path(flags["workdir"])
rows = [{"step": 4, "validation/nmi": 1}, {"step": 6, "validation/nmi": 0.25}]
(workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
(workdir / "flags.json").write_text(json.dumps(flags))
results = WHOLE
results["networks"]["network"]["metrics"] |= {"nmi": 0.5, "ami": 0.75}
(workdir / "results.json").write_text(json.dumps(results))
""".replace("WHOLE", repr(WHOLE))


def own_config(folder, change="pass"):
    path = folder / "own.py"
    path.write_text(OWN.format(change=change))
    return str(path)
