"""CSPNet edge by edge as published: slow, plain, the reference of the fast forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from crystal_core.geometry import TWO_PI, mean_per_crystal

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.diffcsp.network import CspNetwork
    from crystal_core.networks.packing import Packing


def all_edges(n_atoms: Tensor) -> tuple[Tensor, Tensor]:
    """Receivers i and senders j, (edges,) each, of all ordered pairs of atoms of a crystal, i = j too."""
    first = torch.cumsum(n_atoms, 0) - n_atoms
    pairs = [
        start + torch.cartesian_prod(torch.arange(n), torch.arange(n)).to(n_atoms.device)
        for start, n in zip(first.tolist(), n_atoms.tolist(), strict=True)
    ]
    i, j = torch.cat([pair.view(-1, 2) for pair in pairs]).unbind(1)
    return i, j


def reference_forward(
    network: CspNetwork,
    t: Tensor,
    frac_coords: Tensor,
    atomic_numbers: Tensor,
    lattice: Tensor,
    packing: Packing,
) -> tuple[Tensor, Tensor]:
    """The published forward pass (Jiao et al. 2023, Eqs. 6-10); shapes as ``CspNetwork.forward``."""
    index, n_atoms = packing.crystal_index, packing.crystal_index.shape[0]
    i, j = all_edges(packing.n_atoms)
    frequencies = TWO_PI * torch.arange(
        network.config.n_frequencies, dtype=frac_coords.dtype, device=frac_coords.device
    )
    h = network.atom_latent_emb(
        torch.cat([network.node_embedding(atomic_numbers - 1), network.time_features(t)[index]], dim=-1)
    )
    gram = network.gram(lattice)
    for layer in network.layers:
        x = layer.layer_norm(h)
        angle = (((frac_coords[j] - frac_coords[i]) % 1.0).unsqueeze(-1) * frequencies).flatten(1)
        psi = torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)
        messages = layer.edge_mlp(torch.cat([x[i], x[j], gram[index[i]], psi], dim=-1))
        total = torch.zeros_like(x).index_add_(0, i, messages)
        degree = torch.bincount(i, minlength=n_atoms).to(x.dtype).unsqueeze(-1)
        h = h + layer.node_mlp(torch.cat([x, total / degree], dim=-1))
    h = network.final_layer_norm(h)
    cells = network.lattice_out(mean_per_crystal(h, index, packing.n_crystals))
    return cells.view(-1, 3, 3) @ lattice, network.coord_out(h)
