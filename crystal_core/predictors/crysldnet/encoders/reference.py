"""The encoders edge by edge as published: slow, plain, the reference of the fast forms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from crystal_core.graphs.pdd import pdd_rows
from crystal_core.predictors.crysldnet.encoders.pddformer import DROPOUT, N_TYPES, Pddformer

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.graphs.crystal_graphs import CrystalGraphs
    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer


def reference_pddformer(network: Pddformer, graphs: CrystalGraphs) -> Tensor:
    """``network(graphs)`` in plain form, with dropout in training mode."""
    i, j = graphs.edges.receiver, graphs.edges.sender
    one_hot = functional.one_hot(graphs.atomic_numbers, N_TYPES).to(graphs.distance.dtype)
    x = network.atom_embedding(one_hot)
    x = x if network.atom_mlp is None else network.atom_mlp(x)
    basis = network.rbf(torch.cat([graphs.distance, graphs.distance]))
    a = network.embed_adj(pdd_rows(graphs, network.config.pdd_weight))
    for layer, attention in enumerate(network.attentions):
        q = attention.lin_query(x)[i]
        k = attention.lin_key(x)
        v = attention.lin_value(x)
        e = attention.lin_edge(basis)
        key = attention.key_update(torch.cat([k[i], k[j], e], dim=-1))
        alpha = q * key / math.sqrt(network.width)
        message = attention.lin_msg_update(torch.cat([v[i], v[j], e], dim=-1))
        message = message * torch.sigmoid(attention.bn_att(alpha))
        total = torch.zeros_like(x).index_add_(0, i, message)
        x = functional.softplus(x + attention.bn(attention.lin_concate(total)))
        if layer < len(network.gates):
            gate = network.gates[layer]
            a = a + x
            first, second = gate.lin1(gate.bn(a)).chunk(2, dim=-1)
            second = functional.dropout(functional.gelu(second), DROPOUT, network.training)
            x = gate.lin3(gate.lin2(first) * second) + x
    return x


def reference_matformer(network: Matformer, graphs: CrystalGraphs) -> Tensor:
    """``network(graphs)`` in plain form."""
    i, j = graphs.edges.receiver, graphs.edges.sender
    heads, width = network.config.n_heads, network.config.width
    x = network.atom_embedding(functional.one_hot(graphs.atomic_numbers, N_TYPES).to(graphs.distance.dtype))
    basis = network.rbf(torch.cat([graphs.distance, graphs.distance]))
    for layer in network.matformer_layers:
        q, k, v = (
            part(x).view(-1, heads, width) for part in (layer.lin_query, layer.lin_key, layer.lin_value)
        )
        e = layer.lin_edge(basis).view(-1, heads, width)
        alpha = torch.cat([q[i], q[i], q[i]], dim=-1) * torch.cat([k[i], k[j], e], dim=-1)
        alpha = layer.layer_norm(alpha / math.sqrt(3 * width))
        message = layer.lin_msg_update(torch.cat([v[i], v[j], e], dim=-1)) * torch.sigmoid(alpha)
        message = layer.msg_layer(message)
        total = message.new_zeros((x.shape[0], heads, width)).index_add_(0, i, message)
        x = functional.silu(layer.bn(layer.lin_concate(total.flatten(1)))) + layer.lin_skip(x)
    return x
