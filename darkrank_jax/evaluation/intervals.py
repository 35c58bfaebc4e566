"""How sure a figure is: intervals over queries, two runs query by query, and several seeds."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import stats

from darkrank_jax.errors import UserError

# Numbers drawn at once, which bounds the memory.
BLOCK = 2**22
Values = Float[np.ndarray, " _"]


def bootstrap_interval(
    values: Values, *, seed: int, confidence: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over queries.

    The queries are drawn again with replacement, `resamples` times; the interval holds the middle
    `confidence` of the means. It says how the figure moves with other queries of the same kind, not
    with other training runs: for those, see `over_seeds`.

    Args:
      values: one a query, NaN for a query that is left out.
      seed: of the draws.
      confidence: 0 to 1, both excluded.
      resamples: number of draws.

    Returns:
      (low, high).

    Raises:
      UserError: no query is left, or `confidence` is not between 0 and 1.

    Example:
      >>> values = np.array([0.0, 1.0, 1.0, np.nan, 0.0, 1.0, 1.0, 1.0])
      >>> low, high = bootstrap_interval(values, seed=0)
      >>> round(low, 2), round(high, 2)
      (0.43, 1.0)

    Source: Efron, The Annals of Statistics, 1979.
    """
    known = _known(values, "values")
    rng = np.random.default_rng(seed)

    def means(count: int) -> np.ndarray:
        return known[rng.integers(len(known), size=(count, len(known)))].mean(axis=1)

    return _middle(_drawn(means, resamples, len(known)), confidence)


def paired_difference(
    first: Values,
    second: Values,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 1000,
) -> dict[str, float]:
    """Difference of two runs on the same queries, query by query.

    The interval is the bootstrap interval of the mean difference; the p-value is that of the
    randomisation test: the share of sign patterns of the differences, among `resamples` drawn and
    the true one, whose mean is as far from 0.

    Args:
      first: one value a query, NaN for a query that is left out.
      second: the same queries in the same order.
      seed: of the draws.
      confidence: of the interval.
      resamples: number of draws; the smallest p-value is 1 / (resamples + 1).

    Returns:
      "difference" (first less second), "low", "high" and "p_value" (two-sided).

    Raises:
      UserError: the runs have different queries, or none in common.

    Example:
      >>> first, second = np.array([1.0, 0.9, 0.7, 0.8]), np.array([0.5, 0.6, 0.4, 0.1])
      >>> found = paired_difference(first, second, seed=0)
      >>> round(found["difference"], 3), round(found["low"], 2), round(found["p_value"], 2)
      (0.45, 0.3, 0.11)

    Source: Smucker, Allan, Carterette, CIKM 2007, for the randomisation test.
    """
    if len(first) != len(second):
        raise UserError(
            f"values: {len(first)} queries are not the {len(second)} of the other run; compare "
            "runs on the same split"
        )
    gaps = _known(np.asarray(first, np.float64) - np.asarray(second, np.float64), "differences")
    low, high = bootstrap_interval(gaps, seed=seed, confidence=confidence, resamples=resamples)
    rng = np.random.default_rng([seed, 1])

    def means(count: int) -> np.ndarray:
        return (rng.integers(0, 2, size=(count, len(gaps)), dtype=np.int8) * 2 - 1) @ gaps

    # As far as the true one up to rounding: with few queries many patterns are equally far.
    reached = np.abs(gaps.sum()) * (1 - 1e-9)
    farther = int(np.sum(np.abs(_drawn(means, resamples, len(gaps))) >= reached))
    return {
        "difference": float(gaps.mean()),
        "low": low,
        "high": high,
        "p_value": (1 + farther) / (1 + resamples),
    }


def over_seeds(values: Values, *, confidence: float = 0.95) -> dict[str, float]:
    """Mean of a figure over training runs, with the interval of Student's t.

    mean ± t(confidence, n - 1) * std / sqrt(n). For two methods run with the same seeds, give the
    differences: the interval then tells whether one is better from seed to seed.

    Args:
      values: one a seed.
      confidence: 0 to 1, both excluded.

    Returns:
      "mean", "std" (of a sample, divided by n - 1), "low", "high".

    Raises:
      UserError: fewer than two seeds, or one without a value.

    Example:
      >>> found = over_seeds(np.array([0.50, 0.54, 0.52]))
      >>> {name: round(value, 3) for name, value in found.items()}
      {'mean': 0.52, 'std': 0.02, 'low': 0.47, 'high': 0.57}

    Source: Student, Biometrika, 1908.
    """
    _check_confidence(confidence)
    exact = np.asarray(values, np.float64)
    if len(exact) < 2 or not np.isfinite(exact).all():
        count = int(np.isfinite(exact).sum())
        raise UserError(f"values: {count} of {len(exact)} seeds have one; give two seeds or more")
    mean, std = float(exact.mean()), float(exact.std(ddof=1))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(exact) - 1)) * std / len(exact) ** 0.5
    return {"mean": mean, "std": std, "low": mean - reach, "high": mean + reach}


def _known(values: np.ndarray, name: str) -> np.ndarray:
    """The values of queries that are not left out."""
    exact = np.asarray(values, np.float64)
    known = exact[~np.isnan(exact)]
    if not known.size:
        raise UserError(f"{name}: none of {len(exact)} queries has one; give one that has a match")
    return known


def _drawn(draw: Callable[[int], np.ndarray], resamples: int, queries: int) -> np.ndarray:
    """The results of all draws, in groups that fit the block."""
    if resamples < 1:
        raise UserError(f"resamples: must be 1 or more, such as 1000 (got {resamples})")
    size = max(1, BLOCK // queries)
    starts = range(0, resamples, size)
    return np.concatenate([draw(min(size, resamples - start)) for start in starts])


def _middle(means: np.ndarray, confidence: float) -> tuple[float, float]:
    """The bounds of the middle share of some means."""
    _check_confidence(confidence)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _check_confidence(confidence: float) -> None:
    """Refuses what is no share."""
    if not 0 < confidence < 1:
        raise UserError(
            f"confidence: must be a share between 0 and 1, such as 0.95 (got {confidence})"
        )
