"""Crystals reduced to members, and members of one arrangement gathered into prototypes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.generators.prototype.cells import roles_of, to_primitive
from crystal_core.generators.prototype.fingerprint import fingerprint, role_permutations

if TYPE_CHECKING:
    from numpy.typing import NDArray

# between unit fingerprints; pairs below it mostly fit under pymatgen's matcher, above 0.4 few do
SAME_ARRANGEMENT = 0.35


class Member(NamedTuple):
    """One crystal reduced to its primitive cell; roles by falling count."""

    id: str
    elements: tuple[int, ...]
    pattern: tuple[int, ...]
    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    roles: NDArray[np.int64]
    fingerprint: NDArray[np.float16]


class Groups(NamedTuple):
    """Members of one count pattern by prototype; ``orders[i][j]`` is the member's role on role j."""

    members: list[int]
    prototype: NDArray[np.int64]
    orders: list[tuple[int, ...]]


def member_of(
    id: str, lattice: NDArray[Any], frac_coords: NDArray[Any], atomic_numbers: Sequence[int] | NDArray[Any]
) -> Member:
    """The crystal as a member, in its primitive cell."""
    roles, elements, _ = roles_of(atomic_numbers)
    lattice, frac_coords, roles = to_primitive(lattice, frac_coords, roles)
    pattern = tuple(np.bincount(roles).tolist())
    features = fingerprint(lattice, frac_coords, roles, len(elements)).astype(np.float16)
    return Member(id, elements, pattern, lattice, frac_coords, roles, features)


def group_members(members: Sequence[Member]) -> dict[tuple[int, ...], Groups]:
    """Sort the members of each count pattern into prototypes; the first of a kind leads its group."""
    by_pattern: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, member in enumerate(members):
        by_pattern[member.pattern].append(i)
    groups, base = {}, 0
    for pattern, indices in by_pattern.items():
        prototype, orders = _follow_leaders(
            [members[i].fingerprint for i in indices], role_permutations(pattern)
        )
        groups[pattern] = Groups(indices, prototype + base, orders)
        base += int(prototype.max()) + 1
    return groups


def _follow_leaders(
    features: Sequence[NDArray[Any]], orders: Sequence[tuple[int, ...]]
) -> tuple[NDArray[np.int64], list[tuple[int, ...]]]:
    leaders = np.zeros((0, features[0].size), dtype=np.float32)
    number, taken = np.zeros(len(features), dtype=np.int64), []
    for i, raw in enumerate(features):
        feature = raw.astype(np.float32)
        turned = np.stack([feature[np.ix_(o, o)].ravel() for o in orders])
        closeness = turned @ leaders.T if len(leaders) else np.zeros((1, 0))
        best = int(closeness.argmax()) if closeness.size else -1
        order, leader = divmod(best, len(leaders)) if best >= 0 else (0, 0)
        if best >= 0 and 2 - 2 * closeness[order, leader] < SAME_ARRANGEMENT**2:
            number[i] = leader
        else:
            order, number[i] = 0, len(leaders)
            leaders = np.concatenate([leaders, turned[:1]])
        taken.append(orders[order])
    return number, taken
