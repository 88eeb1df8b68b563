"""Loads a checkpoint that needs others: a drafter with a refiner, or a proposer with a placer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError
from crystal_core.registry.methods import PROPOSERS, find
from crystal_core.registry.store import find_card, load_generator

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.generators.draft_refine import DraftRefineGenerator
    from crystal_core.generators.propose_place import ProposePlaceGenerator


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


def load_placed(card: ModelCard, device: str = "auto") -> ProposePlaceGenerator:
    """A checkpoint that proposes atoms and cells, with the model of structure prediction that its card names.

    Raises:
        CheckpointMissing: the placer is not installed. CheckpointMismatch: the weights of either do not fit.
    """
    from crystal_core.generators.propose_place import ProposePlaceGenerator

    proposer = find(PROPOSERS, str(card.network.get("proposer")), "proposer")(card, device)
    placer: Any = load_generator(str(card.network["placer"]), device)
    return ProposePlaceGenerator(proposer, placer, card=card)
