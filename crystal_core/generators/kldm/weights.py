"""KLDM checkpoints on disk, written and read: safetensors shards, lattice statistics, card.

Shards are in half precision; those of imported checkpoints in float32.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crystal_core.cards import ModelCard
from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.kldm.codec import LATTICE, LatticeCodec
from crystal_core.generators.kldm.coordinates import ScoreNorms
from crystal_core.generators.kldm.species_process import N_TYPES
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.training import checkpoint
from crystal_core.whole_files import whole_file

# of an imported checkpoint; its card names the file in its sampling table
SCORE_NORMS = "score-norms.safetensors"
TABLE = "node_embedding.weight"
EXACT = ("time_emb.weight",)  # multiplied by 2 pi t before a cosine: half precision would shift its phases


def load_weights(card: ModelCard) -> tuple[dict[str, Tensor], LatticeCodec]:
    """The state dictionary (float32) and the lattice statistics of a checkpoint.

    Raises:
        CheckpointMismatch: a file is missing or changed, or names do not fit the network of the card.
    """
    state = checkpoint.read_shards(card)
    network = PairNetwork(PairNetworkConfig(**card.network))
    checkpoint.check_tensors(network, state, f"The weights of '{card.name}' do not fit its card")
    folder = card.folder or Path()
    return state, LatticeCodec.from_json((folder / LATTICE).read_text(encoding="utf-8"))


def load_score_norms(card: ModelCard) -> ScoreNorms | None:
    """The table of score norms that the card of an imported checkpoint names; None where it names none.

    Raises:
        CheckpointMismatch: the card names no file of its own, or the file is no such table.
    """
    name = card.sampling.get("score_norms")
    if name is None:
        return None
    if card.folder is None or name not in card.files:
        raise CheckpointMismatch(
            f"The card of '{card.name}' names score norms in {name!r}, which is not one of its files."
        )
    try:
        return ScoreNorms(load_file(card.folder / name)["squared"])
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointMismatch(
            f"The score norms of '{card.name}' in {name} cannot be read: {error}."
        ) from error


def write_score_norms(norms: ScoreNorms, folder: Path) -> str:
    """Write a table of score norms beside the weights; returns the name of its file."""
    with whole_file(folder / SCORE_NORMS) as file:
        save_file({"squared": norms.squared.detach().cpu().float().contiguous()}, file)
    return SCORE_NORMS


def starting_weights(state: dict[str, Tensor], network: PairNetwork, species: str) -> dict[str, Tensor]:
    """Trained weights as the start of a network with another option of types; unchanged for the same.

    Coordinates and cells move alike in structure prediction and in de novo generation, so all layers carry
    over. A table of elements becomes the rows of a masking model (type = atomic number - 1; the mask begins
    as their mean) or the columns of a one-hot one. Analog bits, and whatever the old network lacks, keep the
    random start of ``network``.

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
            "Training cannot start from these weights: "
            f"{other[0] if other else 'the option of the types'} differs."
        )
    return started


def write_shards(state: dict[str, Tensor], folder: Path, dtype: torch.dtype = torch.bfloat16) -> list[str]:
    """The weights as safetensors files; see :func:`crystal_core.training.checkpoint.write_shards`."""
    return checkpoint.write_shards(state, folder, dtype=dtype, exact=EXACT)
