"""The crystals of each column of a comparison: sampled from one seed for all columns, or given."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from crystal_core.conditions import DraftOptions, check_declared
from crystal_core.errors import RequestError
from crystal_core.files.records import structure_from_record
from crystal_core.frames import Frame, RunUpdate
from crystal_core.requests import GenerationRequest
from crystal_core.structures import to_structures
from crystal_core.workflows.compare.request import LETTERS, ComparisonRequest, GivenColumn, ModelColumn
from crystal_core.workflows.compare.targets import Target
from crystal_core.workflows.prediction_plan import load_structure_generator
from crystal_core.workflows.sampling_run import (
    PART_STEPS,
    check_tuning,
    last_frame,
    library_versions,
    path_for_player,
    provenance,
    sampled,
    sampler_used,
    with_back_end,
    with_tuning_in_use,
)
from crystal_core.workflows.training_range import (
    note_on_sizes,
    refiner_card,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.crystal import CrystalBatch
    from crystal_core.protocols import Generator as StructureGenerator
    from crystal_core.records import EnergyRecord, Provenance, Snapshot

# crystals of one batch: the same on every device and in every column, because the noise of a batch
# is drawn at once
CHUNK = 16
KEPT_PATHS = 3  # samples of the first target whose path is kept


@dataclass(kw_only=True)
class Slot:
    """A place for one sample of a target; ``structure`` is None where no crystal came of it."""

    target: int | None
    sample: int | None
    structure: Structure | None
    energies: EnergyRecord | None = None


@dataclass(kw_only=True)
class DrawnColumn:
    """A column and its crystals, targets in order, samples of each in order.

    Attributes:
        network_calls: per crystal; None where they were not counted.
        seconds: of sampling alone; None as before.
    """

    letter: str
    name: str
    source: str
    settings: dict[str, Any]
    made_by: Provenance
    slots: list[Slot] = field(default_factory=list)
    seconds: float | None = None
    network_calls: float | None = None
    peak_memory_mb: float | None = None


def load_column(column: ModelColumn, device: str) -> StructureGenerator:
    """The model of a column, checked before anything is sampled.

    Raises:
        RequestError: it cannot take a setting.
        CheckpointMissing: it is not installed.
    """
    model = with_back_end(load_structure_generator(column.model, device), column.back_end)
    check_declared(model.card, (), DraftOptions(**column.draft_fields))
    if column.start == "prototype" and model.card.writes_drafts:
        raise RequestError(
            f"{column.model} writes its own drafts and cannot start from a prototype; leave start out."
        )
    request = _request(column, ((1,),), seed=0)
    check_tuning(column.model, model, column.tuning_request, [request])
    return model


def note_on_column(column: ModelColumn, model: StructureGenerator, targets: Sequence[Target]) -> str | None:
    """A note on targets larger or smaller than the training cells of a column's models; None within them."""
    refiner = (
        None if column.refiner is None else refiner_card(model.card, DraftOptions(**column.draft_fields))
    )
    cards = [one for one in (model.card, refiner) if one is not None]
    return note_on_sizes(cards, {len(target.atomic_numbers) for target in targets})


def n_parts(n_targets: int, n: int) -> int:
    """Batches of one column."""
    return -(-n_targets * n // CHUNK)


def draw_column(
    column: ModelColumn,
    model: StructureGenerator,
    targets: Sequence[Target],
    request: ComparisonRequest,
    *,
    letter: str,
    name: str,
    first_part: int,
    n_steps: int,
) -> Generator[RunUpdate, None, DrawnColumn]:
    """Sample a column batch by batch; returns its crystals.

    The seed of a batch is that of the request plus the number of its first crystal, and the
    same in every column.
    """
    places = [(t, k) for t in range(len(targets)) for k in range(request.n)]
    compositions = [targets[t].atomic_numbers for t, _ in places]
    starts = (
        _prototypes(compositions) if column.start == "prototype" and column.model != "prototype" else None
    )
    drawn = _new_column(column, model, request, letter, name)
    began, calls, memory = time.monotonic(), 0, _MemoryGauge(model)
    for part, first in enumerate(range(0, len(places), CHUNK)):
        chosen = range(first, min(first + CHUNK, len(places)))
        usable = [i for i in chosen if starts is None or starts[i] is not None]
        structures: dict[int, Structure | None] = {}
        if usable:
            chunk_request = _request(
                column,
                tuple(compositions[i] if starts is None else _numbers_of(starts[i]) for i in usable),
                seed=(request.seed or 0) + first,
                frame_every=1 if first == 0 else 10,
                start=None if starts is None else _joined([starts[i] for i in usable]),
                start_time=None if starts is None else getattr(model, "start_time", None),
            )
            frame, paths = yield from sampled(
                model,
                with_tuning_in_use(model, chunk_request),
                stage=f"{letter}: {name}, crystals {chosen[0] + 1} to {chosen[-1] + 1} of {len(places)}",
                part=first_part + part,
                n_steps=n_steps,
                watched=min(KEPT_PATHS, request.n, len(usable)) if first == 0 else 1,
            )
            if frame is not None and frame.crystals is not None:
                structures = dict(zip(usable, to_structures(frame.crystals), strict=True))
            calls = max(calls, getattr(model, "network_calls", 0))
            if first == 0:
                yield from _paths(
                    letter, name, paths, usable, first_part + part, n_steps, keep=request.keep_trajectory
                )
        drawn.slots += [
            Slot(target=places[i][0], sample=places[i][1], structure=structures.get(i)) for i in chosen
        ]
    drawn.seconds, drawn.network_calls = round(time.monotonic() - began, 3), float(calls)
    drawn.peak_memory_mb = memory.peak()
    return drawn


def _new_column(
    column: ModelColumn, model: StructureGenerator, request: ComparisonRequest, letter: str, name: str
) -> DrawnColumn:
    used = sampler_used(model, with_tuning_in_use(model, _request(column, ((1,),), seed=0)))
    settings: dict[str, Any] = {"model": column.model}
    settings |= {} if model.card.writes_drafts else {"start": column.start}
    settings |= {key.removesuffix("_used"): value for key, value in used.items()}
    settings |= column.draft_values
    made_by = provenance(column.model, model, seed=request.seed, settings=settings)
    return DrawnColumn(letter=letter, name=name, source="model", settings=settings, made_by=made_by)


def _request(
    column: ModelColumn,
    compositions: tuple[tuple[int, ...], ...],
    *,
    seed: int,
    frame_every: int = 10,
    start: CrystalBatch | None = None,
    start_time: float | None = None,
) -> GenerationRequest:
    return GenerationRequest(
        compositions=compositions,
        sampler=column.sampler,
        steps=column.steps,
        seed=seed,
        frame_every=frame_every,
        start=start,
        start_time=start_time if start is not None else None,
        draft=DraftOptions(**column.draft_fields),
        **column.tuning_fields,
    )


def _prototypes(compositions: Sequence[tuple[int, ...]]) -> list[CrystalBatch | None]:
    """The k-th likeliest known prototype for the k-th sample of each composition; None without one."""
    placed: Frame = last_frame(
        load_structure_generator("prototype", "cpu"), GenerationRequest(compositions=tuple(compositions))
    )
    if placed.crystals is None:
        return [None] * len(compositions)
    usable = to_structures(placed.crystals)
    return [c if s is not None else None for c, s in zip(placed.crystals, usable, strict=True)]


def _numbers_of(start: CrystalBatch | None) -> tuple[int, ...]:
    return tuple(cast("CrystalBatch", start).atomic_numbers.tolist())


def _joined(starts: Sequence[CrystalBatch | None]) -> CrystalBatch:
    from crystal_core.crystal import CrystalBatch

    return CrystalBatch.concat([start for start in starts if start is not None])


def _paths(
    letter: str,
    name: str,
    paths: Sequence[list[Snapshot]],
    usable: Sequence[int],
    part: int,
    n_steps: int,
    *,
    keep: bool,
) -> Iterator[RunUpdate]:
    """An update for the path of each watched sample that moves."""
    for place, frames in zip(usable, paths, strict=False):
        path = path_for_player(path_label(letter, place), frames, keep=keep)
        if path is not None:
            yield RunUpdate(
                stage=f"{letter}: {name}", step=PART_STEPS * (part + 1), n_steps=n_steps, trajectory=path
            )


def path_label(letter: str, sample: int) -> str:
    """The label of a sample's path (counted from 0) for the first target."""
    return f"{letter} · sample {sample + 1}"


def given_column(column: GivenColumn, targets: Sequence[Target], *, letter: str, name: str) -> DrawnColumn:
    """A column of existing crystals; those without a target take the one of their formula, if any."""
    by_formula = {target.formula: i for i, target in reversed([*enumerate(targets)])}
    slots = []
    for crystal in column.crystals:
        structure = structure_from_record(crystal) if len(crystal["lattice"]) else None
        target = crystal.get("target")
        if target is None and structure is not None:
            target = by_formula.get(structure.composition.reduced_formula)
        slots.append(
            Slot(
                target=target,
                sample=crystal.get("sample"),
                structure=structure,
                energies=crystal.get("energies"),
            )
        )
    settings = dict(column.settings or {})
    made_by: Provenance = {
        "model": str(settings.get("model", column.source)),
        "version": "",
        "settings": settings,
        "device": "cpu",
        "libraries": library_versions(),
        "note": f"Given to the comparison as {column.source}.",
    }
    return DrawnColumn(
        letter=letter,
        name=name,
        source=column.source,
        settings=settings,
        made_by=made_by,
        slots=slots,
        seconds=column.seconds,
        network_calls=column.network_calls,
    )


def letters(n: int) -> str:
    """One letter per column."""
    return LETTERS[:n]


class _MemoryGauge:
    """The most memory of the device that sampling held; nothing on a CPU."""

    def __init__(self, model: Any) -> None:
        self.on = getattr(getattr(model, "device", None), "type", "cpu") == "cuda"
        if self.on:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float | None:
        if not self.on:
            return None
        import torch

        return round(torch.cuda.max_memory_allocated() / 1e6, 1)


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Setting → its value in each column (None where absent), only for settings that differ."""
    names = dict.fromkeys(name for one in settings for name in one)
    by_name = {name: [one.get(name) for one in settings] for name in names}
    return {name: values for name, values in by_name.items() if any(v != values[0] for v in values)}
