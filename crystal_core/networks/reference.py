"""The pair network edge by edge as published: slow, plain, the reference of the fast forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from crystal_core.geometry import TWO_PI, centre, mean_per_crystal

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.networks.packing import Packing
    from crystal_core.networks.pair_network import PairNetwork


def reference_forward(
    network: PairNetwork,
    t: Tensor,
    frac_coords: Tensor,
    velocity: Tensor,
    species: Tensor,
    lattice: Tensor,
    packing: Packing,
) -> tuple[Tensor, ...]:
    """The published forward pass on full directed edges (i receives, j sends), as ``PairNetwork.forward``."""
    index, n_crystals, n_atoms = packing.crystal_index, packing.n_crystals, packing.crystal_index.shape[0]
    i, j = packing.receiver, packing.sender
    frequencies = TWO_PI * torch.arange(
        network.config.n_frequencies, dtype=frac_coords.dtype, device=frac_coords.device
    )
    z = network.atom_latent_emb(
        torch.cat([network.node_embedding(species), network.time_features(t)[index]], dim=-1)
    )
    for layer in network.pair_layers:
        x = layer.layer_norm(z)
        angle = ((frac_coords[j] - frac_coords[i]).unsqueeze(-1) * frequencies).flatten(1)
        geometry = torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)
        q = layer.v_proj(velocity[j] - velocity[i])
        messages = layer.edge_mlp(torch.cat([x[i], x[j], lattice[index[i]], q, geometry], dim=-1))
        total = torch.zeros_like(x).index_add_(0, i, messages)
        degree = torch.bincount(i, minlength=n_atoms).clamp(min=1).to(x.dtype).unsqueeze(-1)
        z = z + layer.node_mlp(torch.cat([x, total / degree], dim=-1))
    z = network.final_layer_norm(z)
    velocity_out = centre(network.out_v(z), index, n_crystals)
    lattice_out = functional.linear(mean_per_crystal(z, index, n_crystals), network.out_l.weight)
    if network.config.n_type_outputs:
        return velocity_out, lattice_out, network.out_h(z)
    return velocity_out, lattice_out
