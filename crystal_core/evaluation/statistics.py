"""Shares, means and paired differences with 95 % intervals, of samples that belong to targets.

Samples of one target resemble each other. Where there are several targets, intervals therefore count targets
rather than samples: a share has the effective number of samples in Wilson's interval (Kish 1965, design
effect), a mean is resampled by whole targets, and a paired difference counts each target once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964
REPEATS = 2000
RESAMPLES = 1000  # of any statistic
FEW = 10  # units: a percentile interval of fewer leaves the true mean out too often
Groups = Sequence[Sequence[float]]  # per target, the values of its samples


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval (None where there is none) and the number of samples behind it."""

    value: float
    ci95: tuple[float, float] | None
    n: int


def wilson(hits: float, n: float) -> tuple[float, float]:
    """95 % Wilson interval of a share.

    scipy's ``proportion_ci`` takes whole numbers only; an effective number of samples is fractional.
    """
    if n == 0:
        return 0.0, 1.0
    centre = (hits + Z95 * Z95 / 2) / (n + Z95 * Z95)
    half = Z95 / (n + Z95 * Z95) * math.sqrt(hits * (n - hits) / n + Z95 * Z95 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % percentile interval of a mean by resampling (seed 0); None for fewer than two values."""
    return None if len(values) < 2 else _bootstrap([[value] for value in values])


def bootstrap(
    n: int, statistic: Callable[[NDArray[np.int64]], float | None], seed: int
) -> tuple[float, float] | None:
    """95 % interval of a statistic of row indices, by resampling rows; None for fewer than two rows."""
    if n < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = [value for _ in range(RESAMPLES) if (value := statistic(rng.integers(n, size=n))) is not None]
    if not drawn:
        return None
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def share(groups: Groups) -> Estimate | None:
    """The mean of values 0 and 1 with Wilson's interval; None without values.

    >>> share([[1, 1, 0, 0]])
    Estimate(value=0.5, ci95=(0.15, 0.85), n=4)
    """
    filled = [group for group in groups if len(group)]
    n = sum(map(len, filled))
    if not n:
        return None
    p = sum(map(sum, filled)) / n
    low, high = wilson(p * (size := effective_number(filled)), size)
    return Estimate(value=round(p, 6), ci95=(round(low, 4), round(high, 4)), n=n)


def effective_number(groups: Groups) -> float:
    """Independent samples that would be as precise: between the numbers of targets and of samples.

    With one target, or one sample of each, the number of samples itself.
    """
    n, k = sum(map(len, groups)), len(groups)
    if k < 2 or n == k:
        return float(n)
    p = sum(map(sum, groups)) / n
    # variance of the ratio Σ hits / Σ samples between targets (Cochran 1977, chapter 6)
    residuals = [sum(group) - p * len(group) for group in groups]
    between = k / (k - 1) * sum(r * r for r in residuals) / n**2
    if p in (0.0, 1.0):
        return float(k)  # all equal: the data cannot show how samples of one target correlate
    return n if between <= 0 else min(float(n), max(float(k), p * (1 - p) / between))


def mean(groups: Groups, lowest: float | None = None) -> Estimate | None:
    """The mean of all values with a 95 % interval over targets, or over samples where there is one target.

    By bootstrap from :data:`FEW` units on; with fewer, whose resamples would seem too sure, by Student's t,
    which knows no limits of a quantity and is cut at them.

    Args:
        lowest: smallest possible value, such as 0 of a distance.
    """
    filled = [group for group in groups if len(group)]
    values = [float(x) for group in filled for x in group]
    if not values:
        return None
    units: Groups = filled if len(filled) > 1 else [[x] for x in values]
    ci95 = _student(units) if len(units) < FEW else _bootstrap(units)
    if ci95 is not None and lowest is not None:
        ci95 = max(lowest, ci95[0]), ci95[1]
    return Estimate(value=float(np.mean(values)), ci95=ci95, n=len(values))


def _student(units: Groups) -> tuple[float, float] | None:
    """Student's interval of Σ values / Σ samples between units (Cochran 1977, ch. 6); None for one unit."""
    from scipy.stats import t

    k, n = len(units), sum(map(len, units))
    if k < 2:
        return None
    middle = sum(map(sum, units)) / n
    residuals = [sum(unit) - middle * len(unit) for unit in units]
    half = float(t.ppf(0.975, k - 1)) * math.sqrt(k / (k - 1) * sum(r * r for r in residuals)) / n
    return round(middle - half, 4), round(middle + half, 4)


def _bootstrap(units: Groups) -> tuple[float, float]:
    """95 % percentile interval of the mean over all samples by resampling whole units (seed 0)."""
    sums, sizes = np.array([sum(u) for u in units]), np.array([len(u) for u in units])
    drawn = np.random.default_rng(0).integers(0, len(units), (REPEATS, len(units)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def share_difference(first: Groups, second: Groups) -> Estimate | None:
    """Share of ``second`` minus share of ``first``, of the same samples in the same order.

    The interval is Bonett and Price's adjusted one for paired proportions (2012), which is no point where the
    two agree on every sample. Several targets count once each, with the share of their samples that differ.
    """
    pairs = [list(zip(a, b, strict=True)) for a, b in zip(first, second, strict=True) if len(a)]
    n = sum(map(len, pairs))
    if not n:
        return None
    value = sum(b - a for pair in pairs for a, b in pair) / n
    units = n if len(pairs) == 1 else len(pairs)
    gained = units * sum(b > a for pair in pairs for a, b in pair) / n
    lost = units * sum(b < a for pair in pairs for a, b in pair) / n
    up, down = (gained + 1) / (units + 2), (lost + 1) / (units + 2)
    half = Z95 * math.sqrt((up + down - (up - down) ** 2) / (units + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    return Estimate(value=round(value, 6), ci95=(round(low, 4), round(high, 4)), n=n)


def mean_difference(first: Groups, second: Groups) -> Estimate | None:
    """Mean of ``second`` minus ``first`` over the same samples in order, with interval as in :func:`mean`."""
    return mean(
        [[y - x for x, y in zip(a, b, strict=True)] for a, b in zip(first, second, strict=True) if len(a)]
    )


def disjoint_best(estimates: Sequence[Estimate | None], *, higher: bool) -> int | None:
    """Place of the best estimate, if its interval overlaps no other; else None."""
    known = [(i, e) for i, e in enumerate(estimates) if e is not None]
    if len(known) < 2 or any(e.ci95 is None for _, e in known):
        return None
    best, chosen = (max if higher else min)(known, key=lambda item: item[1].value)
    for i, other in known:
        if i == best:
            continue
        (low, high), (other_low, other_high) = chosen.ci95 or (0, 0), other.ci95 or (0, 0)
        if (low <= other_high) if higher else (high >= other_low):
            return None
    return best


def rounded(value: float, places: int) -> str:
    """A number with ``places`` digits behind the point, halves away from zero as people round them.

    >>> rounded(0.0435, 3), f"{0.0435:.3f}"
    ('0.044', '0.043')
    """
    return str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def hundredfold(share: float, places: int = 1) -> str:
    """A share times 100, without the sign.

    >>> hundredfold(0.4135)
    '41.4'
    """
    return str((100 * Decimal(repr(float(share)))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))
