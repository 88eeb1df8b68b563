"""Predictions of networks for cells of a run: log odds for a ranking, values for a target."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from crystal_core.errors import CheckpointMismatch, CheckpointMissing, CrystalCoreError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.crystal import CrystalBatch
    from crystal_core.evaluation.ranking import Evidence
    from crystal_core.protocols import CandidateRanker, PropertyPredictor

RANKER = "crysldnet-ranking"
log = logging.getLogger(__name__)


def predicted_log_odds(cells: Sequence[Structure], device: str = "auto") -> list[float | None]:
    """Log odds that each unrelaxed cell is the right one of its formula, up to a constant, in one batch.

    None for a cell that the network cannot take, and for all where it is not installed.
    """
    from crystal_core.registry.store import find_card

    try:
        ranker = _ranker(device, find_card(RANKER).weights_sha256)
    except (CheckpointMissing, CheckpointMismatch) as error:
        log.info("candidates are ranked without the network: %s", error)
        return [None] * len(cells)
    return _alone_on_error(ranker.log_odds, cells)


def with_log_odds(
    candidates: Sequence[tuple[Evidence, Structure]], device: str = "auto"
) -> list[tuple[Evidence, Structure]]:
    """The candidates, each with the log odds of its cell."""
    odds = predicted_log_odds([cell for _, cell in candidates], device)
    return [
        (replace(evidence, log_odds=own), cell)
        for (evidence, cell), own in zip(candidates, odds, strict=True)
    ]


@lru_cache(maxsize=1)
def _ranker(device: str, weights_sha256: str) -> CandidateRanker:  # noqa: ARG001 (a part of the key)
    from crystal_core.registry.store import load_ranker

    return load_ranker(RANKER, device)


def predicted_values(
    predictor: PropertyPredictor, cells: Sequence[Structure], name: str
) -> list[float | None]:
    """A property of every cell, in its unit, in one batch; None for a cell that the predictor cannot take."""
    return _alone_on_error(lambda crystals: predictor.values(crystals, name), cells)


def _alone_on_error(
    predict: Callable[[CrystalBatch], list[float]], cells: Sequence[Structure]
) -> list[float | None]:
    from crystal_core.structures import from_structures

    if not cells:
        return []
    try:
        return [*predict(from_structures(list(cells)))]
    except CrystalCoreError:  # of one cell; the others have a value
        if len(cells) == 1:
            return [None]
        return [value for cell in cells for value in _alone_on_error(predict, [cell])]
