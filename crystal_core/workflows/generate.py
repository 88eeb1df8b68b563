"""New crystals from a de novo model: plan the cells of a request, sample them in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from crystal_core.conditions import DraftOptions
from crystal_core.errors import RequestError
from crystal_core.frames import RunUpdate
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import CrystalGenerationRequest, from_json, seed_or_drawn
from crystal_core.workflows.cell_plan import (
    Cells,
    allowed_elements,
    note_on_alternatives,
    note_on_formula,
    notes_on_sizes,
    plan_cells,
)
from crystal_core.workflows.generation_conditions import check_conditions
from crystal_core.workflows.generation_run import GenerationRun
from crystal_core.workflows.redraft import plan_redrafts
from crystal_core.workflows.sampling_run import BATCH, with_back_end
from crystal_core.workflows.training_range import known_to_both, names_in_use

if TYPE_CHECKING:
    from crystal_core.protocols import DeNovoGenerator


@lru_cache(maxsize=2)
def load_de_novo(name: str, device: str) -> DeNovoGenerator:
    """A model that invents compositions.

    Raises:
        RequestError: it needs a formula. CheckpointMissing: it is not installed.
    """
    card = find_card(name)
    if card.task != "de novo generation":
        raise RequestError(
            f"{name} needs a formula and invents no composition; use it with 'predict-structure', "
            "or choose a de novo model here."
        )
    return cast("DeNovoGenerator", load_generator(name, device))


def run(request: CrystalGenerationRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Work through a request; every update tells the stage, and with each finished batch the result so far.

    Raises:
        RequestError: an option is wrong. CheckpointMissing: the model is not installed.
    """
    state, batches = _planned(from_json(CrystalGenerationRequest, request))
    for part, batch in enumerate(batches):
        yield from state.part(part, batch)
    yield RunUpdate(stage="done", step=state.total, n_steps=state.total, result=state.result())


def check(request: CrystalGenerationRequest) -> None:
    """Raise what :func:`run` would raise before it samples anything."""
    _planned(request)


def notes_on_given(request: CrystalGenerationRequest) -> list[str]:
    """What the crystals of the request's own do not hold of their files."""
    given = filter(None, (request.fix, request.start_from))
    return [note for cell in given for note in cell.get("notes", ())]


def _planned(request: CrystalGenerationRequest) -> tuple[GenerationRun, list[Cells]]:
    """A run before its first batch, and the cells of each batch."""
    from crystal_core.device import use_threads

    model = with_back_end(load_de_novo(request.model, request.device), request.back_end)
    request = replace(request, seed=seed_or_drawn(request.seed))
    check_conditions(request, model.card)
    options = DraftOptions(**request.draft_fields)
    known = known_to_both(model.elements, model.card, options)
    elements = allowed_elements(request, known, names_in_use(model.card, options))
    notes = [
        *notes_on_given(request),
        notes_on_sizes(request, model.card, model.atom_count_frequencies),
        note_on_alternatives(request, known),
        note_on_formula(request.formula),
    ]
    use_threads(request.threads)
    redrafts = None
    if request.start_from is None:
        cells = plan_cells(request, model)
    else:
        redrafts = plan_redrafts(request, model, elements, request.seed or 0)
        counts = tuple(len(start.crystal.atomic_numbers) for start in redrafts.starts)
        cells = Cells(counts=counts, starts=redrafts.starts)
    size = getattr(model, "batch_crystals", BATCH[getattr(getattr(model, "device", None), "type", "cpu")])
    batches = [cells[i : i + size] for i in range(0, len(cells.counts), size)]
    state = GenerationRun(
        request, model, elements, len(batches), cells.symmetry, list(filter(None, notes)), redrafts
    )
    return state, batches
