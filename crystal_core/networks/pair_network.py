"""The pair network of KLDM (DiffCSP's network with velocities) and its packed form for training.

Parameters have the published layout, so one state dictionary serves every form. The forward pass uses
identities that are exact in real arithmetic (docs/speed.md): the first edge map is linear, so its atom,
velocity and lattice parts are applied per atom; of the Fourier features of d and -d the sines flip and the
cosines stay, so each unordered pair is multiplied once; features do not depend on the layer.
:mod:`crystal_core.networks.reference` has the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.geometry import TWO_PI, centre, mean_per_crystal
from crystal_core.networks.segments import EdgeInput, SumOverEdges

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from crystal_core.networks.packing import Packing


@dataclass(frozen=True, kw_only=True)
class PairNetworkConfig:
    """Sizes; the defaults are the published ones (14,924,800 parameters).

    Attributes:
        n_types: rows of the embedding table; CSP uses the atomic number as index (0 is unused).
        n_type_inputs: width of noisy type vectors, which take a linear map instead of the table;
            0 for whole types.
        n_type_outputs: width of the atom-type head of de novo models; 0 for structure prediction.
    """

    hidden_dim: int = 512
    n_layers: int = 6
    n_frequencies: int = 128
    time_dim: int = 256
    lattice_dim: int = 6
    n_types: int = 101
    n_type_inputs: int = 0
    n_type_outputs: int = 0


class TimeRow(nn.Module):
    """The fixed random frequencies of the time features: a buffer, never trained."""

    weight: Tensor

    def __init__(self, n_frequencies: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(n_frequencies, 1))


class MessageLayer(nn.Module):
    """The maps of a message and an update, by their published names; each layer orders them itself."""

    def add_maps(self, hidden: int, message_inputs: int) -> None:
        """Give the layer its maps: of a message, of an update, and the norm before both."""
        self.edge_mlp = nn.Sequential(
            nn.Linear(message_inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.node_mlp = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.layer_norm = nn.LayerNorm(hidden)

    @property
    def edge_maps(self) -> tuple[nn.Linear, nn.Linear]:
        """The two linear maps of a message."""
        return cast("tuple[nn.Linear, nn.Linear]", (self.edge_mlp[0], self.edge_mlp[2]))

    @property
    def node_maps(self) -> tuple[nn.Linear, nn.Linear]:
        """The two linear maps of an update."""
        return cast("tuple[nn.Linear, nn.Linear]", (self.node_mlp[0], self.node_mlp[2]))


class PairLayer(MessageLayer):
    """The parameters of one message-passing layer, named and shaped as published."""

    def __init__(self, config: PairNetworkConfig) -> None:
        super().__init__()
        hidden, features = config.hidden_dim, 6 * config.n_frequencies
        self.v_proj = nn.Linear(3, features)
        self.add_maps(hidden, 2 * hidden + config.lattice_dim + 2 * features)


class PairNetwork(nn.Module):
    """(t, f, u, species, l) → standardised velocity score, lattice prediction and, de novo, types."""

    def __init__(self, config: PairNetworkConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_dim
        if config.n_type_inputs:
            self.node_embedding: nn.Module = nn.Linear(config.n_type_inputs, hidden, bias=False)
        else:
            self.node_embedding = nn.Embedding(config.n_types, hidden)
        self.atom_latent_emb = nn.Linear(hidden + config.time_dim, hidden)
        self.time_emb = TimeRow(config.time_dim // 2)
        self.layers = nn.ModuleList(PairLayer(config) for _ in range(config.n_layers))
        self.final_layer_norm = nn.LayerNorm(hidden)
        self.out_v = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 3, bias=False))
        self.out_l = nn.Linear(hidden, config.lattice_dim, bias=False)
        if config.n_type_outputs:
            self.out_h = nn.Linear(hidden, config.n_type_outputs)

    @property
    def pair_layers(self) -> list[PairLayer]:
        """The layers, in order."""
        return cast("list[PairLayer]", list(self.layers))

    def time_features(self, t: Float[Tensor, "crystals"]) -> Float[Tensor, "crystals time_dim"]:
        """[cos(2 pi W t), sin(2 pi W t)] with the fixed random row W."""
        angle = TWO_PI * t.unsqueeze(-1) * self.time_emb.weight.squeeze(-1)
        return torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)

    def forward(
        self,
        t: Float[Tensor, "crystals"],
        frac_coords: Float[Tensor, "atoms 3"],
        velocity: Float[Tensor, "atoms 3"],
        species: Int[Tensor, "atoms"] | Float[Tensor, "atoms n_type_inputs"],
        lattice: Float[Tensor, "crystals 6"],
        packing: Packing,
    ) -> tuple[Tensor, ...]:
        """Velocity (atoms, 3), zero mean per crystal; lattice (crystals, 6); type outputs if any."""
        index, n_crystals = packing.crystal_index, packing.n_crystals
        time = self.time_features(t)[index]
        z = self.atom_latent_emb(torch.cat([self.node_embedding(species), time], dim=-1))
        cosines, sines = pair_features(frac_coords, packing, self.config.n_frequencies)
        # once, where autocast would cast them again in every layer
        if torch.is_autocast_enabled(z.device.type):
            cosines, sines = (x.to(torch.get_autocast_dtype(z.device.type)) for x in (cosines, sines))
        for layer in self.pair_layers:
            z = z + self._message(layer, z, velocity, lattice, cosines, sines, packing)
        z = self.final_layer_norm(z)
        out_v = centre(self.out_v(z).float(), index, n_crystals)
        out_l = self.out_l(mean_per_crystal(z.float(), index, n_crystals))
        if self.config.n_type_outputs:
            return out_v, out_l, self.out_h(z)
        return out_v, out_l

    def _message(
        self,
        layer: PairLayer,
        z: Tensor,
        velocity: Tensor,
        lattice: Tensor,
        cosines: Tensor,
        sines: Tensor,
        packing: Packing,
    ) -> Tensor:
        hidden, features = self.config.hidden_dim, 3 * self.config.n_frequencies
        x = layer.layer_norm(z)
        first, second = layer.edge_maps
        w_recv, w_send, w_lattice, w_q, w_sin, w_cos = first.weight.split(
            [hidden, hidden, self.config.lattice_dim, 2 * features, features, features], dim=1
        )
        w_velocity = w_q @ layer.v_proj.weight  # (hidden, 3): the projected velocity difference, folded
        from_velocity = functional.linear(velocity, w_velocity)
        bias = first.bias + w_q @ layer.v_proj.bias
        receive = (
            functional.linear(x, w_recv, bias)
            + functional.linear(lattice, w_lattice)[packing.crystal_index]
            - from_velocity
        )
        send = functional.linear(x, w_send) + from_velocity
        even = functional.linear(cosines, w_cos)
        odd = functional.linear(sines, w_sin)
        edges = EdgeInput.apply(receive, send, even, odd, packing)
        messages = functional.silu(functional.linear(functional.silu(edges), second.weight, second.bias))
        mean = SumOverEdges.apply(messages, packing) * packing.inverse_degree
        return layer.node_mlp(torch.cat([x, mean.to(x.dtype)], dim=-1))


def pair_features(frac_coords: Tensor, packing: Packing, n_frequencies: int) -> tuple[Tensor, Tensor]:
    """Cos and sin of 2 pi k (f_j - f_i), each (pairs, 3 K), component-major, k = 0..K-1."""
    frequencies = TWO_PI * torch.arange(n_frequencies, dtype=frac_coords.dtype, device=frac_coords.device)
    difference = frac_coords[packing.pair_j] - frac_coords[packing.pair_i]
    angle = (difference.unsqueeze(-1) * frequencies).flatten(1)
    return torch.cos(angle), torch.sin(angle)
