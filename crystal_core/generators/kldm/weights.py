"""KLDM checkpoints on disk: half-precision safetensors shards, lattice statistics and card, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from crystal_core.cards import LATTICE, ModelCard
from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.kldm.codec import LatticeCodec
from crystal_core.generators.kldm.species import N_TYPES
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.training import checkpoint

if TYPE_CHECKING:
    from torch import Tensor

TABLE = "node_embedding.weight"
EXACT = ("time_emb.weight",)  # multiplied by 2 pi t before a cosine: half precision would shift its phases


def load_weights(card: ModelCard) -> tuple[dict[str, Tensor], LatticeCodec]:
    """The state dictionary (float32) and the lattice statistics of a checkpoint.

    Raises:
        CheckpointMismatch: a file is missing or changed, or names do not fit the network of the card.
    """
    state = checkpoint.read_shards(card)
    expected = {k: v.shape for k, v in PairNetwork(PairNetworkConfig(**card.network)).state_dict().items()}
    wrong = sorted(set(expected) ^ set(state)) or [k for k in expected if expected[k] != state[k].shape]
    if wrong:
        raise CheckpointMismatch(
            f"The weights of '{card.name}' do not fit its card; names that differ: {', '.join(wrong[:8])}."
        )
    folder = card.folder or Path()
    return state, LatticeCodec.from_json((folder / LATTICE).read_text(encoding="utf-8"))


def starting_weights(state: dict[str, Tensor], network: PairNetwork, species: str) -> dict[str, Tensor]:
    """Trained weights as the start of a network for another option of the types; those of the same option as they are.

    Coordinates and cells move alike in structure prediction and in de novo generation, so all layers carry over. A table of
    elements becomes the rows of a masking model (type = atomic number - 1; the mask begins as their mean) or the columns of
    a one-hot one. Analog bits, and whatever the old network lacks, keep the random start of ``network``.

    Raises:
        CheckpointMismatch: the layers have other sizes, or the weights are of another option of the types.
    """
    fresh = network.state_dict()
    if {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in fresh.items()
    }:
        return state
    started = fresh | {name: value for name, value in state.items() if name in fresh and name != TABLE}
    elements = state[TABLE][1 : N_TYPES + 1]
    if species == "masking":
        started[TABLE] = torch.cat([elements, elements.mean(0, keepdim=True)])
    elif species == "one-hot":
        started[TABLE] = elements.T.contiguous()
    other = [name for name, value in started.items() if value.shape != fresh[name].shape]
    if other or "out_h.weight" in state or species == "fixed":
        raise CheckpointMismatch(
            f"Training cannot start from these weights: {other[0] if other else 'the option of the types'} differs."
        )
    return started


def write_shards(state: dict[str, Tensor], folder: Path) -> list[str]:
    """Write tensors as bf16 safetensors files of at most 14 MB; returns their names."""
    return checkpoint.write_shards(state, folder, exact=EXACT)
