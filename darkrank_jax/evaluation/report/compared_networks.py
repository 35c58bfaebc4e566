"""The networks that a page compares: the student, its teacher, and the baseline."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class ComparedNetworks(NamedTuple):
    """The networks that the pictures compare.

    Attributes:
      subject: the network that the page is about.
      teacher: what it learned from, where that was measured too.
      reference: what it should be better than, where that was measured too.
    """

    subject: str
    teacher: str | None = None
    reference: str | None = None

    def rivals(self) -> list[str]:
        """Teacher and reference, as far as they are there."""
        return [name for name in (self.teacher, self.reference) if name is not None]

    def among(self, names: Iterable[str]) -> list[str]:
        """Those among some names: teacher, reference, subject."""
        return [name for name in (*self.rivals(), self.subject) if name in set(names)]


def compared_networks(networks: dict[str, Any]) -> ComparedNetworks:
    """The compared networks of a run by their names; of several students the best by Recall@1.

    Args:
      networks: of results.json; "teacher" and "baseline" are what their names say.

    Returns:
      Their names; without a student the baseline or the teacher is the subject.

    Example:
      >>> row = {"metrics": {"recall_at_1": 0.5}}
      >>> compared_networks({"teacher": row, "baseline": row, "small": row})
      ComparedNetworks(subject='small', teacher='teacher', reference='baseline')
    """
    distilled = students(networks)
    if distilled:
        subject = max(distilled, key=lambda name: networks[name]["metrics"]["recall_at_1"])
    else:
        subject = "baseline" if "baseline" in networks else "teacher"
    rivals = [
        name if name in networks and name != subject else None for name in ("teacher", "baseline")
    ]
    return ComparedNetworks(subject, *rivals)


def students(networks: Iterable[str]) -> list[str]:
    """Names the distilled networks: all but the teacher and the baseline."""
    return [name for name in networks if name not in ("teacher", "baseline")]
