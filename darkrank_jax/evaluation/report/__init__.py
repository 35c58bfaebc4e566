"""One self-contained page that shows what a run found; every section has a file of its own."""

from darkrank_jax.evaluation.report.headline import headline
from darkrank_jax.evaluation.report.measured import Measured, view
from darkrank_jax.evaluation.report.page import write_report

__all__ = ["Measured", "headline", "view", "write_report"]
