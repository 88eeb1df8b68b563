"""The prompt conditions of a generation: cells and conditions of each, drawn from the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from crystal_core.cards import ModelCard
from crystal_core.chemistry.alternatives import in_words
from crystal_core.chemistry.formula import atomic_number_of, default_z, parse_formula
from crystal_core.conditions import PROPERTIES, SPACE_GROUPS, WORDS, Conditions, check_declared
from crystal_core.errors import RequestError
from crystal_core.registry.property_cards import declared_properties, is_installed
from crystal_core.requests import CrystalGenerationRequest, PropertyPredictionRequest

How = Literal["prompt", "guided", "kept"]  # "prompt": the model was trained with it
DIFFUSION_ONLY = {  # request field that no model with a prompt takes → the missing ability in words
    "fix": "keep parts of a structure",
    "density": "be guided towards a density",
}
# condition → property that a predictor guides towards, for models without a prompt
GUIDED = {
    "formation_energy": "formation_energy_per_atom_ev",
    "band_gap": "band_gap_ev",
    "e_above_hull": "e_above_hull_ev",
}
PREDICTOR = PropertyPredictionRequest.model  # its default


@dataclass(frozen=True, kw_only=True)
class PlannedCrystal:
    """One crystal of a generation. least, most: its atoms."""

    least: int
    most: int
    conditions: Conditions


def conditions_of(request: CrystalGenerationRequest) -> tuple[str, ...]:
    """Names in :data:`crystal_core.conditions.WORDS` that a request sets and that need a prompt."""
    given = {
        "composition": request.formula,
        "crystal_system": request.crystal_system,
        "formation_energy": request.formation_energy,
        "band_gap": request.band_gap,
        "e_above_hull": request.e_above_hull,
    }
    return tuple(name for name in WORDS if given.get(name) is not None)


def check_conditions(request: CrystalGenerationRequest, card: ModelCard) -> None:
    """Check that the model can take the conditions and drafting options of a request.

    Raises:
        RequestError: it cannot.
    """
    named = conditions_of(request)
    if not card.writes_drafts:
        guided = guided_properties(request, card)
        named = tuple(name for name in named if name not in guided)
        if not card.keeps_parts and (
            request.fix or request.space_group is not None or request.demands_elements
        ):
            raise RequestError(
                f"{card.name} cannot keep parts of a structure, a space group or elements that every crystal "
                "holds; leave them out or choose kldm-dng-mp."
            )
        if request.space_group is not None and request.demands_elements:
            held = ", ".join([*request.must_hold, *in_words(request.any_of)])
            raise RequestError(
                f"{card.name} keeps a space group or makes every crystal hold {held}, not both; "
                "leave one of the two out or choose a language model."
            )
    if card.writes_drafts:
        if request.guidance is not None:
            raise RequestError(
                f"{card.name} reads targets in its prompt and is not guided, so guidance would change "
                "nothing; leave it out."
            )
        named += ("space_group",) if request.space_group is not None else ()
        named += tuple(name for name, numbers in _required(request).items() if numbers)
        for name, what in DIFFUSION_ONLY.items():
            if getattr(request, name) is not None:
                raise RequestError(f"{card.name} cannot {what}; leave it out or choose a KLDM model.")
    check_declared(card, named, request)


def guided_properties(request: CrystalGenerationRequest, card: ModelCard) -> dict[str, tuple[str, float]]:
    """Conditions that a predictor can guide a diffusion model to → property name and target.

    Empty where no predictor is installed; a condition that the model itself takes is not among them.
    """
    targets = {
        name: (GUIDED[name], getattr(request, name))
        for name in GUIDED
        if getattr(request, name) is not None and name not in card.conditions
    }
    if not targets or not is_installed(PREDICTOR):
        return {}
    known = {spec.name for spec in declared_properties(PREDICTOR)}
    return {name: target for name, target in targets.items() if target[0] in known}


def possible_conditions(card: ModelCard) -> dict[str, How]:
    """Fields of a generation that a model takes → how: prompt, guidance, or kept by operations."""
    if card.writes_drafts:
        fields = {"composition": "formula", "space_group": "space_group", "crystal_system": "crystal_system"}
        fields |= {name: name for name in ("band_gap", "formation_energy", "e_above_hull")}
        return {field: "prompt" for name, field in fields.items() if name in card.conditions}
    known = {spec.name for spec in declared_properties(PREDICTOR)} if is_installed(PREDICTOR) else set()
    by_operations: dict[str, How] = {"space_group": "kept"} if card.keeps_parts else {}
    ways: dict[str, How] = {
        name: "prompt" if name in card.conditions else "guided"
        for name, label in GUIDED.items()
        if name in card.conditions or label in known
    }
    return {**by_operations, **ways, "density": "guided"}


def plan_crystals(
    request: CrystalGenerationRequest, card: ModelCard, *, frequencies: Mapping[int, float]
) -> list[PlannedCrystal]:
    """The crystals of a run: the conditions of each, and how many atoms it may have.

    The model chooses the number of atoms between the requested limits, or takes that of a training cell. A
    formula gives cells of several formula units, those most frequent in training. A crystal system gives its
    groups, as often as they occur in training. The first crystals do not depend on the number of crystals.

    Raises:
        RequestError: the formula or the group does not exist, or no cell of it has the requested atoms.
    """
    draw = random.Random(f"{request.seed} wishes")  # noqa: S311 (no secret)
    least, most = request.n_atoms or (1, max(frequencies, default=20))
    cells = _cells_of(request, least, most, card) if request.formula else []
    groups = _groups_of(request, card)
    crystals = []
    for _ in range(request.n):
        fixed: dict[str, Any] = _required(request) | {name: getattr(request, name) for name in PROPERTIES}
        if groups:
            fixed["space_group"] = draw.choices(list(groups), list(groups.values()))[0]
        if cells:
            cell = draw.choice(cells)
            crystals.append(
                PlannedCrystal(
                    least=cell.total(), most=cell.total(), conditions=Conditions(composition=cell, **fixed)
                )
            )
        else:
            crystals.append(PlannedCrystal(least=least, most=most, conditions=Conditions(**fixed)))
    return crystals


def crystals_of_counts(
    request: CrystalGenerationRequest, card: ModelCard, counts: list[int]
) -> tuple[PlannedCrystal, ...]:
    """The conditions of crystals of given sizes, for a conditional model without a prompt; else empty."""
    conditions = {name: getattr(request, name) for name in GUIDED if name in card.conditions}
    if all(value is None for value in conditions.values()):
        return ()
    return tuple(
        PlannedCrystal(least=count, most=count, conditions=Conditions(**conditions)) for count in counts
    )


def _required(request: CrystalGenerationRequest) -> dict[str, Any]:
    numbers = tuple(sorted(set(map(atomic_number_of, request.must_hold))))
    if request.elements and set(map(atomic_number_of, request.elements)) == set(numbers):
        return {"elements": numbers}  # one of each list of alternatives is among them
    return {"contain": numbers, "any_of": alternatives_of(request)}


def alternatives_of(request: CrystalGenerationRequest) -> tuple[tuple[int, ...], ...]:
    """The atomic numbers of each list of which every crystal holds at least one."""
    return tuple(tuple(dict.fromkeys(map(atomic_number_of, some))) for some in request.any_of)


def _cells_of(
    request: CrystalGenerationRequest, least: int, most: int, card: ModelCard
) -> list[Counter[int]]:
    formula = parse_formula(request.formula or "")
    if request.n_atoms is None:
        counts = default_z(formula, max_atoms=most)
    else:
        counts = tuple(z for z in range(1, most + 1) if least <= z * formula.n_atoms <= most)
    if not counts:
        raise RequestError(
            f"No number of formula units of {request.formula} makes a cell of {least} to {most} atoms "
            f"({card.name}); ask for other numbers of atoms."
        )
    return [Counter(formula.atomic_numbers_of(z)) for z in counts]


def _groups_of(request: CrystalGenerationRequest, card: ModelCard) -> dict[int, float]:
    from crystal_core.evaluation.symmetry import space_group_number

    if request.space_group is not None:
        return {space_group_number(request.space_group): 1.0}
    if request.crystal_system is None:
        return {}
    first, last = SPACE_GROUPS[request.crystal_system]
    shares = {
        int(number): float(share)
        for number, share in card.sampling.get("space_group_frequencies", {}).items()
    }
    return {number: share for number, share in shares.items() if first <= number <= last}
