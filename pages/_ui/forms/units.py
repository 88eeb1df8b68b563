"""How many formula units fill the cell: the field, and whether the model can make such cells."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.chemistry.formula import Formula, default_z, parse_formula
from crystal_core.drawing.style import symbol_of
from crystal_core.errors import RequestError
from crystal_core.registry.store import find_card
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.prediction_plan import cells_of, draft_options
from crystal_core.workflows.training_range import known_to_both, names_in_use, note_on_sizes, refiner_card
from pages._ui.crystal.typeset import formula_text
from pages._ui.link.session import field, value_of
from pages._ui.text import escape_markdown

FREQUENT = 4  # as many formula units as crystals often have in their cell
EXACT = "Exact cell"  # the label of its toggle


def ask_units(formula: Formula, model: str) -> list[int]:
    """The numbers of formula units chosen.

    Empty where those most frequent in training are to run, which is said beneath.
    """
    key, usual, offered = units_of(formula, model)
    chosen: list[int] = field(
        st.pills,
        "Formula units per cell (Z)",
        sorted({*offered, *value_of(key, usual)}),
        selection_mode="multi",
        default=usual,
        key=key,
        help="Preselected: the values most frequent in training.",
    )
    sizes = ", ".join(str(z * formula.n_atoms) for z in sorted(chosen or usual))
    if not chosen and usual:
        st.caption(f"None chosen: Z = {', '.join(map(str, usual))} will run ({sizes} atoms).")
    elif sizes:
        st.caption(f"{sizes} atoms per cell")
    most = find_card(model).most_atoms
    largest = most // formula.n_atoms if most else FREQUENT
    if 0 < largest < FREQUENT and usual and max(chosen or usual) <= largest:
        st.caption(
            escape_markdown(
                f"Larger cells, of Z above {largest}, are left out: {model} was trained on at most {most} "
                "atoms. The true cell may be one."
            )
        )
    return chosen


def units_of(formula: Formula, model: str) -> tuple[str, list[int], list[int]]:
    """Key of the field of formula units, those chosen beforehand, and those offered.

    A model confined to some sizes of cell is offered no others, under a key of its own: what is chosen for
    one model may be out of another's reach.
    """
    key, upto_8 = f"z-{formula.reduced_formula}", list(range(1, 9))
    counts = find_card(model).sampling.get("atom_counts") if model else None
    usual = [z for z in default_z(formula, atom_counts=counts) if z in upto_8]
    return (f"{key}-{model}", usual, usual) if counts else (key, usual, upto_8)


def multiple_words(formulas: Sequence[Formula]) -> str:
    """How formulas that are multiples of a unit are read, and how to mean exact atoms; often empty."""
    multiples = [formula for formula in formulas if formula.counts != formula.unit]
    if not multiples:
        return ""
    sizes = [sum(n for _, n in formula.counts) for formula in multiples]
    units = [formula_text(formula.reduced_formula) for formula in multiples]
    each = [
        f"{formula_text(formula.text)} is {size // formula.n_atoms} × {unit}"
        for formula, size, unit in zip(multiples, sizes, units, strict=True)
    ]
    counted, atoms = (
        (units[0], f"these {sizes[0]} atoms")
        if len(multiples) == 1
        else ("the smaller unit", "the atoms typed")
    )
    return f"{', '.join(each)}, and Z counts {counted}; for exactly {atoms} switch on “{EXACT}”."


def within_reach(
    requests: Sequence[StructurePredictionRequest], model: str, models: Sequence[str]
) -> list[StructurePredictionRequest]:
    """The requests that can run.

    Messages name those that cannot, and those with larger cells than the model was trained on.

    Args:
        models: those that the form offers, to name one that knows what ``model`` does not.
    """
    card = find_card(model)
    most, possible = card.most_atoms, []
    for request in requests:
        of = f"{request.formula}: " if len(requests) > 1 else ""
        try:
            _check_elements(request, card, models)
            sizes = {
                z: len(atoms) for z, atoms in cells_of(request, card.sampling.get("atom_counts")).items()
            }
        except RequestError as error:
            st.warning(escape_markdown(f"{of}{error}"))
            continue
        possible.append(request)
        beyond = [
            f"{n} atoms" + ("" if request.exact_cell else f" for Z = {z}")
            for z, n in sizes.items()
            if most and n > most
        ]
        if beyond:
            larger = f"Larger ones ({', '.join(beyond)}) take longer and are a guess."
            st.warning(escape_markdown(f"{of}{model} was trained on cells of up to {most} atoms. {larger}"))
        refiner = None if request.refiner is None else refiner_card(card, draft_options(request))
        if refiner is not None and (note := note_on_sizes([refiner], sizes.values())):
            st.warning(escape_markdown(f"{of}{note}"))
    return possible


def _check_elements(request: StructurePredictionRequest, card: ModelCard, models: Sequence[str]) -> None:
    """Raise RequestError if the card lacks an element of the formula, naming one of ``models`` with it."""
    numbers, options = set(parse_formula(request.formula).atomic_numbers_of(1)), draft_options(request)
    lacking = ", ".join(
        symbol_of(z) for z in sorted(numbers - set(known_to_both(card.elements, card, options)))
    )
    if not lacking:
        return
    able = next(
        (
            name
            for name in models
            if numbers <= set(find_card(name).elements) and _fits(replace(request, model=name))
        ),
        None,
    )
    instead = f"choose {able}" if able else "no other model in the list can make this cell either"
    name = names_in_use(card, options)
    raise RequestError(f"{name} was not trained on {lacking}, so it cannot place it; {instead}.")


def _fits(request: StructurePredictionRequest) -> bool:
    """Whether the model of the request knows cells of its size."""
    with suppress(RequestError):
        return bool(cells_of(request, find_card(request.model).sampling.get("atom_counts")))
    return False
