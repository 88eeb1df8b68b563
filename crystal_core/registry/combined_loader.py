"""Loads a checkpoint that is made of others: its drafter at once, a refiner when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError
from crystal_core.registry.store import find_card, load_generator

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.generators.draft_refine import DraftRefineGenerator


def load_combined(card: ModelCard, device: str = "auto") -> DraftRefineGenerator:
    """The two stages of a completed card, ready to sample; a refiner is loaded when it is first needed.

    Raises:
        CheckpointMissing: the drafter is not installed.
    """
    from crystal_core.generators.draft_refine import DraftRefineGenerator

    def refiner_of(name: str) -> Any:
        task = find_card(name).task
        if task != "structure prediction":
            raise RequestError(
                f"{name} cannot refine a draft: it is made for {task}. Name a model for structure prediction."
            )
        return load_generator(name, device)

    return DraftRefineGenerator(load_generator(str(card.network["drafter"]), device), refiner_of, card=card)
