"""CrysLDNet's encoder: attention over contacts (ComFormer), a gate over distances (ZeoFormer).

Modules have the names and shapes of the official release, so one state dictionary serves both. The forward
pass uses identities that are exact in real arithmetic: the first map of a message is linear in [k_i, k_j, e],
so its atom parts are applied per atom and its edge part, folded with W_e, once per contact, since both
directions have one length. That leaves 3 of 9 products per edge. :mod:`.reference` has the plain form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.graphs.crystal_graphs import (
    CRYSLDNET_GRAPH,
    PDDFORMER_GRAPH,
    CrystalGraphs,
    EdgeIndex,
    GraphConfig,
)
from crystal_core.graphs.pdd import PddWeight, pdd_rows
from crystal_core.networks.segments import ContactInput, GatherReceivers, SumOverEdges

if TYPE_CHECKING:
    from jaxtyping import Float


N_TYPES = 119  # atomic numbers, and 0 for a hidden element
DROPOUT = 0.1


@dataclass(frozen=True, kw_only=True)
class PddformerConfig:
    """Sizes; the defaults are ours, small enough to train without a GPU.

    Attributes:
        width: features per atom. n_layers: attention layers; gates stand between them.
        n_centres: radial basis functions, Gaussians of -basis_scale / d between -basis_reach and 0.
        pdd_weight: the first number of an atom's row; see :mod:`crystal_core.graphs.pdd`.
        edge_activation: behind the linear map of the radial basis.
        atom_input: how the one-hot of an element enters, through one linear map or through
            two with SiLU between.

    Raises:
        RequestError: a value is out of range.
    """

    width: int = 128
    n_layers: int = 4
    n_centres: int = 256
    n_nearest: int = 92
    pdd_weight: PddWeight = "relative"
    basis_scale: float = 0.75
    basis_reach: float = 4.0
    edge_activation: Literal["softplus", "silu"] = "softplus"
    atom_input: Literal["linear", "mlp"] = "linear"

    def __post_init__(self) -> None:
        for name, high in (("width", 4096), ("n_layers", 64), ("n_centres", 4096), ("n_nearest", 200)):
            check_whole(name, getattr(self, name), 1, high)
        check_choice("pdd_weight", self.pdd_weight, ("relative", "share"))
        check_choice("edge_activation", self.edge_activation, ("softplus", "silu"))
        check_choice("atom_input", self.atom_input, ("linear", "mlp"))
        check_number("basis_scale", self.basis_scale, 0.01, 100.0)
        check_number("basis_reach", self.basis_reach, 0.01, 100.0)


CRYSLDNET_SIZE = PddformerConfig(width=256, pdd_weight="share")  # 4,332,800 parameters
PDDFORMER_SIZE = PddformerConfig(
    width=256,
    n_layers=3,
    n_nearest=50,
    pdd_weight="share",
    basis_scale=1.0,
    basis_reach=6.0,
    edge_activation="silu",
    atom_input="mlp",
)


def gaussians(offset: Tensor, gamma: float) -> Tensor:
    """exp(-gamma offset^2), and 0 below 2e-22."""
    # most centres are far away: exp and matrix products of subnormal numbers (below 1e-38)
    # are many times slower
    values = torch.exp(torch.clamp(-gamma * offset.square(), min=-55.0))
    return functional.threshold(values, 2e-22, 0.0)


class RadialBasis(nn.Module):
    """Gaussians of s = -scale / d at even centres from -reach to 0; width: inverse spacing, not squared."""

    centers: Tensor

    def __init__(self, n_centres: int, scale: float = 0.75, reach: float = 4.0) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(-reach, 0.0, n_centres))
        self.scale, self.gamma = scale, (n_centres - 1) / reach

    def forward(self, distance: Float[Tensor, "contacts"]) -> Float[Tensor, "contacts n_centres"]:
        offset = (-self.scale / distance).unsqueeze(-1) - self.centers
        return gaussians(offset, self.gamma)


class Attention(nn.Module):
    """One layer of messages: m = M(v_i, v_j, e) sigmoid(BN(q_i K(k_i, k_j, e) / sqrt d)), no softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.lin_query, self.lin_key, self.lin_value, self.lin_edge, self.lin_concate = (
            nn.Linear(width, width) for _ in range(5)
        )
        self.key_update, self.lin_msg_update = (
            nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(2)
        )
        self.bn, self.bn_att = nn.BatchNorm1d(width), nn.BatchNorm1d(width)

    def forward(
        self, x: Float[Tensor, "atoms width"], basis: Float[Tensor, "contacts width"], edges: EdgeIndex
    ) -> Float[Tensor, "atoms width"]:
        keys = self._mixed(self.key_update, self.lin_key(x), basis, edges)
        messages = self._mixed(self.lin_msg_update, self.lin_value(x), basis, edges)
        gate = torch.sigmoid(self._normalised(self.lin_query(x) / math.sqrt(self.width), keys, edges))
        total = SumOverEdges.apply(messages * gate, edges)
        return functional.softplus(x + self.bn(self.lin_concate(total)))

    def _normalised(self, query: Tensor, keys: Tensor, edges: EdgeIndex) -> Tensor:
        """BN(q_i K) for every edge; with fixed statistics its scale is applied to the atoms' queries."""
        bn = self.bn_att
        if self.training or bn.running_mean is None or bn.running_var is None:
            return bn(GatherReceivers.apply(query, edges) * keys)
        scale = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
        shift = bn.bias - bn.running_mean * scale
        return torch.addcmul(shift, GatherReceivers.apply(query * scale, edges), keys)

    def _mixed(self, maps: nn.Sequential, nodes: Tensor, basis: Tensor, edges: EdgeIndex) -> Tensor:
        """The two maps of [nodes_i, nodes_j, W_e basis + b_e] per edge, the first split into three parts."""
        first, second = cast("nn.Linear", maps[0]), cast("nn.Linear", maps[2])
        w_receive, w_send, w_edge = first.weight.split(self.width, dim=1)
        receive = functional.linear(nodes, w_receive, first.bias + w_edge @ self.lin_edge.bias)
        send = functional.linear(nodes, w_send)
        contact = functional.linear(basis, w_edge @ self.lin_edge.weight)
        return second(functional.silu(ContactInput.apply(receive, send, contact, edges)))


class Gate(nn.Module):
    """ZeoFormer's block: a runs beside x, gathers what x was, and gates what x becomes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, 2 * width)
        self.lin2 = nn.Linear(width, width)
        self.lin3 = nn.Linear(width, width)
        self.bn = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """The new x and the new a; the sum itself travels on, not its normalised form."""
        a = a + x
        linear, gate = self.lin1(self.bn(a)).chunk(2, dim=-1)
        gate = functional.dropout(functional.gelu(gate), DROPOUT, self.training)
        return self.lin3(self.lin2(linear) * gate) + x, a


class Pddformer(nn.Module):
    """Graphs → one row of ``width`` positive numbers per atom."""

    def __init__(self, config: PddformerConfig, graph: GraphConfig) -> None:
        super().__init__()
        self.config, self.graph = config, graph
        width = config.width
        self.atom_embedding = nn.Linear(N_TYPES, width)
        # of the input "mlp": what follows the linear map of the one-hot
        self.atom_mlp = (
            nn.Sequential(nn.SiLU(), nn.Linear(width, width)) if config.atom_input == "mlp" else None
        )
        self.rbf = nn.Sequential(
            RadialBasis(config.n_centres, config.basis_scale, config.basis_reach),
            nn.Linear(config.n_centres, width),
            nn.SiLU() if config.edge_activation == "silu" else nn.Softplus(),
        )
        self.embed_adj = nn.Sequential(nn.Linear(config.n_nearest + 1, width))
        self.att_layers = nn.ModuleList(Attention(width) for _ in range(config.n_layers))
        self.lin = nn.ModuleList(Gate(width) for _ in range(config.n_layers - 1))

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def attentions(self) -> list[Attention]:
        """The attention layers, in order."""
        return cast("list[Attention]", list(self.att_layers))

    @property
    def gates(self) -> list[Gate]:
        """The gate behind each attention layer but the last."""
        return cast("list[Gate]", list(self.lin))

    def forward(self, graphs: CrystalGraphs) -> Float[Tensor, "atoms width"]:
        """Features of every atom. In training mode the batch statistics couple the crystals of a batch."""
        x = functional.embedding(graphs.atomic_numbers, self.atom_embedding.weight.t())
        rows = pdd_rows(graphs, self.config.pdd_weight)
        return self._layers(x + self.atom_embedding.bias, graphs.distance, rows, graphs.edges)

    def soft(
        self,
        types: Float[Tensor, "atoms elements"],
        distance: Float[Tensor, "contacts"],
        weights: Float[Tensor, "atoms"],
        graphs: CrystalGraphs,
    ) -> Float[Tensor, "atoms width"]:
        """Features of atoms with element probabilities, differentiable in all; ``forward`` if certain.

        Args:
            types: by atomic number - 1.
            distance: of the contacts of ``graphs``, in Å.
            weights: first number of the atoms' rows.
        """
        x = types @ self.atom_embedding.weight[:, 1:].t() + self.atom_embedding.bias
        rows = torch.cat([weights.unsqueeze(-1), graphs.nearest], dim=-1)
        return self._layers(x, distance, rows, graphs.edges)

    def _layers(self, x: Tensor, distance: Tensor, rows: Tensor, edges: EdgeIndex) -> Tensor:
        if self.atom_mlp is not None:
            x = self.atom_mlp(x)
        basis, a = self.rbf(distance), self.embed_adj(rows)
        *others, last = self.attentions
        for attention, gate in zip(others, self.gates, strict=True):
            x = attention(x, basis, edges)
            x, a = gate(x, a)
        return last(x, basis, edges)


def small_pddformer() -> Pddformer:
    """Our default: width 128, 16 neighbours, features that no choice of cell changes."""
    return Pddformer(PddformerConfig(), GraphConfig(n_neighbours=16))


def crysldnet_pddformer() -> Pddformer:
    """The encoder of the official release: width 256, 25 neighbours."""
    return Pddformer(CRYSLDNET_SIZE, CRYSLDNET_GRAPH)


def official_pddformer() -> Pddformer:
    """The encoder of PDDFormer (IJCAI 2025, arXiv 2408.12984), the baseline of CrysLDNet.

    Elements enter by a one-hot, where the release has CGCNN's table of 92 properties, which no package here
    contains. Its head is the "residual" one of :class:`..heads.HeadsConfig`.
    """
    return Pddformer(PDDFORMER_SIZE, PDDFORMER_GRAPH)
