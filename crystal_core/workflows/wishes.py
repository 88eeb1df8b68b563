"""The conditions that a generation puts into a model's prompt: which cells, with which conditions each, all drawn up front from the seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crystal_core.conditions import SPACE_GROUPS, WORDS, Conditions, check_declared
from crystal_core.errors import RequestError
from crystal_core.requests import PropertyPredictionRequest

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.requests import CrystalGenerationRequest

How = Literal["prompt", "guided", "kept"]
KEPT = {
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
class Wish:
    """One crystal of a generation. least, most: its atoms."""

    least: int
    most: int
    conditions: Conditions


def asked_conditions(asked: CrystalGenerationRequest) -> tuple[str, ...]:
    """Names of :data:`crystal_core.conditions.WORDS` that a request sets and only a model with a prompt can take."""
    given = {
        "composition": asked.formula,
        "crystal_system": asked.crystal_system,
        "formation_energy": asked.formation_energy,
        "band_gap": asked.band_gap,
        "e_above_hull": asked.e_above_hull,
    }
    return tuple(name for name in WORDS if given.get(name) is not None)


def check_wishes(asked: CrystalGenerationRequest, card: ModelCard) -> None:
    """Check that the model can take the conditions and drafting options of a request.

    Raises:
        RequestError: it cannot.
    """
    named = asked_conditions(asked)
    if not card.writes_drafts:
        named = tuple(name for name in named if name not in guided_properties(asked))
        if asked.space_group is not None and asked.must_hold:
            raise RequestError(
                f"{card.name} keeps a space group or makes every crystal hold {', '.join(asked.must_hold)}, not both; "
                "leave one of the two out or choose a language model."
            )
    if card.writes_drafts:
        named += ("space_group",) if asked.space_group is not None else ()
        named += tuple(name for name, numbers in _required(asked).items() if numbers)
        for name, what in KEPT.items():
            if getattr(asked, name) is not None:
                raise RequestError(f"{card.name} cannot {what}; leave it out or choose a KLDM model.")
    check_declared(card, named, asked)


def guided_properties(asked: CrystalGenerationRequest) -> dict[str, tuple[str, float]]:
    """Conditions of a request that a property predictor can guide any diffusion model towards → name of the property, target.

    Empty where no predictor is installed.
    """
    from crystal_core.registry.property_cards import declared_properties, is_installed

    wished = {
        name: (GUIDED[name], getattr(asked, name)) for name in GUIDED if getattr(asked, name) is not None
    }
    if not wished or not is_installed(PREDICTOR):
        return {}
    known = {spec.name for spec in declared_properties(PREDICTOR)}
    return {name: target for name, target in wished.items() if target[0] in known}


def possible_wishes(card: ModelCard) -> dict[str, How]:
    """Fields of a generation that a model takes → how: in its prompt, guided towards while sampling, or kept by operations."""
    from crystal_core.registry.property_cards import declared_properties, is_installed

    if card.writes_drafts:
        fields = {"composition": "formula", "space_group": "space_group", "crystal_system": "crystal_system"}
        fields |= {name: name for name in ("band_gap", "formation_energy", "e_above_hull")}
        return {field: "prompt" for name, field in fields.items() if name in card.conditions}
    known = {spec.name for spec in declared_properties(PREDICTOR)} if is_installed(PREDICTOR) else set()
    guided = [name for name, label in GUIDED.items() if label in known]
    return {"space_group": "kept", **dict.fromkeys(guided, "guided"), "density": "guided"}


def plan_wishes(
    asked: CrystalGenerationRequest, card: ModelCard, *, frequencies: Mapping[int, float]
) -> list[Wish]:
    """The crystals of a run: the conditions of each, and how many atoms it may have.

    The model chooses the number of atoms between the least and the most asked for, or of a training cell. A formula
    gives cells of several formula units, those most frequent in training. A crystal system gives its groups, as often
    as they occur in training. The first crystals do not depend on how many are asked for.

    Raises:
        RequestError: the formula or the group does not exist, or no cell of it has the requested atoms.
    """
    draw = random.Random(f"{asked.seed} wishes")  # noqa: S311 (no secret)
    least, most = asked.n_atoms or (1, max(frequencies, default=20))
    cells = _cells_of(asked, least, most, card) if asked.formula else []
    groups = _groups_of(asked, card)
    wishes = []
    for _ in range(asked.n):
        fixed: dict[str, Any] = _required(asked) | {
            name: getattr(asked, name) for name in ("formation_energy", "band_gap", "e_above_hull")
        }
        if groups:
            fixed["space_group"] = draw.choices(list(groups), list(groups.values()))[0]
        if cells:
            cell = draw.choice(cells)
            wishes.append(
                Wish(least=cell.total(), most=cell.total(), conditions=Conditions(composition=cell, **fixed))
            )
        else:
            wishes.append(Wish(least=least, most=most, conditions=Conditions(**fixed)))
    return wishes


def _required(asked: CrystalGenerationRequest) -> dict[str, tuple[int, ...]]:
    from crystal_core.chemistry.formula import atomic_number_of

    numbers = tuple(sorted(set(map(atomic_number_of, asked.must_hold))))
    alone = bool(asked.elements) and set(map(atomic_number_of, asked.elements)) == set(numbers)
    return {"elements" if alone else "contain": numbers}


def _cells_of(asked: CrystalGenerationRequest, least: int, most: int, card: ModelCard) -> list[Counter[int]]:
    from crystal_core.chemistry.formula import default_z, parse_formula

    formula = parse_formula(asked.formula or "")
    if asked.n_atoms is None:
        counts = default_z(formula, max_atoms=most)
    else:
        counts = tuple(z for z in range(1, most + 1) if least <= z * formula.n_atoms <= most)
    if not counts:
        raise RequestError(
            f"No number of formula units of {asked.formula} makes a cell of {least} to {most} atoms ({card.name}); ask for other numbers of atoms."
        )
    return [Counter(formula.atomic_numbers_of(z)) for z in counts]


def _groups_of(asked: CrystalGenerationRequest, card: ModelCard) -> dict[int, float]:
    from crystal_core.evaluation.symmetry import space_group_number

    if asked.space_group is not None:
        return {space_group_number(asked.space_group): 1.0}
    if asked.crystal_system is None:
        return {}
    first, last = SPACE_GROUPS[asked.crystal_system]
    shares = {
        int(number): float(share)
        for number, share in card.sampling.get("space_group_frequencies", {}).items()
    }
    return {number: share for number, share in shares.items() if first <= number <= last}
