"""Gathers and sums over edges with backward passes that never index-add on a CPU, where that is several times slower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.networks.packing import Packing


def sum_bags(values: Tensor, order: Tensor, offsets: Tensor, index: Tensor, n_bags: int) -> Tensor:
    """Sum of rows of ``values`` per bag. CPU: one fused gather-and-sum; accelerators: atomic adds, which are fast there."""
    if values.is_cuda:
        return values.new_zeros((n_bags, values.shape[1])).index_add_(0, index, values)
    if values.dtype != torch.float32:
        return functional.embedding_bag(order, values.float(), offsets, mode="sum").to(values.dtype)
    return functional.embedding_bag(order, values, offsets, mode="sum")


class SumOverEdges(torch.autograd.Function):
    """(edges, k) → (atoms, k): sum over the edges that an atom receives."""

    @staticmethod
    def forward(ctx, messages: Tensor, packing: Packing) -> Tensor:  # noqa: ANN001
        ctx.packing = packing
        return sum_bags(
            messages,
            packing.edge_order,
            packing.edge_offsets,
            packing.receiver,
            packing.crystal_index.shape[0],
        )

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN001
        return gradient.index_select(0, ctx.packing.receiver), None


class EdgeInput(torch.autograd.Function):
    """receive[i] + send[j] + (even ± odd) for every directed edge; + in the first half (i, j), - in the second (j, i)."""

    @staticmethod
    def forward(ctx, receive: Tensor, send: Tensor, even: Tensor, odd: Tensor, packing: Packing) -> Tensor:  # noqa: ANN001
        ctx.packing = packing
        half = packing.pair_i.shape[0]
        edges = receive.index_select(0, packing.receiver)
        edges += send.index_select(0, packing.sender)
        edges[:half].add_(even).add_(odd)
        edges[half:].add_(even).sub_(odd)
        return edges

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:  # noqa: ANN001
        packing = ctx.packing
        half, n_atoms = packing.pair_i.shape[0], packing.crystal_index.shape[0]
        gradient = gradient.contiguous()
        receive = sum_bags(gradient, packing.edge_order, packing.edge_offsets, packing.receiver, n_atoms)
        send = sum_bags(gradient, packing.sender_order, packing.edge_offsets, packing.sender, n_atoms)
        first, second = gradient[:half], gradient[half:]
        return receive, send, first + second, first - second, None
