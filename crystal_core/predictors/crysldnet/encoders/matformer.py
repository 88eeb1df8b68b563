"""Matformer's layers as an encoder (Yan et al., NeurIPS 2022): CrysLDNet works with any backbone.

Modules have the names of the official release. The map W_u of [v_i, v_j, e] is linear, so its atom parts are
applied per atom and its edge part, folded with W_e, once per contact. Two things differ from the release:
atoms enter by a one-hot of their element, as in CrysLDNet, where it has CGCNN's table of 92 properties; and
the layers' own width is the latent's. :mod:`.reference` has the plain form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.checks import check_whole
from crystal_core.graphs.crystal_graphs import MATFORMER_GRAPH, CrystalGraphs, EdgeIndex, GraphConfig
from crystal_core.networks.segments import ContactInput, GatherReceivers, GatherSenders, SumOverEdges
from crystal_core.predictors.crysldnet.encoders.pddformer import N_TYPES, gaussians

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class MatformerConfig:
    """Sizes; the defaults are the published ones.

    Attributes:
        width: features per atom and per head. n_centres: radial basis functions between 0 and 8 Å.

    Raises:
        RequestError: a value is out of range.
    """

    width: int = 128
    n_layers: int = 5
    n_heads: int = 4
    n_centres: int = 128

    def __post_init__(self) -> None:
        for name, high in (("width", 4096), ("n_layers", 64), ("n_heads", 64), ("n_centres", 4096)):
            check_whole(name, getattr(self, name), 1, high)


class DistanceBasis(nn.Module):
    """Gaussians of the distance at even centres from 0 to 8 Å; width: inverse spacing, not squared."""

    centers: Tensor

    def __init__(self, n_centres: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(0.0, 8.0, n_centres))
        self.gamma = (n_centres - 1) / 8.0

    def forward(self, distance: Float[Tensor, "contacts"]) -> Float[Tensor, "contacts n_centres"]:
        return gaussians(distance.unsqueeze(-1) - self.centers, self.gamma)


class MatformerLayer(nn.Module):
    """m = LN(W_m (W_u [v_i, v_j, e] * sigmoid(LN(q_i [k_i, k_j, e] / sqrt 3d)))) per head.

    Their sum updates the atom.
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.width, self.n_heads = width, n_heads
        self.lin_query, self.lin_key, self.lin_value = (nn.Linear(width, n_heads * width) for _ in range(3))
        self.lin_edge = nn.Linear(width, n_heads * width, bias=False)
        self.layer_norm = nn.LayerNorm(3 * width)
        self.lin_msg_update = nn.Linear(3 * width, 3 * width)
        self.msg_layer = nn.Sequential(nn.Linear(3 * width, width), nn.LayerNorm(width))
        self.lin_concate = nn.Linear(n_heads * width, width)
        self.lin_skip = nn.Linear(width, width)
        self.bn = nn.BatchNorm1d(width)

    def forward(
        self, x: Float[Tensor, "atoms width"], basis: Float[Tensor, "contacts width"], edges: EdgeIndex
    ) -> Float[Tensor, "atoms width"]:
        query = self.lin_query(x) / math.sqrt(3 * self.width)
        key, value = self.lin_key(x), self.lin_value(x)
        gate = torch.sigmoid(self.layer_norm(self._attention(query, key, self.lin_edge(basis), edges)))
        message = self.msg_layer(self._mixed(value, basis, edges) * gate)
        total = SumOverEdges.apply(message.flatten(1), edges)
        return functional.silu(self.bn(self.lin_concate(total))) + self.lin_skip(x)

    def _attention(self, query: Tensor, key: Tensor, contact: Tensor, edges: EdgeIndex) -> Tensor:
        """q_i times [k_i, k_j, e], (edges, heads, 3 width)."""
        own = GatherReceivers.apply(query * key, edges)
        receiver = GatherReceivers.apply(query, edges)
        other = receiver * GatherSenders.apply(key, edges)
        between = receiver * torch.cat([contact, contact])
        return torch.cat([self._heads(part) for part in (own, other, between)], dim=-1)

    def _mixed(self, value: Tensor, basis: Tensor, edges: EdgeIndex) -> Tensor:
        """W_u [v_i, v_j, W_e basis] + b_u for every edge and head, (edges, heads, 3 width)."""
        w_receive, w_send, w_edge = self.lin_msg_update.weight.split(self.width, dim=1)
        receive = functional.linear(self._heads(value), w_receive, self.lin_msg_update.bias)
        send = functional.linear(self._heads(value), w_send)
        # one map of the basis per head: (heads, 3 width, width) = W_u's edge part times the
        # head's rows of W_e
        folded = w_edge @ self.lin_edge.weight.view(self.n_heads, self.width, self.width)
        contact = functional.linear(basis, folded.flatten(0, 1))
        mixed = ContactInput.apply(receive.flatten(1), send.flatten(1), contact, edges)
        return cast("Tensor", mixed).view(-1, self.n_heads, 3 * self.width)

    def _heads(self, values: Tensor) -> Tensor:
        return values.view(-1, self.n_heads, self.width)


class Matformer(nn.Module):
    """Graphs → one row of ``width`` numbers per atom."""

    def __init__(self, config: MatformerConfig | None = None, graph: GraphConfig = MATFORMER_GRAPH) -> None:
        super().__init__()
        self.config, self.graph = config or MatformerConfig(), graph
        width = self.config.width
        self.atom_embedding = nn.Linear(N_TYPES, width)
        self.rbf = nn.Sequential(
            DistanceBasis(self.config.n_centres),
            nn.Linear(self.config.n_centres, width),
            nn.Softplus(),
            nn.Linear(width, width),
        )
        self.layers = nn.ModuleList(
            MatformerLayer(width, self.config.n_heads) for _ in range(self.config.n_layers)
        )

    @property
    def width(self) -> int:
        return self.config.width

    @property
    def matformer_layers(self) -> list[MatformerLayer]:
        """The layers, in order."""
        return cast("list[MatformerLayer]", list(self.layers))

    def forward(self, graphs: CrystalGraphs) -> Float[Tensor, "atoms width"]:
        """Features of every atom. In training mode the batch statistics couple the crystals of a batch."""
        x = (
            functional.embedding(graphs.atomic_numbers, self.atom_embedding.weight.t())
            + self.atom_embedding.bias
        )
        basis, edges = self.rbf(graphs.distance), graphs.edges
        for layer in self.matformer_layers:
            x = layer(x, basis, edges)
        return x
