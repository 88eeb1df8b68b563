"""Structure prediction on a table of known crystals: draw candidates, judge, summarise.

The protocol is :mod:`crystal_core.evaluation.matching`; this file runs a generator over references (from
noise or from the nearest known prototypes), relaxes candidates where asked, and compares samplers at equal
numbers of network calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from crystal_core.conditions import CARD_DRAFT, DraftOptions
from crystal_core.errors import RelaxationFailed
from crystal_core.evaluation.matching import Outcome, judge_all, summarise
from crystal_core.evaluation.validity import check_structure
from crystal_core.interruption import NO_INTERRUPTION, Interruption
from crystal_core.relax.energies import energies_of
from crystal_core.requests import CARD_TUNING, GenerationRequest, SamplerTuning
from crystal_core.structures import to_structures
from crystal_core.workflows.sampling_run import last_frame
from crystal_core.workflows.training_range import known_to_both

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.protocols import Generator
    from crystal_core.relax.potential import Potential
    from crystal_core.relax.relaxation import Relaxation
    from crystal_core.workflows.evaluation_cache import EvaluationCache, RelaxedCell
    from crystal_core.workflows.references import Reference

CHUNK = 64  # crystals of one batch: part of the protocol, because the noise of a batch is drawn at once
SECONDS_BETWEEN_LINES = 10.0
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Candidates per reference (None: could not be decoded), their cost, and how many were stored."""

    candidates: list[list[Structure | None]]
    calls_per_sample: int
    seconds: float
    n_from_before: int = 0


@dataclass(frozen=True, kw_only=True)
class Relaxed:
    """Candidates after relaxing, in the same order; one that failed keeps its cell, with the energy None."""

    candidates: list[list[Structure | None]]
    energies: list[list[float | None]]
    n_converged: int
    n_not_relaxed: int
    n_steps: int
    seconds: float


def draw_candidates(
    generator: Generator,
    references: Sequence[Reference],
    *,
    samples: int = 1,
    sampler: str = "fast",
    steps: int | None = None,
    tuning: SamplerTuning = CARD_TUNING,
    seed: int = 0,
    start_time: float | None = None,
    draft: DraftOptions = CARD_DRAFT,
    say: Say | None = None,
    cache: EvaluationCache | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> Drawn:
    """Candidates for every reference, in order; none for elements without a word in the model.

    After an interruption, for the references of the finished chunks.

    Args:
        cache: gets every chunk as soon as it is drawn; a chunk that it holds whole is not drawn again.
        start_time: None starts from noise; a time in (0, 1] starts there from the nearest known
            prototypes (the k-th sample from the k-th nearest). A composition without a known prototype
            then has no candidate.
    """
    began = time.monotonic()
    prototypes: Generator | None = None
    if start_time is not None:
        from crystal_core.registry.store import load_generator

        prototypes = cast("Generator", load_generator("prototype", "cpu"))
    candidates: list[list[Structure | None]] = []
    calls = from_before = 0
    with stop:
        for first in range(0, len(references), CHUNK):
            part = references[first : first + CHUNK]
            # whole chunks only: the noise of one is drawn at once, so a part of it cannot be drawn as
            # it would have been
            before = cache.candidates(first, len(part)) if cache else None
            if cache and before is not None:
                candidates += [before[k * samples : (k + 1) * samples] for k in range(len(part))]
                calls, from_before = max(calls, cache.network_calls), from_before + len(before)
                continue
            compositions = tuple(reference.atomic_numbers for reference in part for _ in range(samples))
            options: dict[str, Any] = {
                "sampler": sampler,
                "steps": steps,
                "seed": seed + first,
                "frame_every": 5000,
                "draft": draft,
                **tuning.tuning_fields,
            }
            if prototypes is None:
                structures, calls = _sample(generator, compositions, options)
            else:
                structures, calls = _refine(generator, prototypes, compositions, start_time, options)
            if cache:
                structures = cache.keep_candidates(first, structures, calls)
            candidates += [structures[k * samples : (k + 1) * samples] for k in range(len(part))]
            if say:
                say(
                    f"{min(first + CHUNK, len(references))}/{len(references)} sampled, "
                    f"{time.monotonic() - began:.0f} s"
                )
    return Drawn(
        candidates=candidates,
        calls_per_sample=calls,
        seconds=time.monotonic() - began,
        n_from_before=from_before,
    )


def _sample(
    generator: Generator, compositions: tuple[tuple[int, ...], ...], options: dict[str, Any]
) -> tuple[list[Structure | None], int]:
    known = set(range(1, 119))
    if generator.card.writes_drafts:
        drafted = getattr(generator, "elements", tuple(known))
        known = set(known_to_both(drafted, generator.card, options.get("draft", CARD_DRAFT)))
    possible = [i for i, cell in enumerate(compositions) if known.issuperset(cell)]
    return _run_on(possible, generator, compositions, options)


def _run_on(
    places: Sequence[int],
    generator: Generator,
    compositions: tuple[tuple[int, ...], ...],
    options: dict[str, Any],
) -> tuple[list[Structure | None], int]:
    """Structures of the compositions at ``places``, None elsewhere, and the network calls."""
    structures: list[Structure | None] = [None] * len(compositions)
    if not places:
        return structures, 0
    request = GenerationRequest(compositions=tuple(compositions[i] for i in places), **options)
    crystals, calls = _run(generator, request)
    for i, structure in zip(places, to_structures(crystals), strict=True):
        structures[i] = structure
    return structures, calls


def _run(generator: Generator, request: GenerationRequest) -> tuple[Any, int]:
    return last_frame(generator, request).crystals, getattr(generator, "network_calls", 0)


def _refine(
    generator: Generator,
    prototypes: Generator,
    compositions: tuple[tuple[int, ...], ...],
    start_time: float | None,
    options: dict[str, Any],
) -> tuple[list[Structure | None], int]:
    from crystal_core.crystal import CrystalBatch

    placed, _ = _run(prototypes, GenerationRequest(compositions=compositions))
    usable = [i for i, structure in enumerate(to_structures(placed)) if structure is not None]
    if usable:
        cells = list(placed)
        start = CrystalBatch.concat([cells[i] for i in usable])
        options = options | {"start": start, "start_time": start_time}
    return _run_on(usable, generator, compositions, options)


def relax_candidates(
    candidates: Sequence[Sequence[Structure | None]],
    potential: Potential,
    *,
    seconds: float = 120.0,
    workers: int = 1,
    say: Say | None = None,
    cache: EvaluationCache | None = None,
    stop: Interruption = NO_INTERRUPTION,
) -> Relaxed:
    """Relax every candidate.

    After an interruption, those of the first references, up to the first one that is not finished.

    Args:
        seconds: time limit of one relaxation; what is reached by then counts.
        workers: processes, each with a potential of its own; with 1 all is done in this one.
        cache: gets every relaxed cell as soon as it is finished; those that it holds are not relaxed again.
    """
    from crystal_core.relax.many import relax_many

    began = last_message = time.monotonic()
    given = {
        (i, k): structure
        for i, part in enumerate(candidates)
        for k, structure in enumerate(part)
        if structure is not None
    }
    cells = {place: cell for place in given if cache and (cell := cache.relaxed(*place))}
    places = [place for place in given if place not in cells]
    with (
        stop,
        closing(
            relax_many([given[place] for place in places], potential, seconds=seconds, workers=workers)
        ) as finished,
    ):
        for number, done in finished:
            place = places[number]
            cell = _relaxed_cell(given[place], done, potential)
            cells[place] = cache.keep_relaxed(*place, cell) if cache else cell
            if say and time.monotonic() - last_message > SECONDS_BETWEEN_LINES:
                last_message = time.monotonic()
                say(f"{len(cells)}/{len(given)} relaxed, {last_message - began:.0f} s")
    n = min((i for i, _ in given.keys() - cells.keys()), default=len(candidates))
    relaxed = [cell for (i, _), cell in cells.items() if i < n]
    relaxed_cells = [[cells.get((i, k)) for k in range(len(part))] for i, part in enumerate(candidates[:n])]
    return Relaxed(
        candidates=[[cell.structure if cell else None for cell in part] for part in relaxed_cells],
        energies=[[cell.energy if cell else None for cell in part] for part in relaxed_cells],
        n_converged=sum(cell.converged for cell in relaxed),
        n_not_relaxed=sum(cell.energy is None for cell in relaxed),
        n_steps=sum(cell.n_steps for cell in relaxed),
        seconds=time.monotonic() - began,
    )


def _relaxed_cell(structure: Structure, done: Relaxation | None, potential: Potential) -> RelaxedCell:
    from crystal_core.workflows.evaluation_cache import RelaxedCell

    if done is None:
        return RelaxedCell(structure=structure)
    try:
        energies_of(done.structure.composition, done.energy, potential.name)
    except RelaxationFailed:  # an energy that only a fault of the potential explains
        return RelaxedCell(structure=structure)
    return RelaxedCell(
        structure=done.structure, energy=done.energy, converged=done.converged, n_steps=done.n_steps
    )


def report_relaxed(
    references: Sequence[Structure],
    before: Sequence[Outcome],
    relaxed: Relaxed,
    label: str,
    *,
    workers: int = 2,
    formulas: frozenset[str] | None = None,
) -> dict[str, Any]:
    """The report of relaxed candidates: also before relaxing, pairs gained and lost.

    With several samples also for the lowest energy alone.
    """
    after = judge_all(references, relaxed.candidates, workers=workers)
    n = sum(energy is not None for part in relaxed.energies for energy in part)
    matched = [
        (one.structural is not None, other.structural is not None)
        for one, other in zip(before, after, strict=True)
    ]
    report = summarise(after, formulas) | {
        "before_relaxing": summarise(before, formulas),
        "relaxation": {
            "potential": label,
            "n": n,
            "n_converged": relaxed.n_converged,
            "n_not_relaxed": relaxed.n_not_relaxed,
            "steps_mean": round(relaxed.n_steps / max(1, n), 1),
            "seconds": round(relaxed.seconds, 1),
            "gained": matched.count((False, True)),
            "lost": matched.count((True, False)),
        },
    }
    if max(map(len, relaxed.candidates), default=0) > 1:
        for name, chosen in (
            ("lowest_energy", _lowest(relaxed)),
            ("first_sample", [part[:1] for part in relaxed.candidates]),
        ):
            rates = summarise(judge_all(references, chosen, workers=workers))
            report[name] = {key: rates[key] for key in ("match_rate", "rmse", "ci95", "n")}
    return report


def _lowest(relaxed: Relaxed) -> list[list[Structure | None]]:
    """Per reference the plausible candidate of lowest energy; any candidate where none qualifies."""
    chosen: list[list[Structure | None]] = []
    for part, energies in zip(relaxed.candidates, relaxed.energies, strict=True):
        order = sorted(
            range(len(part)),
            key=lambda i: (
                (structure := part[i]) is None or not check_structure(structure).plausible,
                float("inf") if energies[i] is None else energies[i],
            ),
        )
        chosen.append([part[order[0]]] if order else [None])
    return chosen


def compare_samplers(
    generator: Generator,
    references: Sequence[Reference],
    budgets: Sequence[tuple[str, int]],
    *,
    seed: int = 0,
    workers: int = 2,
    start_time: float | None = None,
    say: Say | None = None,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Match rate and RMSE of each sampler with so many network calls, all from the same seeds.

    Args:
        budgets: names of samplers, each with its network calls per crystal.
        keep: called with each row as soon as it is measured.

    Raises:
        RequestError: an unknown sampler or a number of calls out of range, told before the first is measured.
    """
    from crystal_core.generators.kldm.samplers import SamplerSettings

    plan = [
        (sampler, budget, budget // SamplerSettings(name=sampler).calls_per_step)
        for sampler, budget in budgets
    ]
    for sampler, _, steps in plan:
        GenerationRequest(compositions=((1,),), sampler=sampler, steps=steps)  # type: ignore[arg-type]
    rows = []
    for sampler, budget, steps in plan:
        drawn = draw_candidates(
            generator, references, sampler=sampler, steps=steps, seed=seed, start_time=start_time
        )
        report = summarise(judge_all([r.structure for r in references], drawn.candidates, workers=workers))
        row: dict[str, Any] = {
            "sampler": sampler,
            "budget": budget,
            "network_calls": drawn.calls_per_sample,
            "steps": steps,
        }
        row |= {key: report[key] for key in ("match_rate", "rmse", "n", "ci95")} | {
            "seconds": round(drawn.seconds, 1)
        }
        rows.append(row)
        if keep:
            keep(row)
        if say:
            say(
                f"{sampler} {drawn.calls_per_sample}: {100 * row['match_rate']:.1f} %, "
                f"RMSE {row['rmse']}, {row['seconds']} s"
            )
    return rows
