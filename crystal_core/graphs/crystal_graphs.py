"""Several crystals as one graph batch, the form that every graph network here takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from crystal_core.checks import check_choice, check_whole
from crystal_core.errors import RequestError
from crystal_core.graphs.lattice_edges import LatticeEdges, lattice_images
from crystal_core.graphs.neighbours import Neighbours, find_neighbours

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from crystal_core.crystal import CrystalBatch

MAX_NEIGHBOURS = 200


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """The rules that turn a crystal into a graph.

    Attributes:
        n_neighbours: nearest atoms that an atom is in contact with; all atoms at the distance of
            the last one count.
        tolerance: distances closer than this, in Å, are equal. 0 compares exactly, as
            the published code does.
        n_nearest: distances in an atom's row of the pointwise distance distribution; 0 leaves the rows out.
        self_contacts: how often a contact of an atom with its own image is listed. "once" gives the same
            messages in every supercell; "twice" is the published construction, which finds it from both ends.
        lattice_edges: further contacts of every atom with its own images; see
            :mod:`crystal_core.graphs.lattice_edges`.

    Raises:
        RequestError: a value is out of range.
    """

    n_neighbours: int = 16
    tolerance: float = 1e-4
    n_nearest: int = 92
    self_contacts: Literal["once", "twice"] = "once"
    lattice_edges: LatticeEdges = "none"

    def __post_init__(self) -> None:
        check_whole("n_neighbours", self.n_neighbours, 1, MAX_NEIGHBOURS)
        check_whole("n_nearest", self.n_nearest, 0, MAX_NEIGHBOURS)
        check_choice("self_contacts", self.self_contacts, ("once", "twice"))
        check_choice("lattice_edges", self.lattice_edges, ("none", "shortest", "cell"))
        if not 0 <= self.tolerance < 1:
            raise RequestError(f"tolerance lies between 0 and 1 Å, not {self.tolerance!r}.")


CRYSLDNET_GRAPH = GraphConfig(n_neighbours=25, tolerance=0.0, self_contacts="twice")
PDDFORMER_GRAPH = replace(CRYSLDNET_GRAPH, n_nearest=50)
MATFORMER_GRAPH = GraphConfig(
    n_neighbours=12, tolerance=0.0, n_nearest=0, self_contacts="twice", lattice_edges="cell"
)


@dataclass(frozen=True, kw_only=True)
class EdgeIndex:
    """Directed edges in two halves: every contact (i, j), then every (j, i); i receives, j sends.

    Attributes:
        receiver, sender: (2 contacts,). crystal_index: (atoms,).
        edge_order, sender_order: edges sorted by their receiver, and by their sender.
        edge_offsets: (atoms,) first edge of each atom in either order.
    """

    pair_i: Int[Tensor, "contacts"]
    pair_j: Int[Tensor, "contacts"]
    receiver: Int[Tensor, "edges"]
    sender: Int[Tensor, "edges"]
    edge_order: Int[Tensor, "edges"]
    sender_order: Int[Tensor, "edges"]
    edge_offsets: Int[Tensor, "atoms"]
    crystal_index: Int[Tensor, "atoms"]


@dataclass(frozen=True)
class CrystalGraphs:
    """Several crystals as graphs: atoms and contacts concatenated, nothing padded.

    Attributes:
        atomic_numbers: (atoms,) Z, or 0 for an atom whose element is hidden.
        n_atoms, n_contacts: (crystals,).
        pair_i, pair_j: (contacts,) the two atoms, numbered through the batch; both directions of
            a contact are edges.
        distance: (contacts,) in Å.
        nearest: (atoms, n_nearest) distances of the nearest atoms, ascending, in Å.
    """

    atomic_numbers: Int[Tensor, "atoms"]
    n_atoms: Int[Tensor, "crystals"]
    n_contacts: Int[Tensor, "crystals"]
    pair_i: Int[Tensor, "contacts"]
    pair_j: Int[Tensor, "contacts"]
    distance: Float[Tensor, "contacts"]
    nearest: Float[Tensor, "atoms n_nearest"]

    def __len__(self) -> int:
        return int(self.n_atoms.shape[0])

    @cached_property
    def crystal_index(self) -> Int[Tensor, "atoms"]:
        """For each atom, the crystal it belongs to."""
        crystals = torch.arange(len(self), device=self.n_atoms.device)
        return torch.repeat_interleave(crystals, self.n_atoms, output_size=self.atomic_numbers.shape[0])

    @cached_property
    def edges(self) -> EdgeIndex:
        """The directed edges, and the orders in which messages are summed."""
        receiver = torch.cat([self.pair_i, self.pair_j])
        edge_order = torch.argsort(receiver, stable=True)
        half = self.pair_i.shape[0]
        degree = torch.bincount(receiver, minlength=self.atomic_numbers.shape[0])
        return EdgeIndex(
            pair_i=self.pair_i,
            pair_j=self.pair_j,
            receiver=receiver,
            sender=torch.cat([self.pair_j, self.pair_i]),
            edge_order=edge_order,
            # swapping the halves of an edge gives its reverse: sorted by sender = reverses of
            # those sorted by receiver
            sender_order=torch.where(edge_order < half, edge_order + half, edge_order - half),
            edge_offsets=torch.cumsum(degree, 0) - degree,
            crystal_index=self.crystal_index,
        )

    @cached_property
    def first_atom(self) -> Int[Tensor, "crystals"]:
        """First atom of each crystal."""
        return torch.cumsum(self.n_atoms, 0) - self.n_atoms

    @cached_property
    def first_contact(self) -> Int[Tensor, "crystals"]:
        """First contact of each crystal."""
        return torch.cumsum(self.n_contacts, 0) - self.n_contacts

    def select(self, crystals: Int[Tensor, "selected"]) -> CrystalGraphs:
        """The crystals with these indices as one batch, in that order."""
        n_atoms, n_contacts = self.n_atoms[crystals], self.n_contacts[crystals]
        atoms = _ranges(self.first_atom[crystals], n_atoms)
        contacts = _ranges(self.first_contact[crystals], n_contacts)
        moved = (torch.cumsum(n_atoms, 0) - n_atoms) - self.first_atom[crystals]
        shift = torch.repeat_interleave(moved, n_contacts)
        return CrystalGraphs(
            atomic_numbers=self.atomic_numbers[atoms],
            n_atoms=n_atoms,
            n_contacts=n_contacts,
            pair_i=self.pair_i[contacts] + shift,
            pair_j=self.pair_j[contacts] + shift,
            distance=self.distance[contacts],
            nearest=self.nearest[atoms],
        )

    @classmethod
    def concat(cls, parts: Sequence[CrystalGraphs]) -> CrystalGraphs:
        """All crystals of several batches, in order."""
        starts = list(accumulate((part.atomic_numbers.shape[0] for part in parts), initial=0))
        shifted = {
            name: torch.cat([getattr(part, name) + start for part, start in zip(parts, starts, strict=False)])
            for name in ("pair_i", "pair_j")
        }
        plain = [name for name in cls.__dataclass_fields__ if name not in shifted]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in plain}, **shifted)

    def to(self, device: torch.device | str) -> CrystalGraphs:
        """The same graphs on another device."""
        return CrystalGraphs(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def build_graphs(crystals: CrystalBatch, config: GraphConfig) -> CrystalGraphs:
    """The graphs of a batch, on the CPU; about 0.15 ms per crystal of ten atoms on one core.

    Raises:
        RequestError: a cell has no neighbours that a search could find; see
            :func:`neighbours.find_neighbours`.
    """
    lattice = crystals.lattice.detach().cpu().double().numpy()
    n_atoms = crystals.n_atoms.cpu().numpy()
    neighbours = find_neighbours(
        lattice,
        crystals.frac_coords.detach().cpu().double().numpy(),
        n_atoms,
        n_neighbours=config.n_neighbours,
        tolerance=config.tolerance,
        n_nearest=config.n_nearest,
    )
    first, second, distance = _contacts(neighbours, lattice, n_atoms, config)
    crystal = np.repeat(np.arange(len(n_atoms)), n_atoms)[first]
    return CrystalGraphs(
        atomic_numbers=crystals.atomic_numbers.cpu().long(),
        n_atoms=torch.from_numpy(n_atoms).long(),
        n_contacts=torch.from_numpy(np.bincount(crystal, minlength=len(n_atoms))),
        pair_i=torch.from_numpy(first),
        pair_j=torch.from_numpy(second),
        distance=torch.from_numpy(distance.astype(np.float32)),
        nearest=torch.from_numpy(neighbours.nearest.astype(np.float32)),
    )


def _contacts(
    neighbours: Neighbours, lattice: np.ndarray, n_atoms: np.ndarray, config: GraphConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contacts by crystal, with repeated self contacts and lattice edges where the configuration has them."""
    first, second, distance = neighbours.first, neighbours.second, neighbours.distance
    if config.self_contacts == "twice":
        times = np.where(first == second, 2, 1)
        first, second, distance = (np.repeat(x, times) for x in (first, second, distance))
    images = lattice_images(lattice, config.lattice_edges)
    if images.shape[1]:
        lengths = np.linalg.norm(images @ lattice, axis=-1)  # (crystals, images)
        per_atom = np.repeat(lengths, n_atoms, axis=0)
        atom, image = np.nonzero(per_atom > neighbours.reach[:, None])  # nearer ones are contacts already
        order = np.argsort(np.concatenate([first, atom]), kind="stable")
        first = np.concatenate([first, atom])[order]
        second = np.concatenate([second, atom])[order]
        distance = np.concatenate([distance, per_atom[atom, image]])[order]
    return first, second, distance


def _ranges(begin: Tensor, counts: Tensor) -> Tensor:
    """begin[i], begin[i] + 1, … (counts[i] of them) for every i in turn."""
    shift = torch.repeat_interleave(begin - (torch.cumsum(counts, 0) - counts), counts)
    return shift + torch.arange(shift.shape[0], device=shift.device)
