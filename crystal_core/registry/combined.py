"""Checkpoints that need others: a card names a drafter and refiners, or the model that places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crystal_core.cards import ModelCard
from crystal_core.errors import CheckpointMismatch

OF_DRAFTER = (
    "atom_count_frequencies",
    "space_group_frequencies",
    "conditions",
    "draft",
    "draft_open_composition",
)


def is_combined(card: ModelCard) -> bool:
    """Whether the card names other checkpoints."""
    return "drafter" in card.network or "placer" in card.network


def usual_refiner(card: ModelCard) -> str:
    """The checkpoint that refines where no other is named."""
    short = str(card.network["refiner"])
    return str(card.network.get("refiners", {}).get(short, short))


def completed(card: ModelCard, card_of: Callable[[str], ModelCard]) -> ModelCard:
    """The card of a combined model with its parts' data: the drafter's conditions, common elements.

    Args:
        card_of: the card of a name as it is in its file.

    Raises:
        CheckpointMissing: a part is not installed. CheckpointMismatch: a part is a combined model itself.
    """
    if "placer" in card.network:
        return _with_placer(card, card_of(str(card.network["placer"])))
    drafter, refiner = card_of(str(card.network["drafter"])), card_of(usual_refiner(card))
    if is_combined(drafter) or is_combined(refiner):
        raise CheckpointMismatch(f"'{card.name}' is made of a model that is made of others; name its parts.")
    placed = set(refiner.elements)
    taken: dict[str, Any] = {name: drafter.sampling[name] for name in OF_DRAFTER if name in drafter.sampling}
    taken["draft"] = {**taken.get("draft", {}), **card.sampling.get("draft", {})}
    taken["elements"] = [z for z in drafter.elements if z in placed]
    return replace(
        card,
        parameters=drafter.parameters + refiner.parameters,
        sampling={**card.sampling, **taken},
        parts={part.name: part.weights_sha256 for part in (drafter, refiner)},
    )


def _with_placer(card: ModelCard, placer: ModelCard) -> ModelCard:
    """The card of a proposing model: parameters of both, and elements that both know."""
    if is_combined(placer):
        raise CheckpointMismatch(f"'{card.name}' is placed by a model that is made of others; name its part.")
    placed = set(placer.elements)
    return replace(
        card,
        parameters=card.parameters + placer.parameters,
        sampling={**card.sampling, "elements": [z for z in card.elements if z in placed]},
        parts={placer.name: placer.weights_sha256},
    )
