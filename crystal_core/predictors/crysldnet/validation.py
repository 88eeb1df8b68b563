"""Losses and errors of a network on validation rows, by which trainings are watched and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from crystal_core.predictors.crysldnet.heads import IS_METAL
from crystal_core.predictors.crysldnet.latent_flow import LatentFlow
from crystal_core.predictors.crysldnet.latents import latent_statistics
from crystal_core.predictors.crysldnet.property_network import PropertyNetwork
from crystal_core.predictors.crysldnet.vae import CrystalVae, draw_hidden

if TYPE_CHECKING:
    from torch import Tensor, nn

    from crystal_core.predictors.crysldnet.graph_rows import GraphRows


@torch.no_grad()
def validate(network: nn.Module, held: GraphRows, *, mask_fraction: float, batch_size: int) -> dict[str, Any]:
    """Losses or errors on validation rows in evaluation mode; every call draws the same randomness."""
    if isinstance(network, PropertyNetwork):
        return mean_errors(network, held)
    rng = torch.Generator(held.labels.device).manual_seed(0)
    totals: dict[str, float] = {}
    latents: list[Tensor] = []
    right = hidden_atoms = crystals = 0
    for batch in held.in_order(batch_size):
        graphs = batch.graphs
        hidden = draw_hidden(graphs.n_atoms, mask_fraction, rng)
        if isinstance(network, LatentFlow):
            losses = network(graphs, batch.frac_coords, batch.cell_parameters, rng)
            terms = {"flow": losses.flow, "vae": losses.vae}
            latents.append(losses.latents)
        else:
            losses = network(graphs, batch.frac_coords, batch.cell_parameters, hidden, rng)
            terms = {name: getattr(losses, name) for name in ("types", "positions", "lattice", "kl")}
            latents.append(losses.latents)
        vae = network.vae if isinstance(network, LatentFlow) else network
        if isinstance(vae, CrystalVae):
            named = vae.name_hidden(graphs, hidden)
            right += int((named == graphs.atomic_numbers[hidden]).sum())
        hidden_atoms, crystals = hidden_atoms + int(hidden.sum()), crystals + len(batch)
        for name, value in terms.items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(batch)
    spread = latent_statistics(torch.cat(latents).float())
    return {
        **{name: round(total / crystals, 5) for name, total in totals.items()},
        "hidden_elements_right": round(right / max(1, hidden_atoms), 4),
        "latent_std": round(spread.std, 4),
        "effective_rank": round(spread.effective_rank, 1),
    }


@torch.no_grad()
def mean_errors(network: PropertyNetwork, held: GraphRows, size: int = 256) -> dict[str, float]:
    """Mean absolute error of each property in its learned form; of "is_metal" the wrong share."""
    heads = network.heads
    predicted, labels = [], []
    for batch in held.in_order(size):
        predicted.append(heads(network.pooled(batch)).value * heads.std + heads.mean)
        labels.append(batch.labels)
    values, aim = torch.cat(predicted), torch.cat(labels)
    errors = {}
    for i, name in enumerate(heads.names):
        known = aim[:, i].isfinite()
        if not bool(known.any()):
            continue
        if name == IS_METAL:
            miss = ((values[known, i] > 0) != (aim[known, i] > 0)).float()  # the heads' own units are odds
        else:
            miss = (values[known, i] - aim[known, i]).abs()
        errors[name] = round(float(miss.mean()), 5)
    return errors
