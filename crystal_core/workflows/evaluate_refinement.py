"""Where a refiner best begins with a draft: match rate by start and time, on rows of known crystals.

The published work names a start time per data set and no table (Khastagir et al. 2025, CrysLLMGen). All rows
of the table refine the same drafts, so they differ by the refinement alone.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import DraftOptions
from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.evaluation.matching import judge_all, summarise
from crystal_core.evaluation.validity import check_structure
from crystal_core.relax.potential import load_potential
from crystal_core.requests import GenerationRequest
from crystal_core.structures import from_structures, niggli_reduced, to_structures
from crystal_core.workflows.sampling_run import last_frame

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.relax.potential import Potential
    from crystal_core.workflows.references import Reference

CHUNK = 64  # crystals of one batch: part of the protocol, because the noise of a batch is drawn at once
SOURCES = ("drafts", "rows")
Progress = Callable[[str, int, int], None]  # what, finished, of


@dataclass(frozen=True, kw_only=True)
class Begin:
    """How the refiner begins: draft (not at all), noise, inject or renoise, the latter at (0, 1]."""

    start: str
    time: float | None = None

    @property
    def words(self) -> str:
        """For a progress line or a table."""
        return self.start if self.time is None else f"{self.start} {self.time:g}"


@dataclass(kw_only=True)
class Drafts:
    """One draft per requested crystal, None where none could be written; network_calls per draft."""

    structures: list[Structure | None] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    network_calls: int = 0


def grid(starts: Sequence[str], times: Sequence[float]) -> list[Begin]:
    """The rows of a table: the drafts themselves, from noise, then every start at every time.

    Raises:
        RequestError: an unknown start, or a time outside (0, 1].
    """
    for start in starts:
        if start not in ("inject", "renoise"):
            raise RequestError(f"A refiner begins with inject or renoise, not '{start}'.")
    for t in times:
        if not 0 < t <= 1:
            raise RequestError(f"A start time lies in (0, 1], not {t:g}.")
    return [
        Begin(start="draft"),
        Begin(start="noise"),
        *(Begin(start=start, time=t) for start in starts for t in times),
    ]


def write_drafts(
    model: Any,
    compositions: Sequence[tuple[int, ...]],
    *,
    options: DraftOptions,
    seed: int,
    on_progress: Progress | None = None,
) -> Drafts:
    """Drafts of the language model for compositions, the atoms in their order."""
    written = Drafts()
    only = DraftOptions(temperature=options.temperature, top_p=options.top_p)
    for first in range(0, len(compositions), CHUNK):
        request = GenerationRequest(
            compositions=tuple(compositions[first : first + CHUNK]),
            seed=seed + first,
            frame_every=5000,
            draft=only,
        )
        frame = last_frame(model.drafter, request)
        assert frame.crystals is not None
        written.structures += to_structures(frame.crystals)
        written.rejected.update(frame.rejected)
        written.network_calls = max(written.network_calls, model.drafter.network_calls)
        if on_progress:
            on_progress("drafts", len(written.structures), len(compositions))
    return written


def as_text(structures: Sequence[Structure]) -> Drafts:
    """Known crystals rounded as their text rounds them: drafts that are right."""
    from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, from_lines, to_lines

    lines = to_lines(GridCrystals.from_crystals(from_structures(structures)))
    return Drafts(structures=[to_structures(from_lines(text))[0] for text in lines])


def refine_drafts(
    model: Any,
    drafts: Sequence[Structure | None],
    begin: Begin,
    *,
    refiner: str | None = None,
    sampler: str = "fast",
    steps: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> tuple[list[Structure | None], int]:
    """The drafts refined, and the network calls of each; a missing draft stays missing.

    Args:
        refiner: as on the command line; None takes the card's.
    """
    if begin.start == "draft":
        return list(drafts), 0
    refinement = model.refinement(DraftOptions(refiner=refiner))
    if refinement is None:
        raise RequestError("Nothing is refined without a refiner; name one.")
    generator = model.refiner(refinement.model)
    crystals: list[Structure | None] = list(drafts)
    whole = [i for i, structure in enumerate(drafts) if structure is not None]
    calls = 0
    for first in range(0, len(whole), CHUNK):
        places = whole[first : first + CHUNK]
        start: CrystalBatch = from_structures(
            [niggli_reduced(structure) for i in places if (structure := drafts[i]) is not None]
        )
        options: dict[str, Any] = {"sampler": sampler, "steps": steps, "seed": seed + first}
        if begin.time is not None:
            options |= {"start": start, "start_time": begin.time, "start_kind": begin.start}
        compositions = tuple(tuple(crystal.atomic_numbers.tolist()) for crystal in start)
        request = GenerationRequest(compositions=compositions, frame_every=5000, **options)
        frame = last_frame(generator, request)
        assert frame.crystals is not None
        for i, structure in zip(places, to_structures(frame.crystals), strict=True):
            crystals[i] = structure
        calls = getattr(generator, "network_calls", 0)
        if on_progress:
            on_progress(begin.words, first + len(places), len(whole))
    return crystals, calls


def evaluate_refinement(
    model: Any,
    references: Sequence[Reference],
    begins: Sequence[Begin],
    *,
    source: str = "drafts",
    refiner: str | None = None,
    sampler: str = "fast",
    steps: int | None = None,
    options: DraftOptions | None = None,
    seed: int = 0,
    energies: bool = False,
    workers: int = 1,
    on_progress: Progress | None = None,
) -> Iterator[dict[str, Any]]:
    """One table row after another: start, start_time, match_rate, rmse, ci95, n, validity, seconds.

    Args:
        energies: also the median of CHGNet's energy above the known crystal's, both as they stand.
        source: "drafts" refines what the language model writes for the formulas of the rows; "rows"
            the known crystals themselves, rounded as their text, which tells how much of a right
            draft a refinement loses.
    """
    known = [reference.structure for reference in references]
    if source == "rows":
        drafts = as_text(known)
    else:
        cells = [reference.atomic_numbers for reference in references]
        drafts = write_drafts(
            model, cells, options=options or DraftOptions(), seed=seed, on_progress=on_progress
        )
    potential = load_potential() if energies else None
    lowest = [_energy(potential, structure) for structure in known] if potential else []
    for begin in begins:
        began = time.monotonic()
        refined, calls = refine_drafts(
            model,
            drafts.structures,
            begin,
            refiner=refiner,
            sampler=sampler,
            steps=steps,
            seed=seed,
            on_progress=on_progress,
        )
        seconds = time.monotonic() - began
        report = summarise(judge_all(known, [[one] for one in refined], workers=workers))
        yield {
            "start": begin.start,
            "start_time": begin.time,
            **{key: report[key] for key in ("match_rate", "rmse", "ci95", "n", "n_failed")},
            **_sound(refined),
            **(_above(potential, refined, lowest) if potential else {}),
            "network_calls": drafts.network_calls + calls,
            "seconds": round(seconds, 1),
        }


def _sound(structures: Sequence[Structure | None]) -> dict[str, float]:
    """Shares of crystals that pass the published check of distances, and ours; a missing one passes none."""
    checks = [check_structure(structure) for structure in structures if structure is not None]
    n = max(1, len(structures))
    return {
        "structure_valid": round(sum(check.structure for check in checks) / n, 4),
        "plausible": round(sum(check.plausible for check in checks) / n, 4),
    }


def _energy(potential: Potential, structure: Structure | None) -> float | None:
    """Energy of a cell as it stands, eV/atom; None where there is none."""
    if structure is None:
        return None
    try:
        return float(potential.predict(structure, "e")["e"])
    except RelaxationFailed:
        return None


def _above(
    potential: Potential, refined: Sequence[Structure | None], known: Sequence[float | None]
) -> dict[str, Any]:
    """Median of the energies above those of the known crystals, eV/atom, and of how many crystals."""
    above = [
        energy - of_known
        for structure, of_known in zip(refined, known, strict=True)
        if of_known is not None and (energy := _energy(potential, structure)) is not None
    ]
    return {
        "energy_above_known": round(statistics.median(above), 4) if above else None,
        "n_energies": len(above),
    }


def best_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of an injected or renoised start with the highest match rate, of equals the lowest RMSE."""
    begun = [row for row in rows if row["start_time"] is not None]
    return min(begun, key=lambda row: (-row["match_rate"], row["rmse"] or 1.0), default=None)
