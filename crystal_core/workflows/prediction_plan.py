"""The plan of a structure prediction: cells, starts and parts, checked against the abilities of the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, cast

from crystal_core.chemistry.formula import default_z, parse_formula
from crystal_core.conditions import CARD_DRAFT, DraftOptions
from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.registry.store import find_card, load_generator
from crystal_core.requests import MAX_ATOMS, GenerationRequest, StructurePredictionRequest
from crystal_core.workflows.sampling_run import check_tuning, with_back_end
from crystal_core.workflows.training_range import (
    known_to_both,
    names_in_use,
    note_on_sizes,
    refiner_card,
)

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.generators.prototype.generator import PrototypeGenerator
    from crystal_core.protocols import Generator
    from crystal_core.records import Origin

DRAFTED: tuple[Origin, ...] = ("draft", "draft refined")  # origins that a language model writes
MOST_PROTOTYPES = 5  # per Z: more distant prototypes rarely add a match
DRAFTER = "crysllmgen-mp"  # writes drafts for models that write none
# per Z: ranks within which known crystals of this composition count besides
MOST_KNOWN = 12


@lru_cache(maxsize=4)
def load_structure_generator(name: str, device: str) -> Generator:
    """A model that places the atoms of a given composition.

    Raises:
        RequestError: it chooses its own elements. CheckpointMissing: it is not installed.
    """
    card = find_card(name)
    if card.task == "de novo generation" and "composition" not in card.conditions:
        raise RequestError(
            f"{name} chooses its own elements and takes no formula; use it with 'generate', "
            "or choose another model here."
        )
    return cast("Generator", load_generator(name, device))


def has_prototypes() -> bool:
    """Whether the table of known prototypes is installed."""
    try:
        find_card("prototype")
    except CheckpointMissing:
        return False
    return True


def cells_of(
    request: StructurePredictionRequest, atom_counts: Collection[int] | None
) -> dict[int, tuple[int, ...]]:
    """Formula units → atomic numbers of the cell, for each cell that a run of the request makes.

    Args:
        atom_counts: the only sizes of cell that the model was trained on, where its card names them.

    Raises:
        RequestError: a cell is of no such size, or too large for any model; or no number
            of formula units fits.
    """
    formula = parse_formula(request.formula)
    if request.exact_cell:
        cells = {1: tuple(formula.atomic_numbers_of(1, exact=True))}
    else:
        cells = {
            z: tuple(formula.atomic_numbers_of(z))
            for z in request.z or default_z(formula, atom_counts=atom_counts)
        }
    for z, atoms in cells.items():
        cell, smaller = (
            ("The formula", "a smaller cell") if request.exact_cell else (f"Z = {z}", "a smaller Z")
        )
        if atom_counts and len(atoms) not in atom_counts:
            raise RequestError(
                f"{request.model} knows cells of {_join(atom_counts)} atoms, but {cell} makes {len(atoms)}. "
                "Choose another model or Z."
            )
        if len(atoms) > MAX_ATOMS:
            raise RequestError(
                f"{cell} makes a cell of {len(atoms)} atoms; the models end at {MAX_ATOMS}. Choose {smaller}."
            )
    if not cells:
        sizes = f"cells of {_join(atom_counts)} atoms" if atom_counts else "cells of up to 20 atoms"
        raise RequestError(
            f"No number of formula units of {request.formula} fits {request.model} ({sizes}); "
            "choose another model or set Z."
        )
    return cells


def check_tuning_of(request: StructurePredictionRequest, model: Generator) -> None:
    """Raise RequestError where a value of the tuning changes nothing, neither from noise nor in refining."""
    import torch

    from crystal_core.crystal import CrystalBatch

    cell = CrystalBatch(
        atomic_numbers=torch.tensor([1]),
        frac_coords=torch.zeros(1, 3),
        lattice=torch.eye(3)[None],
        n_atoms=torch.tensor([1]),
    )
    noise = GenerationRequest(
        compositions=((1,),),
        sampler=request.sampler,
        steps=request.steps,
        draft=draft_options(request) if model.card.writes_drafts else CARD_DRAFT,
        **request.tuning_fields,
    )
    refined = replace(noise, start=cell, start_time=1.0)
    kinds = {"noise": [noise], "prototype": [refined]}.get(request.start, [noise, refined])
    check_tuning(request.model, model, request, kinds)


def draft_options(request: StructurePredictionRequest) -> DraftOptions:
    """The options of drafting and refinement."""
    return DraftOptions(**request.draft_fields)


def drafter_of(request: StructurePredictionRequest, model: Generator) -> Generator | None:
    """The generator of a run's drafts: the model, or one that it refines; None without drafts.

    Raises:
        CheckpointMissing: drafts are requested, and no language model is installed.
    """
    if not model.card.writes_drafts:
        if request.start not in ("draft", "all"):
            return None
        model = load_structure_generator(DRAFTER, request.device)
    return with_back_end(model, request.back_end)


def cards_in_use(
    request: StructurePredictionRequest, card: ModelCard, drafter: ModelCard | None
) -> list[ModelCard]:
    """The cards of the models that work on the cells of a run: its own, the writer of drafts, the refiner.

    Raises:
        RequestError, CheckpointMissing: as :func:`refiner_card`.
    """
    options = refining_options(request, card, drafter)
    refiner = None if drafter is None else refiner_card(drafter, options)
    # a combined model stands for its own refiner
    own = drafter is card and options.refiner is None
    cards = {one.name: one for one in (card, drafter, None if own else refiner) if one is not None}
    return list(cards.values())


def refining_options(
    request: StructurePredictionRequest, card: ModelCard, drafter: ModelCard | None
) -> DraftOptions:
    """Options of the drafts: the model refines them, unless it writes them itself or cannot refine."""
    options = draft_options(request)
    if drafter is None or card.writes_drafts or card.name == "prototype" or options.refiner is not None:
        return options
    return replace(options, refiner=card.name)


def check_elements(request: StructurePredictionRequest, formula: Any, model: Generator) -> None:
    """Before the prototypes: they know every element, so a run would go well until the model's own part.

    Raises:
        RequestError: the model, or the refiner of its drafts, cannot place an element of the formula.
    """
    known = getattr(model, "elements", None)  # the prototypes name none
    if known is None:
        return
    name, options = request.model, draft_options(request)
    if model.card.writes_drafts:
        known = known_to_both(known, model.card, options)
        name = name if model.card.name != name else names_in_use(model.card, options)
    from pymatgen.core import Element

    lacking = [
        Element.from_Z(z).symbol for z in sorted(set(formula.atomic_numbers_of(1, exact=True)) - set(known))
    ]
    if lacking:
        raise RequestError(
            f"{name} does not know {', '.join(lacking)}, so it cannot place it; choose another "
            "model, for instance 'prototype'."
        )


def check_drafts(parts: Sequence[Part], cells: Mapping[int, Any], drafter: Any) -> None:
    """Before the prototypes, as :func:`check_elements`: whether the drafts of a run can be written.

    Raises:
        RequestError: a cell is larger than what the language model can write.
    """
    written = [len(cells[part.z]) for part in parts if part.origin in DRAFTED]
    most = drafter.back_end.max_atoms if written else 0
    if written and max(written) > most:
        raise RequestError(
            f"{drafter.card.name} writes cells of up to {most} atoms, not of {max(written)}; ask for a "
            "smaller cell or for candidates without drafts, such as --start prototype."
        )


def notes_on(
    request: StructurePredictionRequest,
    formula: Any,
    cells: Mapping[int, tuple[int, ...]],
    model: Generator,
    laid_out: Mapping[int, tuple[int, ...]] | None = None,
    drafter: Generator | None = None,
) -> list[str]:
    """Notes on the cells, before their structures.

    Args:
        drafter: writes the drafts, None without any.
        laid_out: formula units → atomic numbers of the cells of known crystals and prototypes.
    """
    notes = [formula.note] if formula.note else []
    if not request.exact_cell and formula.counts != formula.unit:
        notes.append(
            f"{request.formula} is a multiple of {formula.reduced_formula}, and Z counts "
            f"{formula.reduced_formula}; to mean exactly these atoms, ask for the exact cell."
        )
    cards = cards_in_use(request, model.card, None if drafter is None else drafter.card)
    notes += filter(None, [note_on_sizes(cards, {len(atoms) for atoms in cells.values()})])
    alone = sorted({len(atoms) for z, atoms in (laid_out or {}).items() if z not in cells})
    if alone and request.model != "prototype":
        notes.append(
            f"{request.model} samples cells of {_join(sorted(map(len, cells.values())))} atoms; "
            f"cells of {_join(alone)} atoms come from known crystals and prototypes alone."
        )
    return notes


@dataclass(frozen=True, kw_only=True)
class Part:
    """Samples drawn together: ``n`` of one origin and Z from ``first``; ``place`` counts for the seed."""

    place: int
    z: int
    origin: Origin
    first: int
    n: int


def origins_of(request: StructurePredictionRequest, model: Generator) -> list[Origin]:
    """The origins of a run's candidates, in the order in which they are made."""
    by_start: dict[str, list[Origin]] = {
        "noise": ["noise"],
        "prototype": ["prototype", "prototype refined"],
        "both": ["prototype", "noise", "prototype refined"],
        "draft": ["draft refined"],
        "all": ["prototype", "noise", "draft refined", "prototype refined"],
    }
    origins = by_start[request.start]
    if request.model == "prototype":
        return ["prototype", *(origin for origin in origins if origin == "draft refined")]
    if not model.card.writes_drafts:
        return origins
    own: Any = model
    refines = hasattr(own, "refinement") and own.refinement(draft_options(request)) is not None
    written: Origin = "draft refined" if refines else "draft"
    origins = [written if origin in ("noise", "draft refined") else origin for origin in origins]
    return [o for o in dict.fromkeys(origins) if refines or o != "prototype refined"]


def plan_parts(
    request: StructurePredictionRequest,
    cells: Mapping[int, Any],
    batch: int,
    model: Generator,
    *,
    laid_out: bool = False,
) -> list[Part]:
    """The parts of a run, in order: for each origin and Z by batch size, known prototypes together.

    Args:
        laid_out: the prototypes of all Z are there already, so no part makes them.
    """
    origins = origins_of(request, model)
    parts = []
    for place, (origin, z) in enumerate(product(origins, cells)):
        if origin == "prototype" and laid_out:
            continue
        # in one part: repeated compositions of a request get the next best prototypes
        if origin == "prototype":
            known = cast(
                "PrototypeGenerator", load_structure_generator("prototype", "cpu")
            ).index.reach_of_known(cells[z], MOST_KNOWN)
            parts.append(
                Part(
                    place=place,
                    z=z,
                    origin=origin,
                    first=0,
                    n=max(known, min(request.n_samples, MOST_PROTOTYPES)),
                )
            )
            continue
        n = request.n_samples
        parts += [
            Part(place=place, z=z, origin=origin, first=first, n=min(batch, n - first))
            for first in range(0, n, batch)
        ]
    return parts


def _join(counts: Collection[int]) -> str:
    return ", ".join(map(str, counts))
