"""The work of a structure prediction by phase, planned before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crystal_core.relax.cost import ENERGY_ALONE, seconds_per_call
from crystal_core.relax.potential import is_loaded
from crystal_core.relax.race import STEPS_IN_A_RACE
from crystal_core.workflows.effort import (
    EFFORTS,
    RELAXING,
    SINGLE_ENERGIES,
    LaidOut,
    n_relaxed,
    seconds_by_size,
)

if TYPE_CHECKING:
    from crystal_core.records import Origin
    from crystal_core.requests import StructurePredictionRequest
    from crystal_core.workflows.prediction_plan import Part

# for a unit of sampling: 0.07 s of one core for all steps of kldm-csp-mp, and 0.02 s to refine a prototype
GUESSED_SECONDS = 0.06
LAYING_OUT, ORDERING, LOADING = "laying out", "ordering", "loading the potential"
# structures to relax without an effort; further ones rarely reach the top
MOST_RELAXED = 10


def sampling_phase(request: StructurePredictionRequest, origin: Origin) -> str:
    """The name under which the pace of such sampling is kept."""
    if origin == "prototype":
        return "prototypes"
    return f"{origin}, {request.model}, {request.sampler}, {request.steps}"


def guessed_pace(request: StructurePredictionRequest, parts: Sequence[Part]) -> dict[str, float]:
    """Sampling phase → rough seconds per unit of :func:`sampling_work`, before any run has measured them."""
    sampled = [part.origin for part in parts if part.origin != "prototype"]
    return dict.fromkeys((sampling_phase(request, origin) for origin in sampled), GUESSED_SECONDS)


def sampling_work(part: Part, atoms: int) -> float:
    """Work of a part: of samples in proportion to the pairs of atoms, of prototypes next to nothing."""
    if part.origin == "prototype":
        return 0.01 * part.n
    return part.n * (atoms * (atoms - 1) / 2 + 3 * atoms) / 20


def planned_work(
    request: StructurePredictionRequest,
    parts: Sequence[Part],
    cells: Mapping[int, tuple[int, ...]],
    known: LaidOut | None,
) -> dict[str, float]:
    """Phase → units of work of a run.

    Args:
        cells: formula units → atomic numbers. known: what an effort has laid out, if there is one.
    """
    work: dict[str, float] = {} if known is None else {LAYING_OUT: 1.0}
    if known is not None and request.effort and EFFORTS[request.effort].orderings:
        work[ORDERING] = 1.0
    laid_out = [] if known is None else [candidate.sampled for candidate in known.candidates]
    sizes, costs = [len(cell) for cell in laid_out], [seconds_per_call(cell) for cell in laid_out]
    for part in parts:
        phase, atoms = sampling_phase(request, part.origin), len(cells[part.z])
        work[phase] = work.get(phase, 0.0) + sampling_work(part, atoms)
        sizes += [atoms] * part.n
        costs += [seconds_by_size(atoms)] * part.n
    if request.wants_energies and sizes:
        usual = sum(costs) / len(costs)
        chosen = n_relaxed(request.effort, sizes) if request.effort else min(MOST_RELAXED, len(sizes))
        work |= {LOADING: 0.0 if is_loaded() else 1.0, SINGLE_ENERGIES: ENERGY_ALONE * usual * len(sizes)}
        work[RELAXING] = STEPS_IN_A_RACE * usual * chosen if request.relax else 0.0
    return work
