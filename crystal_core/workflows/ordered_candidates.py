"""The likeliest orderings of a formula, before any of them is relaxed.

An arrangement has many orderings, most of them far above the hull. A network gives their log odds in one
batch; the likeliest by the prior of the ranking are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crystal_core.evaluation.ranking import Evidence, load_weights, log_prior
from crystal_core.evaluation.validity import check_structure
from crystal_core.structures import to_structures
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.cell_predictions import predicted_log_odds
from crystal_core.workflows.effort import (
    EFFORTS,
    MOST_LOOKED_AT,
    cells_tried,
    evidence_of_template,
    is_fixed,
    is_one_of,
    known_prototypes,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.frames import Template
    from crystal_core.generators.prototype.generator import PrototypeGenerator
    from crystal_core.requests import StructurePredictionRequest


FIRST_INDEX = MOST_LOOKED_AT  # of an ordering: the prototypes of a run have smaller ones


def orderings_of(request: StructurePredictionRequest, beside: Sequence[Structure]) -> list[Candidate]:
    """The orderings among the candidates of an effort's request.

    Args:
        beside: as in :func:`likeliest_orderings`.
    """
    assert request.effort is not None
    found = likeliest_orderings(
        known_prototypes(),
        cells_tried(request),
        EFFORTS[request.effort].orderings,
        beside=beside,
        repeats=is_fixed(request),
        device=request.device,
    )
    return [
        Candidate(one.z, "prototype", FIRST_INDEX + k, one.structure, one.template, template_rank=1)
        for k, one in enumerate(found)
    ]


@dataclass(frozen=True, kw_only=True)
class OrderedCell:
    """An ordering: its formula units, the cell, the arrangement it is one of, and what speaks for it."""

    z: int
    structure: Structure
    template: Template
    evidence: Evidence


def likeliest_orderings(
    prototypes: PrototypeGenerator,
    cells: Mapping[int, Sequence[int]],
    n: int,
    *,
    beside: Sequence[Structure],
    repeats: bool,
    device: str = "auto",
) -> list[OrderedCell]:
    """Up to ``n`` different orderings, the likeliest first.

    Args:
        cells: formula units → atomic numbers.
        beside: cells that are candidates already; no ordering equals one of them.
        repeats: also repeat smaller arrangements to fill a cell.
    """
    units, frame = prototypes.order(cells, repeats=repeats)
    if frame is None or frame.crystals is None:
        return []
    structures = to_structures(frame.crystals)
    whole = [
        (z, structure, template)
        for z, structure, template in zip(units, structures, frame.templates, strict=True)
        if structure is not None and template is not None
    ]
    odds = predicted_log_odds([structure for _, structure, _ in whole], device)
    weights = load_weights()
    found = [
        OrderedCell(
            z=z,
            structure=structure,
            template=template,
            evidence=replace(evidence_of_template(template, 1, ""), log_odds=own),
        )
        for (z, structure, template), own in zip(whole, odds, strict=True)
    ]
    found.sort(key=lambda one: -log_prior(one.evidence, weights))
    chosen: list[OrderedCell] = []
    for one in found:
        if len(chosen) == n:
            break
        if not is_one_of(one.structure, [*beside, *(other.structure for other in chosen)]):
            plausible = check_structure(one.structure).plausible
            chosen.append(replace(one, evidence=replace(one.evidence, plausible=plausible)))
    return chosen
