"""The pair network for sampling: folded weights, prepared indices, the fastest CPU matrix product.

Equal to :mod:`crystal_core.networks.reference` within float32 rounding; bf16 is a declared option
(about 5e-3 a call).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from crystal_core.geometry import centre, mean_per_crystal
from crystal_core.networks.packing import Packing, pack
from crystal_core.networks.pair_network import PairLayer, PairNetwork, pair_features
from crystal_core.networks.segments import sum_bags

# per chunk: its edge tensors then stay in the last-level cache; larger chunks are slower per crystal
MAX_EDGES = 8000
ALIGNED = 16  # columns: one AVX512 register


def use_onednn() -> bool:
    """Whether oneDNN multiplies matrices faster than PyTorch's default here: processors with AVX512.

    MKL, the default, reaches under half of an AMD processor's peak; on an Intel one oneDNN wins by the
    activation that it computes on the way. Decided by the instructions rather than by timing, so that the
    same machine always computes the same numbers.
    """
    return "AVX512" in torch.backends.cpu.get_cpu_capability() and torch.backends.mkldnn.is_available()


class FastLinear:
    """x ↦ activation(x Wᵀ + b) by oneDNN with a prepacked weight, or by PyTorch's default product."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, silu: bool, onednn: bool
    ) -> None:
        self.weight = weight.to(dtype).contiguous()
        self.bias = None if bias is None else bias.to(dtype)
        self.silu = silu
        self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, None) if onednn else None

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed is not None:
            return torch.ops.mkldnn._linear_pointwise(
                x, self.packed, self.bias, "swish" if self.silu else "none", [], ""
            )
        out = functional.linear(x, self.weight, self.bias)
        return functional.silu(out, inplace=True) if self.silu else out


@dataclass
class _Layer:
    norm: tuple[Tensor, Tensor]
    ends: FastLinear  # [x | velocity | lattice | 0] → [as receiver | as sender] of an edge
    even: FastLinear
    odd: FastLinear
    edge: FastLinear
    node: FastLinear
    node_message: FastLinear
    node_out: FastLinear


class FastPairNetwork:
    """A trained pair network bound to fixed compositions, to be called many times at changing coordinates.

    Args:
        network: the weights; copied and folded, later changes are not seen.
        atomic_numbers, n_atoms: compositions of the crystals, atoms concatenated; ``atomic_numbers`` is None
            for de novo models, which get the types of the moment with every call.
        dtype: float32 (exact) or bfloat16 for the edge stream.
    """

    def __init__(
        self,
        network: PairNetwork,
        atomic_numbers: Tensor | None,
        n_atoms: Tensor,
        dtype: torch.dtype = torch.float32,
        *,
        onednn: bool | None = None,
    ) -> None:
        self.network = network
        self.config = network.config
        self.dtype = dtype
        self.device = n_atoms.device
        cpu = self.device.type == "cpu"
        onednn = cpu and (use_onednn() if onednn is None else onednn)
        with torch.inference_mode():
            self.layers = [_fold(layer, network, dtype, onednn=onednn) for layer in network.pair_layers]
            self.embedding = None if atomic_numbers is None else network.node_embedding(atomic_numbers)
            self.chunks = list(chunks_of(n_atoms, MAX_EDGES if cpu else 1 << 22))

    @torch.inference_mode()
    def __call__(
        self, t: float, frac_coords: Tensor, velocity: Tensor, lattice: Tensor, species: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Velocity (atoms, 3), lattice (crystals, 6) and any type outputs at one time for all crystals."""
        embedding = self.embedding if species is None else self.network.node_embedding(species)
        assert embedding is not None
        time = self.network.time_features(torch.full((1,), t, device=self.device))
        outputs = [
            self._chunk(
                time, frac_coords[atoms], velocity[atoms], embedding[atoms], lattice[crystals], packing
            )
            for packing, crystals, atoms, _ in self.chunks
        ]
        return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))

    def _chunk(
        self,
        time: Tensor,
        frac_coords: Tensor,
        velocity: Tensor,
        embedding: Tensor,
        lattice: Tensor,
        packing: Packing,
    ) -> tuple[Tensor, ...]:
        network, hidden, index = self.network, self.config.hidden_dim, packing.crystal_index
        half, n_atoms = packing.pair_i.shape[0], index.shape[0]
        weight = network.atom_latent_emb.weight
        z = functional.linear(embedding, weight[:, :hidden]) + functional.linear(
            time, weight[:, hidden:], network.atom_latent_emb.bias
        )
        cosines, sines = pair_features(frac_coords, packing, self.config.n_frequencies)
        cosines, sines = cosines.to(self.dtype), sines.to(self.dtype)
        # rows of the table of ends
        ends_of_edges = torch.stack([2 * packing.receiver, 2 * packing.sender + 1], dim=1)
        state = z.new_zeros((n_atoms, self.layers[0].ends.weight.shape[1]), dtype=self.dtype)
        state[:, hidden : hidden + velocity.shape[1]] = velocity
        state[:, hidden + velocity.shape[1] : hidden + velocity.shape[1] + lattice.shape[1]] = lattice[index]
        for layer in self.layers:
            x = functional.layer_norm(z, (hidden,), *layer.norm)
            state[:, :hidden] = x
            node = layer.node(state[:, :hidden] if self.dtype != x.dtype else x).float()
            if half:
                table = layer.ends(state).float().view(2 * n_atoms, hidden)
                edges = functional.embedding_bag(ends_of_edges, table, mode="sum").to(self.dtype)
                even, odd = layer.even(cosines), layer.odd(sines)
                edges[:half].add_(even).add_(odd)
                edges[half:].add_(even).sub_(odd)
                messages = layer.edge(functional.silu(edges, inplace=True))
                mean = sum_bags(
                    messages, packing.edge_order, packing.edge_offsets, packing.receiver, n_atoms
                ).float()
                node = node + layer.node_message((mean * packing.inverse_degree).to(self.dtype)).float()
            z = z + layer.node_out(functional.silu(node, inplace=True).to(self.dtype)).float()
        z = functional.layer_norm(
            z, (hidden,), network.final_layer_norm.weight, network.final_layer_norm.bias
        )
        out_v = centre(network.out_v(z), index, packing.n_crystals)
        out_l = network.out_l(mean_per_crystal(z, index, packing.n_crystals))
        return (out_v, out_l, network.out_h(z)) if self.config.n_type_outputs else (out_v, out_l)


def _fold(layer: PairLayer, network: PairNetwork, dtype: torch.dtype, *, onednn: bool) -> _Layer:
    hidden, features = network.config.hidden_dim, 3 * network.config.n_frequencies
    first, second = layer.edge_maps
    w_recv, w_send, w_lattice, w_q, w_sin, w_cos = first.weight.split(
        [hidden, hidden, network.config.lattice_dim, 2 * features, features, features], dim=1
    )
    node_in, node_out = layer.node_maps
    bias = torch.cat([first.bias + w_q @ layer.v_proj.bias, torch.zeros_like(first.bias)])
    velocity = w_q @ layer.v_proj.weight
    width = hidden + velocity.shape[1] + w_lattice.shape[1]
    padding = first.weight.new_zeros((2 * hidden, -width % ALIGNED))
    ends = torch.cat(
        [
            torch.cat([w_recv, -velocity, w_lattice], 1),
            torch.cat([w_send, velocity, torch.zeros_like(w_lattice)], 1),
        ]
    )
    return _Layer(
        norm=(layer.layer_norm.weight, layer.layer_norm.bias),
        ends=FastLinear(torch.cat([ends, padding], 1), bias, dtype, silu=False, onednn=onednn),
        even=FastLinear(w_cos, None, dtype, silu=False, onednn=onednn),
        odd=FastLinear(w_sin, None, dtype, silu=False, onednn=onednn),
        edge=FastLinear(second.weight, second.bias, dtype, silu=True, onednn=onednn),
        node=FastLinear(node_in.weight[:, :hidden], node_in.bias, dtype, silu=False, onednn=onednn),
        node_message=FastLinear(node_in.weight[:, hidden:], None, dtype, silu=False, onednn=onednn),
        node_out=FastLinear(node_out.weight, node_out.bias, dtype, silu=True, onednn=onednn),
    )


def chunks_of(n_atoms: Tensor, max_edges: int) -> Iterator[tuple[Packing, slice, slice, int]]:
    """Runs of crystals with at most ``max_edges`` directed edges (at least one crystal each).

    Yields:
        their packing, where their crystals and their atoms stand in the batch, and their number of edges.
    """
    counts = n_atoms.tolist()
    begin, edges, atom = 0, 0, 0
    for end in range(1, len(counts) + 1):
        edges += counts[end - 1] * (counts[end - 1] - 1)
        following = counts[end] * (counts[end] - 1) if end < len(counts) else max_edges
        if edges + following > max_edges or end == len(counts):
            size = sum(counts[begin:end])
            yield pack(n_atoms[begin:end]), slice(begin, end), slice(atom, atom + size), edges
            begin, edges, atom = end, 0, atom + size
