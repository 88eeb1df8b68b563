"""Index tensors for several crystals at once: concatenated atoms, each unordered pair once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Which atoms form pairs. Directed edges come in two halves: first (i, j) of every pair, then (j, i).

    Attributes:
        n_atoms: (crystals,). crystal_index: (atoms,).
        pair_i, pair_j: (pairs,) with i < j in the same crystal.
        edge_order: (2 pairs,) edges sorted by their receiver.
        edge_offsets: (atoms,) first edge of each receiver in it.
        sender_order: (2 pairs,) edges sorted by their sender; has the same offsets, because every
            edge has its twin.
        inverse_degree: (atoms, 1) 1 / (N - 1), and 0 for an atom alone in its cell.
    """

    n_atoms: Int[Tensor, "crystals"]
    crystal_index: Int[Tensor, "atoms"]
    pair_i: Int[Tensor, "pairs"]
    pair_j: Int[Tensor, "pairs"]
    receiver: Int[Tensor, "edges"]
    sender: Int[Tensor, "edges"]
    edge_order: Int[Tensor, "edges"]
    sender_order: Int[Tensor, "edges"]
    edge_offsets: Int[Tensor, "atoms"]
    inverse_degree: Tensor

    @property
    def n_crystals(self) -> int:
        return int(self.n_atoms.shape[0])

    def to(self, device: torch.device | str) -> Packing:
        """The same indices on another device."""
        return Packing(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def pack(n_atoms: Tensor) -> Packing:
    """Build the indices of a batch; linear in the number of pairs, on the device of ``n_atoms``."""
    device = n_atoms.device
    n_atoms = n_atoms.long()
    counts = n_atoms.tolist()
    first_atom = torch.cumsum(n_atoms, 0) - n_atoms
    pairs_i, pairs_j = [], []
    by_count: dict[int, list[int]] = {}
    for crystal, count in enumerate(counts):
        by_count.setdefault(count, []).append(crystal)
    for count, crystals in by_count.items():
        if count < 2:
            continue
        low, high = _pairs_of(count)
        start = first_atom[torch.tensor(crystals, device=device)].unsqueeze(-1)
        pairs_i.append((start + low.to(device)).reshape(-1))
        pairs_j.append((start + high.to(device)).reshape(-1))
    empty = torch.zeros(0, dtype=torch.long, device=device)
    pair_i = torch.cat(pairs_i) if pairs_i else empty
    pair_j = torch.cat(pairs_j) if pairs_j else empty
    receiver = torch.cat([pair_i, pair_j])
    edge_order = torch.argsort(receiver, stable=True)
    degree = torch.repeat_interleave(n_atoms - 1, n_atoms)
    half = pair_i.shape[0]
    # swapping the halves of an edge index gives the reversed edge: sorted by sender = twins of
    # those sorted by receiver
    sender_order = torch.where(edge_order < half, edge_order + half, edge_order - half)
    return Packing(
        n_atoms=n_atoms,
        crystal_index=torch.repeat_interleave(torch.arange(len(counts), device=device), n_atoms),
        pair_i=pair_i,
        pair_j=pair_j,
        receiver=receiver,
        sender=torch.cat([pair_j, pair_i]),
        edge_order=edge_order,
        sender_order=sender_order,
        edge_offsets=torch.cumsum(degree, 0) - degree,
        inverse_degree=torch.where(degree > 0, 1.0 / degree.clamp(min=1), torch.zeros(1, device=device))
        .unsqueeze(-1)
        .float(),
    )


@lru_cache(maxsize=256)
def _pairs_of(count: int) -> tuple[Tensor, Tensor]:
    low, high = torch.triu_indices(count, count, offset=1)
    return low, high
