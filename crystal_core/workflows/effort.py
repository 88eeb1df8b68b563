"""The effort for a formula: sources, numbers of candidates and relaxations, and cells.

An effort is counted in candidates and relaxation steps, never in seconds, so that the order of the results
does not depend on how busy the machine is. The seconds named beside each are those of two idle cores for
cells of up to 20 atoms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from crystal_core.chemistry.formula import parse_formula
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.ranking import Evidence, load_weights, log_prior
from crystal_core.reference.known_crystals import cells_without_energies
from crystal_core.registry.store import load_generator
from crystal_core.structures import to_structures
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.known_candidates import SHARE, known_candidates

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.cards import ModelCard
    from crystal_core.crystal import CrystalBatch
    from crystal_core.frames import Frame, Template
    from crystal_core.generators.prototype.generator import PrototypeGenerator
    from crystal_core.requests import EffortName, StructurePredictionRequest

MOST_LOOKED_AT = 60  # prototypes of a formula from which an effort takes the likeliest
MOST_ATOMS = 40  # of the cells that prototypes and relaxation try on their own
# of the potential on one idle core, for cells without a structure yet, on the safe side: fixed part, and part
# per atom (12 atoms: 0.07 s)
SECONDS_BY_SIZE = (0.012, 0.0045)
USUAL_STEPS = 30  # of a relaxation that comes to rest (24 on average in cells of up to 12 atoms)
SINGLE_ENERGIES, RELAXING = "single energies", "relaxing"  # phases of a run


@dataclass(frozen=True, kw_only=True)
class Effort:
    """One effort.

    Attributes:
        prototypes: candidates that are known crystals or laid out on known arrangements, over all Z together.
        relax_seconds: seconds of one idle core that the relaxations of one run take in all, at most; 0
            relaxes nothing.
        most_relaxed: different structures that are relaxed at most.
        orderings: candidates in which two elements stand in order on the sites of one, over all Z together.
        samples: from the model, per Z; 0 leaves the model out where a prototype is known.
    """

    prototypes: int
    relax_seconds: float
    most_relaxed: int
    orderings: int
    samples: int


EFFORTS: Mapping[EffortName, Effort] = {
    "quick": Effort(prototypes=12, relax_seconds=0.0, most_relaxed=0, orderings=0, samples=0),
    "normal": Effort(prototypes=20, relax_seconds=24.0, most_relaxed=10, orderings=5, samples=0),
    "thorough": Effort(prototypes=40, relax_seconds=300.0, most_relaxed=20, orderings=10, samples=10),
}
FALLBACK_SAMPLES = 4  # samples per Z if no prototype is known and the effort has no samples of the model


def with_effort(request: StructurePredictionRequest, *, prototypes_known: bool) -> StructurePredictionRequest:
    """The request with the settings of its effort; unchanged without an effort."""
    if request.effort is None:
        return request
    effort = EFFORTS[request.effort]
    from_model = effort.samples > 0 or not prototypes_known
    return replace(
        request,
        start="both" if from_model and prototypes_known else "noise" if from_model else "prototype",
        model=request.model if from_model else "prototype",
        n_samples=effort.samples or FALLBACK_SAMPLES,
        relax=effort.most_relaxed > 0,
        rank=request.rank if request.rank == "pattern" else "evidence",
    )


def n_relaxed(effort: EffortName, sizes: Sequence[int]) -> int:
    """How many of the candidates, best first, are relaxed: as many as fit the work of the effort.

    Args:
        sizes: atoms of each candidate's cell.
    """
    plan, spent = EFFORTS[effort], 0.0
    for n, size in enumerate(sizes):
        spent += USUAL_STEPS * seconds_by_size(size)
        if n >= plan.most_relaxed or (spent > plan.relax_seconds and n >= min(2, plan.most_relaxed)):
            return n
    return len(sizes)


@dataclass(frozen=True, kw_only=True)
class LaidOut:
    """The known crystals and the prototypes of one formula over all its cells, each best first.

    Attributes:
        cells: formula units → atomic numbers, of the cells that have one, the best first.
        starts, templates: of each Z, for a model that refines them.
    """

    candidates: tuple[Candidate, ...]
    cells: Mapping[int, tuple[int, ...]]
    starts: Mapping[int, CrystalBatch]
    templates: Mapping[int, list[Template | None]]


def is_fixed(request: StructurePredictionRequest) -> bool:
    """Whether the request itself names the cells."""
    return request.exact_cell or request.z is not None


def lay_out(request: StructurePredictionRequest) -> LaidOut:
    """The known crystals of an effort's request, then its best other prototypes; empty without any."""
    from crystal_core.crystal import CrystalBatch

    assert request.effort is not None
    n, cells = EFFORTS[request.effort].prototypes, cells_tried(request)
    known = known_candidates(parse_formula(request.formula).reduced_formula, cells, round(SHARE * n))
    units, frame = known_prototypes().lay_out(cells, MOST_LOOKED_AT, repeats=is_fixed(request))
    candidates: list[Candidate] = []
    crystals: dict[int, list[CrystalBatch]] = {}
    templates: dict[int, list[Template | None]] = {}
    structures = to_structures(frame.crystals) if frame is not None and frame.crystals is not None else []
    others = cells_without_energies(next(iter(cells.values()))) if structures else []
    scales: dict[int, float] = {}
    for k in _likeliest(request, frame, structures):
        if len(known) + len(candidates) == n:
            break
        z, structure = units[k], structures[k]
        assert frame is not None
        assert frame.crystals is not None
        assert structure is not None
        if is_one_of(structure, [candidate.sampled for candidate in known]):
            continue
        scales[k] = _scale_of(structure, others)
        if scales[k] != 1.0:
            structure = structure.copy()
            structure.scale_lattice(structure.volume * scales[k] ** 3)
        template = frame.templates[k]
        candidates.append(Candidate(z, "prototype", k, structure, template, template_rank=k + 1))
    candidates.sort(key=lambda candidate: candidate.index)
    for candidate in candidates:
        assert frame is not None
        assert frame.crystals is not None
        crystal, scale = frame.crystals[candidate.index], scales[candidate.index]
        crystals.setdefault(candidate.z, []).append(replace(crystal, lattice=crystal.lattice * scale))
        templates.setdefault(candidate.z, []).append(candidate.template)
    return LaidOut(
        candidates=(*known, *candidates),
        cells={z: cells[z] for z in dict.fromkeys([*(c.z for c in known), *templates])},
        starts={z: CrystalBatch.concat(part) for z, part in crystals.items()},
        templates=templates,
    )


def is_one_of(structure: Structure, others: Sequence[Structure]) -> bool:
    """Whether a cell as laid out equals one of several that are candidates already."""
    return any(
        len(other) == len(structure) and rms_distance(structure, other) is not None for other in others
    )


def _scale_of(structure: Structure, known: Sequence[Structure]) -> float:
    """Factor on the lengths of a prototype that gives it the volume of a known crystal that it is; else 1.

    A prototype takes its volume from its elements, whose sizes differ between compounds.
    """
    for other in known:
        if len(other) == len(structure) and rms_distance(structure, other) is not None:
            return float((other.volume / structure.volume) ** (1 / 3))
    return 1.0


def evidence_of_template(template: Template, rank: int, formula: str) -> Evidence:
    """Evidence on a candidate from its prototype alone.

    Args:
        rank: its place among the prototypes of the formula, 1 first.
    """
    from crystal_core.generators.prototype.aflow_names import is_named_after

    return Evidence(
        source="prototype",
        rank=rank,
        votes=template.votes,
        members=template.members,
        distance=template.distance,
        repeats=template.repeats,
        named=template.distance == 0.0 and is_named_after(template.label, formula),
        ordered=bool(template.ordered),
    )


def _likeliest(
    request: StructurePredictionRequest, frame: Frame | None, structures: Sequence[Structure | None]
) -> list[int]:
    """Places of the prototypes that make a cell, the likeliest before any energy is known first.

    A formula with many known crystals has more of them than relatives vote; those that an arrangement is
    named after come early.
    """
    weights, name = load_weights(), parse_formula(request.formula).reduced_formula
    worth = {}
    for k, structure in enumerate(structures):
        template = frame.templates[k] if frame is not None else None
        if structure is not None and template is not None:
            worth[k] = log_prior(evidence_of_template(template, k + 1, name), weights)
    return sorted(worth, key=lambda k: -worth[k])


def seconds_by_size(size: int) -> float:
    """Seconds of one idle core for a call of the potential with so many atoms, before their cell is there."""
    return SECONDS_BY_SIZE[0] + SECONDS_BY_SIZE[1] * size


def most_seconds(effort: EffortName | None) -> float:
    """Seconds of one idle core that all relaxations of a run may take; no limit without an effort."""
    return math.inf if effort is None else EFFORTS[effort].relax_seconds


def cells_beside(
    known: LaidOut, request: StructurePredictionRequest, card: ModelCard
) -> dict[int, tuple[int, ...]]:
    """The cells that the model samples: at most two, those of the best prototypes within its reach."""
    if request.model == card.name == "prototype":
        return dict(known.cells)
    counts, most = card.sampling.get("atom_counts"), card.most_atoms or MOST_ATOMS
    near = {
        z: atoms
        for z, atoms in known.cells.items()
        if (len(atoms) in counts if counts else len(atoms) <= most)
    }
    return dict(list(near.items())[:2]) or dict(known.cells)


def cells_tried(request: StructurePredictionRequest) -> dict[int, tuple[int, ...]]:
    """Formula units → atomic numbers: the cells of the request, else all up to 40 atoms, at least one.

    Which of them are tried is decided by the prototypes, all Z in one list: the cells that known crystals of
    the formula and its nearest relatives have come first.
    """
    formula = parse_formula(request.formula)
    if request.exact_cell:
        return {1: tuple(formula.atomic_numbers_of(1, exact=True))}
    units = request.z or range(1, max(1, MOST_ATOMS // formula.n_atoms) + 1)
    return {z: tuple(formula.atomic_numbers_of(z)) for z in units}


@lru_cache(maxsize=1)
def known_prototypes() -> PrototypeGenerator:
    """The generator of prototypes."""
    return cast("PrototypeGenerator", load_generator("prototype", "cpu"))
