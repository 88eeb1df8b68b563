"""DiffCSP checkpoints on disk: safetensors shards, the score norms they were trained with, and the card."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crystal_core.cards import ModelCard
from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.schedules import Schedules, schedules_of
from crystal_core.training.checkpoint import load_exactly, read_shards
from crystal_core.whole_files import whole_file

SCORE_NORMS = "score-norms.safetensors"


def load_network(card: ModelCard) -> CspNetwork:
    """The network of a checkpoint with its weights.

    Raises:
        CheckpointMismatch: a file is missing or changed, or names do not fit the network of the card.
    """
    state = read_shards(card)
    network = CspNetwork(CspNetworkConfig(**card.network))
    load_exactly(network, state, f"The weights of '{card.name}' do not fit its card")
    return network


def process_of(card: ModelCard) -> ProcessConfig:
    """The forward process that a checkpoint was trained with."""
    return ProcessConfig(**card.training.get("process", {}))


def load_schedules(card: ModelCard) -> Schedules:
    """The noise levels of a checkpoint, with the norms of the score that lie beside its weights.

    Raises:
        CheckpointMismatch: there is no such file, or it holds no norms of that many time indices.
    """
    process = process_of(card)
    try:
        norms = load_file((card.folder or Path()) / SCORE_NORMS)["squared"]
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointMismatch(
            f"The score norms of '{card.name}' in {SCORE_NORMS} cannot be read: {error}."
        ) from error
    if norms.shape != (process.n_times + 1,) or not bool((torch.isfinite(norms) & (norms > 0)).all()):
        raise CheckpointMismatch(
            f"The score norms of '{card.name}' are not {process.n_times + 1} positive numbers."
        )
    return schedules_of(process, norms)


def write_score_norms(norms: Tensor, path: Path) -> None:
    """Write the mean squares of the score, one per time index, beside the weights."""
    with whole_file(path) as file:
        save_file({"squared": norms.detach().cpu().float().contiguous()}, file)
