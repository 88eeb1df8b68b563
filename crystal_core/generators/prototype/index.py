"""Known arrangements with their members; a composition takes those of its nearest relatives.

Two kinds share this code: the shipped table (one averaged asymmetric unit per prototype) and the full
index (every training cell, kept on this machine only). Both hold the same members; only where the
geometry comes from differs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.generators.prototype.cells import roles_of, supercell
from crystal_core.generators.prototype.fingerprint import role_permutations
from crystal_core.generators.prototype.neighbour_weights import VOTERS, NeighbourWeights
from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Geometry(NamedTuple):
    """An arrangement without size: lattice rows at 1 Å3 per atom, coordinates, and atoms' roles."""

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    roles: NDArray[np.int64]
    packing: float  # volume over summed element volumes in the source crystals
    label: str


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All members of one count pattern.

    Attributes:
        elements: (members, roles) atomic number on each role of the member's prototype.
        prototype: (members,) prototype number. geometry: (members,) key of the geometry to use.
    """

    elements: NDArray[np.uint8]
    prototype: NDArray[np.int64]
    geometry: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A composition on a known arrangement.

    Attributes:
        lattice: (3, 3) rows in Å. frac_coords: (atoms, 3) in [0, 1), in the order of the requested atoms.
        distance: chemical distance to the nearest member of this prototype; 0 = the same composition.
        votes: share of the relatives' votes that its members have. label: what the template is.
        prototype: its number.
        repeats: cells of it in this one.
        relative: atomic number → atoms in the nearest member.
        ordered: two elements that stand in order on sites of one, see :mod:`.orderings`; else empty.
    """

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    distance: float
    votes: float
    label: str
    prototype: int
    repeats: int
    relative: Mapping[int, int]
    ordered: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Weights of relatives, chosen on validation rows.

    Attributes:
        temperature: a relative at distance d counts exp(-d / temperature); 0 takes the nearest alone.
        neighbours: how many relatives vote.
        supercell_penalty: distance added when a prototype with fewer atoms is repeated to fill the cell.
        count_power: weight of a role = its count to this power.
    """

    temperature: float = 0.3
    neighbours: int = 10
    supercell_penalty: float = 4.0
    count_power: float = 0.0


class PrototypeIndex:
    """Look-up of arrangements by count pattern and chemical distance.

    Args:
        pools: count pattern of the primitive cell (falling) → members.
        distance: (119, 119) chemical distance between elements.
        element_volumes: (119,) Å3 per atom.
        geometry: from the key of a geometry to the geometry, None where it cannot be rebuilt.
        weights: learned weights of the votes; without them ``ranking`` weighs by chemical distance.
    """

    def __init__(
        self,
        pools: Mapping[tuple[int, ...], Pool],
        *,
        distance: NDArray[Any],
        element_volumes: NDArray[Any],
        geometry: Callable[[int], Geometry | None],
        kind: str,
        ranking: Ranking = Ranking(),
        weights: NeighbourWeights | None = None,
    ) -> None:
        self.pools, self.distance, self.element_volumes = pools, distance, element_volumes
        self.geometry, self.kind, self.ranking, self.weights = geometry, kind, ranking, weights

    def candidates(self, atomic_numbers: Sequence[int], n: int) -> list[Candidate]:
        """Up to ``n`` different prototypes for these atoms, best first; fewer where too few are known."""
        candidates = []
        for prototype in self.ranked(atomic_numbers):
            candidate = self._place(atomic_numbers, prototype)
            if candidate is not None:
                candidates.append(candidate)
            if len(candidates) == n:
                break
        return candidates

    @cached_property
    def members(self) -> Counter[int]:
        """How many known crystals have each prototype."""
        return Counter(number for pool in self.pools.values() for number in pool.prototype.tolist())

    def reach_of_known(self, atomic_numbers: Sequence[int], most: int) -> int:
        """How many first candidates contain all known crystals of these atoms, of ``most``; 0 for none."""
        candidates = self.candidates(atomic_numbers, most)
        return max(
            (rank for rank, candidate in enumerate(candidates, start=1) if candidate.distance == 0.0),
            default=0,
        )

    def candidates_over(
        self, cells: Mapping[int, Sequence[int]], n: int, *, repeats: bool = False
    ) -> list[tuple[int, Candidate]]:
        """Up to ``n`` different prototypes of a formula, best first over all cells, with formula units.

        The relatives of all cells vote together, so those that the formula's nearest
        relatives have come first.

        Args:
            cells: formula units → atomic numbers.
            repeats: also repeat smaller prototypes to fill a cell; with all cells given these are
                the same crystals again.
        """
        rows: list[Match] = []
        units: dict[tuple[int, int], int] = {}
        for z, atomic_numbers in cells.items():
            divisor = math.gcd(*roles_of(atomic_numbers)[2]) if repeats else 1
            for copies in (d for d in range(1, divisor + 1) if divisor % d == 0):
                near = self._near(atomic_numbers, copies)
                # a prototype has one count pattern, so with its copies it fills one cell
                units |= dict.fromkeys(((match.prototype, copies) for match in near), z)
                rows += near
        candidates: list[tuple[int, Candidate]] = []
        for match in self._voted(rows):
            z = units[match.prototype, match.copies]
            candidate = self._place(cells[z], match)
            if candidate is not None:
                candidates.append((z, candidate))
            if len(candidates) == n:
                break
        return candidates

    def ranked(self, atomic_numbers: Sequence[int]) -> list[Match]:
        """Prototypes by votes of the nearest relatives; ties by nearness, then by number of members."""
        divisor = math.gcd(*roles_of(atomic_numbers)[2])
        rows: list[Match] = []
        for copies in (d for d in range(1, divisor + 1) if divisor % d == 0):
            rows += self._near(atomic_numbers, copies)
        return self._voted(rows)

    def _near(self, atomic_numbers: Sequence[int], copies: int) -> list[Match]:
        """The nearest members of the count pattern that fills the cell with so many copies."""
        _, elements, counts = roles_of(atomic_numbers)
        target = np.array(elements)
        pattern = tuple(c // copies for c in counts)
        pool = self.pools.get(pattern)
        if pool is None:
            return []
        rows, distance, orders = self.nearest(pattern, target, max(400, self.ranking.neighbours))
        log_weights = self._log_weights(target[orders], pool, pattern, rows)
        penalty = self.ranking.supercell_penalty if copies > 1 else 0.0
        return [
            Match(
                float(d + penalty),
                copies,
                tuple(order),
                int(pool.prototype[i]),
                int(pool.geometry[i]),
                int(i),
                log_weight=float(log_weight - penalty),
            )
            for i, d, order, log_weight in zip(rows, distance, orders.tolist(), log_weights, strict=True)
        ]

    def nearest(
        self, pattern: tuple[int, ...], elements: NDArray[Any], n: int, *, leave_out: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Rows of a pool, nearest first; chemical distances; the role of ``elements`` on each of their roles.

        Args:
            elements: (roles,) atomic numbers, in the order of the pattern.
            n: rows at most.
            leave_out: a row not to return.
        """
        pool, orders = self.pools[pattern], np.array(role_permutations(pattern))
        weight = np.array(pattern, dtype=float) ** self.ranking.count_power
        weight /= weight.sum() / len(weight)
        per_order = np.stack(
            [(self.distance[elements[order], pool.elements] * weight).sum(1) for order in orders]
        )
        distance = per_order.min(0)
        rows = np.argsort(distance, kind="stable")
        rows = rows[rows != leave_out][:n]
        return rows, distance[rows], orders[per_order[:, rows].argmin(0)]

    def _log_weights(
        self, on_roles: NDArray[Any], pool: Pool, pattern: Sequence[int], rows: NDArray[Any]
    ) -> NDArray[np.float64]:
        """(rows,) log weight of the vote of each row of a pool; 0 without learned weights.

        Args:
            on_roles: (rows, roles) atomic numbers of the composition on the roles of each row.
        """
        if self.weights is None:
            return np.zeros(len(rows))
        members = pool.elements[rows]
        return self.weights.log_weights(
            on_roles,
            members,
            np.array(pattern),
            self.distance[on_roles, members],
            np.array([self.members[int(number)] for number in pool.prototype[rows]]),
        )

    def _voted(self, rows: list[Match]) -> list[Match]:
        """One match for each prototype, by the votes of the nearest rows."""
        rows = sorted(rows, key=lambda row: row.distance)
        votes: dict[tuple[int, int], float] = {}
        first: dict[tuple[int, int], Match] = {}
        voters, log_votes = self._log_votes(rows)
        for rank, row in enumerate(rows):
            key = (row.prototype, row.copies)
            first.setdefault(key, row)
            if rank < voters:
                votes[key] = votes.get(key, 0.0) + math.exp(log_votes[rank])
        # polymorphs of the very composition tie in votes and distance
        order = sorted(
            first, key=lambda key: (-votes.get(key, 0.0), first[key].distance, -self.members[key[0]])
        )
        total = sum(votes.values()) or 1.0
        return [first[key]._replace(votes=votes.get(key, 0.0) / total) for key in order]

    def _log_votes(self, rows: Sequence[Match]) -> tuple[int, list[float]]:
        """How many of the nearest rows vote, and the logarithms of their votes up to a constant."""
        if self.weights is not None:
            voting = [row.log_weight for row in rows[:VOTERS]]
            highest = max(voting, default=0.0)
            return len(voting), [weight - highest for weight in voting]
        if self.ranking.temperature <= 0:
            return 0, []
        # relative to the nearest: far from all relatives, the near ones still decide
        voting = [
            (rows[0].distance - row.distance) / self.ranking.temperature
            for row in rows[: self.ranking.neighbours]
        ]
        return len(voting), voting

    def _place(self, atomic_numbers: Sequence[int], match: Match) -> Candidate | None:
        geometry = self.geometry(match.geometry)
        if geometry is None:
            return None
        roles, elements, counts = roles_of(atomic_numbers)
        lattice, coords, template_roles = supercell(
            geometry.lattice, geometry.frac_coords, geometry.roles, match.copies
        )
        frac_coords = np.empty((len(roles), 3))
        for role, target_role in enumerate(match.order):  # role of the template → role of the request
            frac_coords[roles == target_role] = coords[template_roles == role]
        volume = geometry.packing * self.element_volumes[[elements[r] for r in roles]].sum()
        lattice = lattice * (volume / abs(np.linalg.det(lattice))) ** (1 / 3)
        pattern = tuple(c // match.copies for c in counts)
        relative: dict[int, int] = {}
        for z, count in zip(self.pools[pattern].elements[match.member].tolist(), pattern, strict=True):
            # in a pool's own order of roles counts stay, whatever the permutation
            relative[z] = relative.get(z, 0) + count
        return Candidate(
            lattice=lattice,
            frac_coords=in_cell(frac_coords),
            distance=match.distance,
            votes=match.votes,
            label=geometry.label,
            prototype=match.prototype,
            repeats=match.copies,
            relative=relative,
        )


class Match(NamedTuple):
    """One member close to the request: its distance, repeats, roles and row.

    ``member`` is its row in its pool; the roles say which request role each template role takes.
    """

    distance: float
    copies: int
    order: tuple[int, ...]
    prototype: int
    geometry: int
    member: int
    votes: float = 0.0
    log_weight: float = 0.0
