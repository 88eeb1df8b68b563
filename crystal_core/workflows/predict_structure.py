"""From a formula to ranked cells: sample from noise and known prototypes, relax, and rank."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula import parse_formula
from crystal_core.conditions import check_declared
from crystal_core.errors import RequestError
from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.matching import MATCHER
from crystal_core.evaluation.powder_pattern import MeasuredPattern
from crystal_core.files.records import rank_key, snapshot, structure_from_record
from crystal_core.frames import RunUpdate
from crystal_core.relax.cost import ENERGY_ALONE, seconds_per_call
from crystal_core.relax.relaxation import steps_to_rest, usual_steps
from crystal_core.requests import StructurePredictionRequest, from_json, seed_or_drawn
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.effort import (
    RELAXING,
    SINGLE_ENERGIES,
    LaidOut,
    cells_beside,
    lay_out,
    with_effort,
)
from crystal_core.workflows.evidence import relax_by_evidence
from crystal_core.workflows.prediction_plan import (
    Part,
    cells_of,
    check_drafts,
    check_elements,
    check_tuning_of,
    drafter_of,
    has_prototypes,
    load_structure_generator,
    notes_on,
    plan_parts,
)
from crystal_core.workflows.prediction_run import PredictionRun
from crystal_core.workflows.prediction_time import (
    LAYING_OUT,
    LOADING,
    MOST_RELAXED,
    ORDERING,
    guessed_pace,
    planned_work,
)
from crystal_core.workflows.sampling_run import BATCH, path_for_player
from crystal_core.workflows.time_plan import TimePlan, remember, timed, usual_pace

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord
    from crystal_core.relax.potential import Potential

SECONDS_BETWEEN_RESULTS = 2.0  # while single energies come in
KEPT_RELAXATIONS = 3  # paths of the most promising candidates, for the player


def run(
    request: StructurePredictionRequest | Mapping[str, Any], *, plan: TimePlan | None = None
) -> Iterator[RunUpdate]:
    """Work through a request; every update tells the stage, and with each finished part the result so far.

    Args:
        plan: an empty one that follows the phases of this run, for a measurement. Without it the run takes
            the pace of earlier ones and adds its own to it.

    Raises:
        RequestError: the formula or an option is wrong. CheckpointMissing: the model is not installed.
    """
    from crystal_core.device import use_threads

    request = from_json(StructurePredictionRequest, request)
    formula = parse_formula(request.formula)
    measured = None if request.pattern is None else MeasuredPattern.from_json(request.pattern)
    start = "noise" if request.start == "both" and not has_prototypes() else request.start
    request = replace(request, seed=seed_or_drawn(request.seed), start=start)
    began, clock = time.monotonic(), TimePlan({}, usual_pace()) if plan is None else plan
    known = lay_out(request) if request.effort is not None and has_prototypes() else None
    request = with_effort(request, prototypes_known=known is not None and bool(known.candidates))
    known = None if request.start == "noise" else known
    if request.wants_energies:
        from crystal_core.relax.potential import check_installed

        check_installed(request.potential)  # a missing package raises before an hour of sampling
    model = load_structure_generator(request.model, request.device)
    drafter = drafter_of(request, model)
    if drafter is not None and model.card.writes_drafts:
        model = drafter
    if request.guide and not hasattr(model, "settings"):
        raise RequestError(
            f"{request.model} does not sample, so no pattern can guide it; choose another model, "
            "or let the pattern rank alone."
        )
    check_declared((drafter or model).card, (), request)
    check_tuning_of(request, model)
    for one in filter(None, dict.fromkeys((model, drafter))):
        check_elements(request, formula, one)
    use_threads(request.threads)
    if known is None:
        cells = cells_of(request, model.card.sampling.get("atom_counts"))
    else:
        cells = cells_beside(known, request, model.card)
    batch = getattr(model, "batch_crystals", BATCH[getattr(getattr(model, "device", None), "type", "cpu")])
    parts = plan_parts(request, cells, batch, model, laid_out=known is not None)
    if drafter is not None:
        check_drafts(parts, cells, drafter)
    clock.add(
        planned_work(request, parts, cells, known),
        once=(LAYING_OUT, ORDERING, LOADING),
        guesses=guessed_pace(request, parts),
    )
    laid_out = None if known is None else known.cells
    notes = notes_on(request, formula, cells, model, laid_out, drafter)
    state = PredictionRun(request, model, clock, began, measured, notes=notes, drafter=drafter)
    yield from timed(_phases(state, parts, cells, known), clock)
    if plan is None:
        remember(clock)


def _phases(
    state: PredictionRun,
    parts: Sequence[Part],
    cells: Mapping[int, tuple[int, ...]],
    known: LaidOut | None,
) -> Iterator[RunUpdate]:
    """The work of a run, phase by phase."""
    if known is not None:
        yield state.known_arrangements(known)
        if ORDERING in state.plan.left:
            yield state.orderings()
    for part in parts:
        yield from state.part(part, cells[part.z])
    if state.request.wants_energies:
        yield from _by_evidence(state) if state.request.rank == "evidence" else _energies(state)
    yield RunUpdate(stage="done", step=1, n_steps=1, result=state.result(finished=True))


def _by_evidence(state: PredictionRun) -> Iterator[RunUpdate]:
    """Energies of all different structures; then the promising ones are relaxed against each other."""
    from crystal_core.relax.potential import load_potential

    potential = load_potential(state.request.potential, state.request.device)
    state.potential_label = potential.label
    state.plan.reached(LOADING, state.plan.left.get(LOADING, 0.0), 0.0)
    evidence = state.evidence()
    first: dict[int, Candidate] = {}
    for candidate, group in zip(state.candidates, state.groups(), strict=True):
        candidate.alike = first.setdefault(group, candidate)
    last_snapshot = time.monotonic()
    for now in relax_by_evidence(
        state.candidates,
        list(first.values()),
        evidence,
        potential,
        effort=state.request.effort,
        relax=state.request.relax,
        seconds=state.request.relax_seconds,
    ):
        state.plan.reached(now.phase, now.done, now.left)
        if now.phase == SINGLE_ENERGIES:
            state.plan.left[RELAXING] = now.to_relax
        fresh = now.relaxed_candidate is not None or (
            now.moment is None and time.monotonic() - last_snapshot > SECONDS_BETWEEN_RESULTS
        )
        last_snapshot = time.monotonic() if fresh else last_snapshot
        path = None
        if now.relaxed_candidate is not None:
            label = f"Relaxation of {now.relaxed_candidate.id(state.request.formula)}"
            path = path_for_player(label, now.relaxed_candidate.frames, keep=_keeps_path(state))
        yield RunUpdate(
            stage=now.stage,
            step=0,
            n_steps=1,
            result=state.result() if fresh else None,
            snapshot=snapshot(now.moment.structure) if now.moment is not None else None,
            trajectory=path,
        )


def _keeps_path(state: PredictionRun) -> bool:
    n_relaxed = sum(candidate.relaxed_energy is not None for candidate in state.candidates)
    return state.request.keep_trajectory and n_relaxed <= KEPT_RELAXATIONS


def _energies(state: PredictionRun) -> Iterator[RunUpdate]:
    """Relax the most promising structures; the others, or all without relaxing, get sampled energies.

    Candidates that are alike as sampled, also at another Z, stand in for one another: a relaxation takes
    seconds to a minute. Where there are more structures than are relaxed, those that most candidates agree on
    are, and of equals those lowest in energy as sampled; that energy alone says little, because a small error
    of the cell costs electronvolts. The result follows each, so a cancel loses none.
    """
    from crystal_core.relax.potential import load_potential

    potential = load_potential(state.request.potential, state.request.device)
    state.potential_label = potential.label
    state.plan.reached(LOADING, state.plan.left.get(LOADING, 0.0), 0.0)
    by_id = {c.id(state.request.formula): c for c in state.candidates}
    first: dict[int, Candidate] = {}
    worth: dict[Candidate, tuple[bool, bool, int]] = {}
    for record in sorted((r for item in state.result()["results"] for r in item["candidates"]), key=rank_key):
        candidate = by_id[record["id"]]
        candidate.alike = (
            first.setdefault(record["group"] or 0, candidate) if state.request.relax else candidate
        )
        worth[candidate] = (*rank_key(record)[:2], -record["n_alike"])
    order = list(first.values()) if state.request.relax else state.candidates
    costs = {candidate: seconds_per_call(candidate.sampled) for candidate in order}
    n_relaxed = min(len(order), MOST_RELAXED) if state.request.relax else 0
    single_points = order if len(order) > n_relaxed else []
    for k, candidate in enumerate(single_points):
        stage = f"energy of structure {k + 1} of {len(order)}"
        others = single_points[k + 1 :]
        yield from _compute_energy(state, candidate, potential, stage, others, costs, relax=False)
        if n_relaxed:
            candidate.mark_not_relaxed(
                f"Only the {n_relaxed} most promising structures are relaxed; "
                "its energy is that of the cell as sampled."
            )
    state.plan.left[SINGLE_ENERGIES] = 0.0
    if single_points:
        order = sorted(order, key=lambda c: (*worth[c], float("inf") if c.energy is None else c.energy))
    for k, candidate in enumerate(order[:n_relaxed]):
        stage = f"relaxing structure {k + 1} of {n_relaxed}"
        keep = state.request.keep_trajectory and k < KEPT_RELAXATIONS
        others = order[k + 1 : n_relaxed]
        yield from _compute_energy(state, candidate, potential, stage, others, costs, relax=True, keep=keep)
    state.plan.left[RELAXING] = 0.0


def _compute_energy(
    state: PredictionRun,
    candidate: Candidate,
    potential: Potential,
    stage: str,
    others: Sequence[Candidate],
    costs: Mapping[Candidate, float],
    *,
    relax: bool,
    keep: bool = False,
) -> Iterator[RunUpdate]:
    """Relax one candidate, or take its energy as sampled; ``others`` still wait for the same.

    Args:
        costs: candidate → seconds of one idle core for a call with forces.
    """
    phase = RELAXING if relax else SINGLE_ENERGIES
    of_call = 1.0 if relax else ENERGY_ALONE
    cost, before = of_call * costs[candidate], state.plan.done.get(phase, 0.0)
    waiting = of_call * sum(
        (1.0 + usual_steps(len(other.sampled)) if relax else 1.0) * costs[other] for other in others
    )
    taken = 1
    for moment in candidate.compute_energy(potential, seconds=state.request.relax_seconds, relax=relax):
        taken = max(1, moment.step)
        rest = steps_to_rest(moment) if relax and moment.status is None else 0.0
        state.plan.reached(phase, before + cost * taken, waiting + cost * rest)
        yield RunUpdate(stage=stage, step=0, n_steps=1, snapshot=snapshot(moment.structure))
    state.plan.reached(phase, before + cost * taken, waiting)
    path = path_for_player(
        f"Relaxation of {candidate.id(state.request.formula)}", candidate.frames, keep=keep
    )
    yield RunUpdate(stage=stage, step=0, n_steps=1, result=state.result(), trajectory=path)


def compare_with_reference(records: list[CrystalRecord], reference: Structure) -> None:
    """Add ``reference: {matches, rmsd}`` to each record: published matcher, rmsd by (V/N)^(1/3)."""
    for record in records:
        rmsd = rms_distance(reference, structure_from_record(record), MATCHER)
        record["reference"] = {"matches": rmsd is not None, "rmsd": None if rmsd is None else round(rmsd, 4)}
