"""The optimisers of a network: AdamW, and Muon for the matrices between hidden layers on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from crystal_core.checks import check_choice
from crystal_core.training.muon import Muon, hidden_matrices
from crystal_core.training.precision import pick_dtype

if TYPE_CHECKING:
    from torch import nn

    from crystal_core.training.config import FitConfig


def optimisers_of(network: nn.Module, config: FitConfig, device: torch.device) -> list[torch.optim.Optimizer]:
    """The optimisers of the network's parameters; each parameter has one.

    Raises:
        RequestError: unknown optimiser.
    """
    check_choice("optimiser", config.optimiser, ("adamw", "muon"))
    matrices = hidden_matrices(network) if config.optimiser == "muon" else []
    chosen = {id(weight) for weight in matrices}
    rest = [(name, p) for name, p in network.named_parameters() if id(p) not in chosen]
    decays = {name: not any(part in name for part in config.no_decay) for name, _ in rest}
    groups: list[dict[str, Any]] = [{"params": [p for name, p in rest if decays[name]]}]
    if exempt := [p for name, p in rest if not decays[name]]:
        groups.append({"params": exempt, "weight_decay": 0.0})
    adamw = torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
        fused=device.type in ("cpu", "cuda"),
    )
    if not matrices:
        return [adamw]
    dtype = pick_dtype("auto", device)
    return [
        adamw,
        Muon(matrices, lr=config.learning_rate, weight_decay=config.muon_weight_decay, dtype=dtype),
    ]
