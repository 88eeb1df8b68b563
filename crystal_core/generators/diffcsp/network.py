"""CSPNet, the network of DiffCSP, in its packed form for training.

Parameters have the published names and shapes, so one state dictionary serves every form. The forward pass
uses identities that are exact in real arithmetic: the first map of a message is linear, so its parts for
atoms and cells are applied per atom and per cell; of the Fourier features of d and -d the sines flip and the
cosines stay, so every unordered pair is multiplied once. The plain form is in
:mod:`crystal_core.generators.diffcsp.reference`.

Symbols of Jiao et al. 2023, section 4.2: h node features, F fractional coordinates, L lattice, psi Fourier
features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.checks import check_whole
from crystal_core.geometry import mean_per_crystal
from crystal_core.networks.pair_network import MessageLayer, pair_features
from crystal_core.networks.segments import EdgeInput, SumOverEdges

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from crystal_core.networks.packing import Packing

GRAM = 9  # entries of L Lᵀ


@dataclass(frozen=True, kw_only=True)
class CspNetworkConfig:
    """Sizes; the defaults are the published ones (12.3 million parameters).

    Attributes:
        n_types: elements, H to Fm. time_dim: width of the time features, an even number.

    Raises:
        RequestError: a size is out of range.
    """

    hidden_dim: int = 512
    n_layers: int = 6
    n_frequencies: int = 128
    time_dim: int = 256
    n_types: int = 100

    def __post_init__(self) -> None:
        for name, low, high in (
            ("hidden_dim", 1, 4096),
            ("n_layers", 1, 64),
            ("n_frequencies", 1, 1024),
            ("time_dim", 4, 4096),
            ("n_types", 1, 118),
        ):
            check_whole(name, getattr(self, name), low, high)


class CspLayer(MessageLayer):
    """The parameters of one message-passing layer, named and shaped as published."""

    def __init__(self, config: CspNetworkConfig) -> None:
        super().__init__()
        hidden = config.hidden_dim
        self.add_maps(hidden, 2 * hidden + GRAM + 6 * config.n_frequencies)

    def blocks(self, n_frequencies: int) -> tuple[Tensor, ...]:
        """The first edge map by its inputs: receiver, sender, L Lᵀ, sines, cosines."""
        first, hidden, features = self.edge_maps[0], self.layer_norm.weight.shape[0], 3 * n_frequencies
        return first.weight.split([hidden, hidden, GRAM, features, features], dim=1)


class CspNetwork(nn.Module):
    """(t, F, elements, L) → noise of the lattice and the standardised score of the coordinates."""

    def __init__(self, config: CspNetworkConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_dim
        self.node_embedding = nn.Embedding(config.n_types, hidden)
        self.atom_latent_emb = nn.Linear(hidden + config.time_dim, hidden)
        for i in range(config.n_layers):
            self.add_module(f"csp_layer_{i}", CspLayer(config))
        self.final_layer_norm = nn.LayerNorm(hidden)
        self.coord_out = nn.Linear(hidden, 3, bias=False)
        self.lattice_out = nn.Linear(hidden, 9, bias=False)

    @property
    def layers(self) -> list[CspLayer]:
        """The layers, in order."""
        return [cast("CspLayer", self.get_submodule(f"csp_layer_{i}")) for i in range(self.config.n_layers)]

    def gram(self, lattice: Float[Tensor, "crystals 3 3"]) -> Float[Tensor, "crystals 9"]:
        """L Lᵀ, the same for every orientation of the cell."""
        with torch.autocast(lattice.device.type, enabled=False):  # bf16 would round lengths to 0.2 %
            return (lattice @ lattice.mT).flatten(1)

    def time_features(self, t: Int[Tensor, "crystals"]) -> Float[Tensor, "crystals time_dim"]:
        """Sines, then cosines, of the time index at frequencies between 1 and 1/10000."""
        half, weight = self.config.time_dim // 2, self.node_embedding.weight
        k = torch.arange(half, dtype=weight.dtype, device=weight.device)
        angle = t.to(weight.dtype).unsqueeze(-1) * torch.exp(-math.log(10000.0) * k / (half - 1))
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def forward(
        self,
        t: Int[Tensor, "crystals"],
        frac_coords: Float[Tensor, "atoms 3"],
        atomic_numbers: Int[Tensor, "atoms"],
        lattice: Float[Tensor, "crystals 3 3"],
        packing: Packing,
    ) -> tuple[Tensor, Tensor]:
        """Lattice noise (crystals, 3, 3), turning with the cell; score (atoms, 3) over its norm."""
        index = packing.crystal_index
        whole = self.node_embedding.weight.dtype
        z = self.atom_latent_emb(
            torch.cat([self.node_embedding(atomic_numbers - 1), self.time_features(t)[index]], dim=-1)
        ).to(whole)
        cosines, sines = pair_features(frac_coords, packing, self.config.n_frequencies)
        if torch.is_autocast_enabled(z.device.type):  # once, where autocast would cast them in every layer
            cosines, sines = (x.to(torch.get_autocast_dtype(z.device.type)) for x in (cosines, sines))
        gram = self.gram(lattice)
        for layer in self.layers:
            z = z + self._update(layer, z, gram, cosines, sines, packing).to(whole)
        # bf16 steps of the lattice head would be as large as the noise of small times
        with torch.autocast(z.device.type, enabled=False):
            z = self.final_layer_norm(z)
            cells = self.lattice_out(mean_per_crystal(z, index, packing.n_crystals))
            return cells.view(-1, 3, 3) @ lattice, self.coord_out(z)

    def _update(
        self, layer: CspLayer, z: Tensor, gram: Tensor, cosines: Tensor, sines: Tensor, packing: Packing
    ) -> Tensor:
        x = layer.layer_norm(z)
        first, second = layer.edge_maps
        w_receive, w_send, w_gram, w_sin, w_cos = layer.blocks(self.config.n_frequencies)
        send = functional.linear(x, w_send)
        with torch.autocast(z.device.type, enabled=False):
            of_cell = functional.linear(gram, w_gram, first.bias)
        receive = (functional.linear(x, w_receive) + of_cell[packing.crystal_index]).to(send.dtype)
        even, odd = functional.linear(cosines, w_cos), functional.linear(sines, w_sin)
        edges = EdgeInput.apply(receive, send, even, odd, packing)
        # an atom is its own neighbour, too: at distance 0 all sines are 0 and all cosines 1
        own = receive + send + w_cos.sum(1).to(send.dtype)
        messages, to_itself = (
            functional.silu(functional.linear(functional.silu(e), second.weight, second.bias))
            for e in (edges, own)
        )
        n_atoms = packing.n_atoms[packing.crystal_index].unsqueeze(-1)
        mean = (SumOverEdges.apply(messages, packing) + to_itself) / n_atoms
        return layer.node_mlp(torch.cat([x, mean.to(x.dtype)], dim=-1))
