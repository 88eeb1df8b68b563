"""The language models that can write the drafts of a model in place of its own."""

from __future__ import annotations

from crystal_core.cards import ModelCard
from crystal_core.errors import CrystalCoreError
from crystal_core.generators.crysllmgen.backends.installed import CHECKPOINTS, check_back_end

__all__ = ["back_ends", "check_back_end"]


def back_ends(card: ModelCard) -> dict[str, str]:
    """Name of each other back end → why it cannot write here, as its refusal says; "" where it can.

    Empty for a model that writes no drafts.
    """
    if not card.writes_drafts:
        return {}
    own = str(card.network.get("drafter", card.name))
    return {name: _refusal(name) for name, checkpoint in CHECKPOINTS.items() if checkpoint != own}


def _refusal(name: str) -> str:
    try:
        check_back_end(name)
    except CrystalCoreError as error:
        return str(error)
    return ""
