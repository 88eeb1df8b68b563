"""Which language model writes: that of a card, or another one that the user names in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from crystal_core.cards import ModelCard, sha256_of
from crystal_core.generators.crysllmgen.backends.hf import (
    BESIDE,
    base_folder,
    load_base,
    load_folder,
)
from crystal_core.generators.crysllmgen.backends.installed import CHECKPOINTS, card_of
from crystal_core.generators.crysllmgen.backends.protocol import BackEnd
from crystal_core.generators.crysllmgen.backends.smollm2 import SMOLLM2
from crystal_core.generators.crysllmgen.backends.text import TextBackEnd
from crystal_core.generators.crysllmgen.backends.tiny import TinyBackEnd
from crystal_core.generators.crysllmgen.conditions import WORDING, Wording, read_wording
from crystal_core.generators.crysllmgen.config import TinyConfig, build_network
from crystal_core.generators.crysllmgen.lora import Adapter, LoraSettings
from crystal_core.generators.crysllmgen.training import initial_weights, load_into

HASHED = ("*.safetensors", "*.json")
# bytes; of a larger file the size stands for its content, because hashing it would take minutes
LARGE = 200_000_000
CLAUSES = {"formula": "composition"}  # name of a clause → condition, where they differ


def back_end_of(card: ModelCard, device: torch.device) -> BackEnd:
    """The language model of a card: the small one, or an adapter on the base that the card names.

    Raises:
        CheckpointMismatch: the weights do not fit. MissingExtra, CheckpointMissing: its
            base is not installed.
    """
    if "base" not in card.network:
        network = build_network(TinyConfig(**card.network))
        load_into(network, initial_weights(card))
        return TinyBackEnd(network, device)
    base = str(card.network["base"])
    network, tokenizer = load_base(base_folder(base), device)
    adapter = Adapter(network, LoraSettings(**card.network["lora"]))
    adapter.load(initial_weights(card))
    beside = (card.folder or Path()) / BESIDE
    wording = read_wording(beside if beside.is_file() else WORDING)
    name = base if base == SMOLLM2 else Path(base).name
    return TextBackEnd(adapter.merged(), tokenizer, wording, name=name, device=device)


def other_back_end(card: ModelCard, name: str, device: torch.device) -> tuple[BackEnd, ModelCard]:
    """Another language model for the crystals of a card, and the card that then holds.

    Args:
        name: of :data:`~.installed.CHECKPOINTS`, or a folder (see :func:`~.hf.load_folder`).

    Raises:
        CheckpointMissing: it is not installed.
    """
    if name in CHECKPOINTS:
        other = card_of(name)
        return back_end_of(other, device), other
    folder = Path(name).expanduser()
    back_end = load_folder(folder, device)
    conditions = conditions_of(back_end.wording, card)
    return back_end, replace(
        card,
        name=folder.name,
        folder=None,
        files=_fingerprints(folder),
        sampling={**card.sampling, "conditions": conditions},
    )


def conditions_of(wording: Wording, card: ModelCard) -> list[str]:
    """The conditions that a wording has a sentence for."""
    named = [CLAUSES.get(name, name) for name in wording.clauses]
    if "space_group" in named and "space_group_frequencies" in card.sampling:
        named.append("crystal_system")
    return named


def _fingerprints(folder: Path) -> dict[str, str]:
    files = sorted({path for pattern in HASHED for path in folder.rglob(pattern) if path.is_file()})
    return {
        str(path.relative_to(folder)): sha256_of(path)
        if path.stat().st_size < LARGE
        else f"{path.stat().st_size} bytes"
        for path in files
    }
