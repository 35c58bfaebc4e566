"""How numbers and names are written, in the headline and in every section alike."""

from collections.abc import Callable, Mapping

_METRIC_NAMES = {
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "mean_average_precision": "mAP",
    "mean_reciprocal_rank": "MRR",
    "ndcg": "NDCG",
    "nmi": "NMI",
    "ami": "AMI",
    "ari": "ARI",
    "pairwise_f1": "Pairwise F1",
    "purity": "Purity",
    "mean_inverse_negative_penalty": "mINP",
    "roc_auc": "ROC AUC",
    "equal_error_rate": "EER",
}


_PREFIXES = (("recall_at_", "Recall@"), ("cmc_at_", "CMC@"), ("tar_at_far_", "TAR@FAR "))


def metric_name(key: str) -> str:
    """Writes the key of a metric as the field does.

    Example:
      >>> metric_name("recall_at_4"), metric_name("map_at_r"), metric_name("mean_rank")
      ('Recall@4', 'MAP@R', 'mean rank')
    """
    whole, of, size = key.rpartition("_of_")
    if of and size.isdecimal():
        return f"{metric_name(whole)} of {size} components"
    for prefix, name in _PREFIXES:
        if key.startswith(prefix):
            return f"{name}{key.removeprefix(prefix)}"
    return _METRIC_NAMES.get(key, key.replace("_", " "))


def protocol_title(name: str, found: Mapping[str, float]) -> str:
    """Names a protocol, and the distractors that were in its gallery.

    Args:
      name: of the protocol, as results.json has it.
      found: its metrics.

    Example:
      >>> protocol_title("query_expansion", {"cmc_at_1": 0.5, "distractors": 2000.0})
      'query expansion, 2,000 distractors'
    """
    words = name.replace("_", " ")
    return f"{words}, {found['distractors']:,.0f} distractors" if "distractors" in found else words


def percent(share: int | float, decimals: int = 1) -> str:
    r"""Writes a share of one as a percentage, with a space that does not break.

    Example:
      >>> percent(0.4567)
      '45.7\xa0%'
    """
    return f"{share:.{decimals}%}".replace("%", "\xa0%").replace("-", "\N{MINUS SIGN}")


def points(share: int | float) -> str:
    """Writes a difference of shares in points of a percentage, with its sign.

    Example:
      >>> points(0.0312), points(-0.004)
      ('+3.1', '−0.4')
    """
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def p_value(p: float) -> str:
    """Writes the probability of a test, never as 0.

    Example:
      >>> p_value(0.0312), p_value(0.000999)
      ('p = .031', 'p < .001')
    """
    return f"p = {p:.3f}".replace("0.", ".") if p >= 0.001 else "p < .001"


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


def span(low: float, high: float, form: Callable[[float], str]) -> str:
    r"""Writes an interval; "to" stands where a dash would look like a minus sign.

    Example:
      >>> span(0.25, 0.5, percent), span(-0.01, 0.02, points)
      ('25.0\xa0%–50.0\xa0%', '−1.0 to +2.0')
    """
    first, last = form(low), form(high)
    signed = first[0] in "+\N{MINUS SIGN}"
    return f"{first} to {last}" if signed else f"{first}\N{EN DASH}{last}"
