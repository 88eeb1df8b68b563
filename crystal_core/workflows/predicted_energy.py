"""Properties that a predictor gives for cells of a run: energies for a ranking, values for a target."""

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
    return predicted_values(predictor, cells, ENERGY)


def predicted_values(
    predictor: PropertyPredictor, cells: Sequence[Structure], name: str
) -> list[float | None]:
    """A property of every cell, in its unit, in one batch; None for a cell that the predictor cannot take."""
    from crystal_core.structures import from_structures

    if not cells:
        return []
    try:
        return [*predictor.values(from_structures(list(cells)), name)]
    except CrystalCoreError:  # of one cell; the others have a value
        if len(cells) == 1:
            return [None]
        return [value for cell in cells for value in predicted_values(predictor, [cell], name)]
