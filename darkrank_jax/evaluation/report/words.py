"""How numbers and names are written, in the headline and in every section alike."""

from typing import Any

_METRIC_NAMES = {"map_at_r": "MAP@R", "nmi": "NMI"}


def metric_name(key: str) -> str:
    """Writes the key of a metric as the field does.

    Example:
      >>> metric_name("recall_at_4"), metric_name("map_at_r"), metric_name("mean_rank")
      ('Recall@4', 'MAP@R', 'mean rank')
    """
    if key.startswith("recall_at_"):
        return f"Recall@{key.removeprefix('recall_at_')}"
    return _METRIC_NAMES.get(key, key.replace("_", " "))


def percent(share: int | float, decimals: int = 1) -> str:
    r"""Writes a share of one as a percentage, with a space that does not break.

    Example:
      >>> percent(0.4567)
      '45.7\xa0%'
    """
    return f"{share:.{decimals}%}".replace("%", "\xa0%").replace("-", "\N{MINUS SIGN}")


def count(number: int | float) -> str:
    """Writes a count, or a rate of at least ten, with thousands separated.

    Example:
      >>> count(1234567), count(3.25)
      ('1,234,567', '3.2')
    """
    return f"{number:,.0f}" if float(number).is_integer() or abs(number) >= 10 else f"{number:.1f}"


def duration(seconds: int | float) -> str:
    r"""Writes a time in its largest unit, with a space that does not break.

    Example:
      >>> duration(7.34), duration(123.4), duration(7300)
      ('7.3\xa0s', '2.1\xa0min', '2.0\xa0h')
    """
    if seconds < 60:
        return f"{seconds:.1f}\xa0s"
    return f"{seconds / 60:.1f}\xa0min" if seconds < 3600 else f"{seconds / 3600:.1f}\xa0h"


def students(networks: dict[str, Any]) -> list[str]:
    """Names the distilled networks: all but the teacher and the baseline."""
    return [name for name in networks if name not in ("teacher", "baseline")]


def subject(networks: dict[str, Any]) -> str:
    """Names the network that the page is about: of several students that with the best Recall@1."""
    if distilled := students(networks):
        return max(distilled, key=lambda name: networks[name]["metrics"]["recall_at_1"])
    return "baseline" if "baseline" in networks else "teacher"
