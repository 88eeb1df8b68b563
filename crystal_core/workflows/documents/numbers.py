"""Numbers as text: percent, errors with their significant digits, intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crystal_core.evaluation.statistics import hundredfold, rounded


def measured(metric: Mapping[str, Any], factor: float = 1.0) -> str:
    """A measured value with its 95 % interval.

    >>> measured({"value": 0.426, "ci95": [0.3957, 0.4569]})
    '42.6 % (39.6–45.7)'
    >>> measured({"metric": "MAE", "value": 0.04612, "ci95": [0.0435, 0.04895]})
    '0.046 (0.044–0.049)'
    """
    value, ci95 = metric["value"], metric.get("ci95")
    if is_share(metric):
        return percent(value, ci95)
    return digits(factor * value, [factor * end for end in ci95] if ci95 else None)


def is_share(metric: Mapping[str, Any]) -> bool:
    """Whether an entry is a share from 0 to 1, not an error or a score with a name."""
    return "metric" not in metric


def percent(share: float, ci95: Sequence[float] | None = None) -> str:
    """A share in percent, one digit behind the point, with its interval where one is given."""
    interval = f" ({_tenths(ci95[0])}–{_tenths(ci95[1])})" if ci95 else ""
    return f"{_tenths(share)} %{interval}"


def digits(value: float, ci95: Sequence[float] | None) -> str:
    """A number with two significant digits, and with more where its interval is narrow enough.

    >>> digits(30.34, [28.19, 32.73]), digits(0.2632, [0.2479, 0.2793])
    ('30 (28–33)', '0.26 (0.25–0.28)')
    """
    places = 1 - math.floor(math.log10(abs(value))) if value else 2
    if ci95 and ci95[1] > ci95[0]:
        places = max(places, -math.floor(math.log10(ci95[1] - ci95[0])))
    places = max(0, places)
    interval = f" ({rounded(ci95[0], places)}–{rounded(ci95[1], places)})" if ci95 else ""
    return rounded(value, places) + interval


def plain(value: float) -> str:
    """A count or a size with thousands set apart."""
    return f"{value:,}"


def _tenths(share: float) -> str:
    return hundredfold(share, 0 if share in (0.0, 1.0) else 1)
