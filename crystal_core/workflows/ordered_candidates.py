"""The likeliest orderings of a formula, before any of them is relaxed.

An arrangement has many orderings, most of them far above the hull. A network gives their log odds in one
batch; the likeliest by the prior of the ranking are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    candidates = [
        Candidate(one.z, "prototype", FIRST_INDEX + k, one.structure, one.template, template_rank=1)
        for k, one in enumerate(found)
    ]
    for candidate, one in zip(candidates, found, strict=True):
        candidate.log_odds = one.evidence.log_odds
    return candidates


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
    found = laid_out_orderings(prototypes, cells, repeats=repeats)
    odds = predicted_log_odds([one.structure for one in found], device)
    weights = load_weights()
    weighed = [
        replace(one, evidence=replace(one.evidence, log_odds=own))
        for one, own in zip(found, odds, strict=True)
    ]
    weighed.sort(key=lambda one: -log_prior(one.evidence, weights))
    return [
        replace(one, evidence=replace(one.evidence, plausible=check_structure(one.structure).plausible))
        for one in first_different(weighed, n, beside)
    ]


def laid_out_orderings(
    prototypes: PrototypeGenerator,
    cells: Mapping[int, Sequence[int]],
    *,
    repeats: bool,
    drawn: int | None = None,
) -> list[OrderedCell]:
    """All orderings that make a cell, before a network is asked.

    Args:
        cells, repeats: as in :func:`likeliest_orderings`.
        drawn: so many of them at most, as :meth:`PrototypeGenerator.order` draws them.
    """
    units, frame = prototypes.order(cells, repeats=repeats, drawn=drawn)
    if frame is None or frame.crystals is None:
        return []
    laid_out = zip(units, to_structures(frame.crystals), frame.templates, strict=True)
    return [
        OrderedCell(
            z=z, structure=structure, template=template, evidence=evidence_of_template(template, 1, "")
        )
        for z, structure, template in laid_out
        if structure is not None and template is not None
    ]


def first_different(found: Iterable[OrderedCell], n: int, beside: Sequence[Structure]) -> list[OrderedCell]:
    """The first ``n`` that equal neither one another nor a cell of ``beside``."""
    chosen: list[OrderedCell] = []
    for one in found:
        if len(chosen) == n:
            break
        if not is_one_of(one.structure, [*beside, *(other.structure for other in chosen)]):
            chosen.append(one)
    return chosen
