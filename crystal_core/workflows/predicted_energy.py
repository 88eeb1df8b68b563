"""Energies above the hull that the property predictor gives for candidate cells: evidence for a ranking."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crystal_core.errors import CheckpointMismatch, CheckpointMissing, CrystalCoreError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import PropertyPredictor

PREDICTOR, ENERGY = "crysldnet", "e_above_hull_ev"
log = logging.getLogger(__name__)


def predicted_above_hull(cells: Sequence[Structure], device: str = "auto") -> list[float | None]:
    """eV/atom of every cell, in one batch.

    None for a cell that the predictor cannot take, and for all where it is not installed.
    """
    from crystal_core.workflows.predict_properties import load_property_predictor

    try:
        predictor = load_property_predictor(PREDICTOR, device)
    except (CheckpointMissing, CheckpointMismatch) as error:
        log.info("candidates are ranked without predicted energies: %s", error)
        return [None] * len(cells)
    try:
        return _values(predictor, cells)
    except CrystalCoreError:  # of one cell; the others have an energy
        return [_value(predictor, cell) for cell in cells]


def _value(predictor: PropertyPredictor, cell: Structure) -> float | None:
    try:
        return _values(predictor, [cell])[0]
    except CrystalCoreError:
        return None


def _values(predictor: PropertyPredictor, cells: Sequence[Structure]) -> list[float | None]:
    from crystal_core.structures import from_structures

    if not cells:
        return []
    return list(predictor.values(from_structures(list(cells)), ENERGY))
