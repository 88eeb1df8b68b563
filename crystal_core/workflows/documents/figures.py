"""Numbers of cards and stored results, by the names that documents use for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crystal_core.errors import RequestError
from crystal_core.evaluation.statistics import rounded
from crystal_core.reference.known_file import KnownIndex
from crystal_core.reference.measure_known import MEASURED
from crystal_core.registry.store import find_card
from crystal_core.workflows.documents.numbers import digits, is_share, measured, percent, plain

CARD_FIELDS = ("parameters", "training", "sampling")
WHOLE = {"n", "n_failed", "n_not_seen", "seen_formulas_n", "unseen_formulas_n", "n_train", "seeds"} | {
    f"{kind}_{change}" for kind in ("ordered", "sampled") for change in ("gained", "lost")
}
LENGTHS = {"rmse": 3, "rmsd_relaxed": 2}  # digits behind the point


def figure(reference: str) -> str:
    """The text of one number.

    Args:
        reference: ``CARD/METRIC``, a measured value with its interval; ``CARD/METRIC/FIELD``, another number
            of the same entry; ``CARD/parameters``; ``CARD/training/FIELD``; ``known/NAME``, a number of the
            index of known crystals (``crystals``, ``training``) or what ``measure_known`` gives of pairs.

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


def _number(value: Any, reference: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"'{reference}' is no number on its card.")
    return value


def _known(name: str) -> str:
    pairs = json.loads(MEASURED.read_text(encoding="utf-8"))["pairs"]
    shares = {key: value for key, value in pairs.items() if isinstance(value, dict)}
    if name in shares:
        return percent(shares[name]["share"], shares[name]["ci95"])
    about = KnownIndex().about
    sizes = {
        "crystals": about["n_rows"],
        "training": about["n_training"],
        "pairs": shares["equal_found"]["n"],
    }
    if name not in sizes:
        choices = ", ".join([*sizes, *shares])
        raise RequestError(f"The index of known crystals has no number '{name}'; choose {choices}.")
    return plain(sizes[name])
