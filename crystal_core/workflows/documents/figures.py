"""Numbers of cards and stored results as text: percent, errors with their significant digits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.evaluation.statistics import hundredfold, rounded
from crystal_core.reference.known_file import KnownIndex
from crystal_core.registry.store import find_card

CARD_FIELDS = ("parameters", "training", "sampling")
WHOLE = {"n", "n_failed", "n_not_seen", "seen_formulas_n", "unseen_formulas_n", "n_train", "seeds"}
LENGTHS = {"rmse": 3, "rmsd_relaxed": 2}  # digits behind the point


def figure(reference: str) -> str:
    """The text of one number.

    Args:
        reference: ``CARD/METRIC``, a measured value with its interval; ``CARD/METRIC/FIELD``, another number
            of the same entry; ``CARD/parameters``; ``CARD/training/FIELD``; ``known/NAME``, a number of the
            index of known crystals (``crystals``, ``training``).

    Raises:
        RequestError: there is no such number. CheckpointMissing: there is no such card.

    >>> figure("kldm-csp-perov5/match_rate_test/n")
    '3,785'
    """
    name, _, rest = reference.partition("/")
    if name == "known":
        return _known(rest)
    card, path = find_card(name), rest.split("/")
    if path[0] in CARD_FIELDS:
        node: Any = getattr(card, path[0])
        for key in path[1:]:
            node = node.get(key) if isinstance(node, Mapping) else None
        return plain(_number(node, reference))
    metric = card.metrics.get(path[0])
    if not isinstance(metric, Mapping):
        raise RequestError(f"The card of '{name}' has no number '{path[0]}'.")
    if len(path) == 1:
        return measured(metric)
    value = _number(metric.get(path[1]), reference)
    if path[1] in WHOLE:
        return plain(value)
    if path[1] in LENGTHS:
        return rounded(value, LENGTHS[path[1]])
    return percent(value) if is_share(metric) else digits(value, None)


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


def _number(value: Any, reference: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"'{reference}' is no number on its card.")
    return value


def _known(name: str) -> str:
    about = KnownIndex().about
    sizes = {"crystals": about["n_rows"], "training": about["n_training"]}
    if name not in sizes:
        raise RequestError(f"The index of known crystals has no number '{name}'; choose {', '.join(sizes)}.")
    return plain(sizes[name])
