"""The work of a structure prediction by phase, planned before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from crystal_core.workflows.effort import (
    RELAXING,
    SINGLE_ENERGIES,
    STEPS_IN_A_RACE,
    LaidOut,
    n_relaxed,
    seconds_per_call,
)

if TYPE_CHECKING:
    from crystal_core.records import Origin
    from crystal_core.requests import StructurePredictionRequest
    from crystal_core.workflows.prediction_plan import Part

LAYING_OUT, LOADING = "laying out", "loading the potential"
# structures to relax without an effort; further ones rarely reach the top
MOST_RELAXED = 10


def sampling_phase(request: StructurePredictionRequest, origin: Origin) -> str:
    """The name under which the pace of such sampling is kept."""
    if origin == "prototype":
        return "prototypes"
    return f"{origin}, {request.model}, {request.sampler}, {request.steps}"


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
    sizes = [] if known is None else [len(c.sampled) for c in known.candidates]
    for part in parts:
        phase, atoms = sampling_phase(request, part.origin), len(cells[part.z])
        work[phase] = work.get(phase, 0.0) + sampling_work(part, atoms)
        sizes += [atoms] * part.n
    if request.wants_energies and sizes:
        usual = sum(map(seconds_per_call, sizes)) / len(sizes)
        chosen = n_relaxed(request.effort, sizes) if request.effort else min(MOST_RELAXED, len(sizes))
        work |= {LOADING: 1.0, SINGLE_ENERGIES: usual * len(sizes)}
        work[RELAXING] = STEPS_IN_A_RACE * usual * chosen if request.relax else 0.0
    return work
