"""CSPNet for sampling: weights split once, edges built once, the fastest matrix product the processor offers.

Equal to :mod:`crystal_core.generators.diffcsp.reference` within rounding; bf16 is a declared option.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from crystal_core.geometry import mean_per_crystal
from crystal_core.networks.inference import MAX_EDGES, FastLinear, chunks_of, use_onednn
from crystal_core.networks.pair_network import pair_features
from crystal_core.networks.segments import sum_bags

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.generators.diffcsp.network import CspLayer, CspNetwork
    from crystal_core.networks.packing import Packing


@dataclass(frozen=True)
class _Layer:
    norm: tuple[Tensor, Tensor]
    ends: FastLinear  # h → [as receiver | as sender] of an edge
    gram: Tensor  # (hidden, 9)
    even: FastLinear
    odd: FastLinear
    at_zero: Tensor  # (hidden,) even part of an atom's edge to itself
    edge: FastLinear
    node: FastLinear
    node_message: FastLinear
    node_out: FastLinear


@dataclass(frozen=True)
class _Chunk:
    """Some crystals, with the edges of their atoms to themselves behind those of all pairs.

    Attributes:
        ends: (edges, 2) rows of the table of ends that make an edge. order, offsets: edges by receiver.
    """

    packing: Packing
    crystals: slice
    atoms: slice
    ends: Tensor
    receiver: Tensor
    order: Tensor
    offsets: Tensor
    inverse_count: Tensor


class FastCspNetwork:
    """A trained network bound to fixed compositions, to be called often at changing coordinates and cells.

    Args:
        network: the weights; copied and split, later changes are not seen.
        atomic_numbers: (atoms,) of all crystals, concatenated. n_atoms: (crystals,).
        dtype: of the edge stream: the weights' own (exact) or bfloat16.
    """

    def __init__(
        self,
        network: CspNetwork,
        atomic_numbers: Tensor,
        n_atoms: Tensor,
        dtype: torch.dtype = torch.float32,
        *,
        onednn: bool | None = None,
    ) -> None:
        self.network, self.config, self.dtype, self.device = network, network.config, dtype, n_atoms.device
        cpu = self.device.type == "cpu"
        onednn = cpu and (use_onednn() if onednn is None else onednn)
        with torch.inference_mode():
            self.layers = [_split(layer, network, dtype, onednn=onednn) for layer in network.layers]
            weight = network.atom_latent_emb.weight[:, : self.config.hidden_dim]
            self.embedding = functional.linear(network.node_embedding(atomic_numbers - 1), weight)
            self.chunks = [
                _with_own_edges(packing, crystals, atoms, self.embedding.dtype)
                for packing, crystals, atoms, _ in chunks_of(n_atoms, MAX_EDGES if cpu else 1 << 22)
            ]

    @torch.inference_mode()
    def __call__(
        self, t: int, frac_coords: Float[Tensor, "atoms 3"], lattice: Float[Tensor, "crystals 3 3"]
    ) -> tuple[Tensor, Tensor]:
        """Lattice noise (crystals, 3, 3) and coordinate score (atoms, 3) at one time index for all."""
        network, hidden = self.network, self.config.hidden_dim
        time = functional.linear(
            network.time_features(torch.full((1,), t, device=self.device)),
            network.atom_latent_emb.weight[:, hidden:],
            network.atom_latent_emb.bias,
        )
        outputs = [
            self._chunk(self.embedding[c.atoms] + time, frac_coords[c.atoms], lattice[c.crystals], c)
            for c in self.chunks
        ]
        cells, scores = zip(*outputs, strict=True)
        return torch.cat(cells), torch.cat(scores)

    def _chunk(self, z: Tensor, frac_coords: Tensor, lattice: Tensor, chunk: _Chunk) -> tuple[Tensor, Tensor]:
        network, packing, hidden = self.network, chunk.packing, self.config.hidden_dim
        whole, index = z.dtype, packing.crystal_index
        half, n_atoms = packing.pair_i.shape[0], index.shape[0]
        cosines, sines = (
            x.to(self.dtype) for x in pair_features(frac_coords, packing, self.config.n_frequencies)
        )
        gram = network.gram(lattice)
        for layer in self.layers:
            x = functional.layer_norm(z, (hidden,), *layer.norm)
            stream = x.to(self.dtype)
            table = layer.ends(stream).to(whole).view(n_atoms, 2, hidden)
            table[:, 0] += functional.linear(gram, layer.gram)[index]
            edges = functional.embedding_bag(chunk.ends, table.view(2 * n_atoms, hidden), mode="sum")
            edges = edges.to(self.dtype)
            if half:
                even, odd = layer.even(cosines), layer.odd(sines)
                edges[:half].add_(even).add_(odd)
                edges[half : 2 * half].add_(even).sub_(odd)
            edges[2 * half :].add_(layer.at_zero)
            messages = layer.edge(functional.silu(edges, inplace=True))
            total = sum_bags(messages, chunk.order, chunk.offsets, chunk.receiver, n_atoms).to(whole)
            node = layer.node(stream) + layer.node_message((total * chunk.inverse_count).to(self.dtype))
            z = z + layer.node_out(functional.silu(node.to(whole), inplace=True).to(self.dtype)).to(whole)
        norm = network.final_layer_norm
        z = functional.layer_norm(z, (hidden,), norm.weight, norm.bias)
        cells = network.lattice_out(mean_per_crystal(z, index, packing.n_crystals))
        return cells.view(-1, 3, 3) @ lattice, network.coord_out(z)


def _split(layer: CspLayer, network: CspNetwork, dtype: torch.dtype, *, onednn: bool) -> _Layer:
    first, second = layer.edge_maps
    w_receive, w_send, w_gram, w_sin, w_cos = layer.blocks(network.config.n_frequencies)
    node_in, node_out = layer.node_maps
    hidden = network.config.hidden_dim

    def linear(weight: Tensor, bias: Tensor | None = None, *, silu: bool = False) -> FastLinear:
        return FastLinear(weight, bias, dtype, silu=silu, onednn=onednn)

    return _Layer(
        norm=(layer.layer_norm.weight, layer.layer_norm.bias),
        ends=linear(torch.cat([w_receive, w_send]), torch.cat([first.bias, torch.zeros_like(first.bias)])),
        gram=w_gram.contiguous(),
        even=linear(w_cos),
        odd=linear(w_sin),
        at_zero=w_cos.sum(1).to(dtype),
        edge=linear(second.weight, second.bias, silu=True),
        node=linear(node_in.weight[:, :hidden], node_in.bias),
        node_message=linear(node_in.weight[:, hidden:]),
        node_out=linear(node_out.weight, node_out.bias, silu=True),
    )


def _with_own_edges(packing: Packing, crystals: slice, atoms: slice, dtype: torch.dtype) -> _Chunk:
    own = torch.arange(len(packing.crystal_index), device=packing.crystal_index.device)
    receiver = torch.cat([packing.receiver, own])
    counts = packing.n_atoms[packing.crystal_index]
    return _Chunk(
        packing=packing,
        crystals=crystals,
        atoms=atoms,
        ends=torch.stack([2 * receiver, 2 * torch.cat([packing.sender, own]) + 1], dim=1),
        receiver=receiver,
        order=torch.argsort(receiver, stable=True),
        offsets=torch.cumsum(counts, 0) - counts,
        inverse_count=(1.0 / counts.to(dtype)).unsqueeze(-1),
    )
