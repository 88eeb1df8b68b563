"""Bonds and coordination polyhedra of a crystal, as a chemist would draw them.

Rules of distance, element and electronegativity for pictures; no statement about energies. Bonds carry the
cell offset of their second end, so a scene can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.drawing.style import METALS, bond_lengths, electronegativity

if TYPE_CHECKING:
    from numpy.typing import NDArray

Contact = tuple[int, int, int, int, int]

# × the longest bond: how far the nearest shell of a crystal without shorter contacts may lie (Pb–S, Li–H)
SHELL = 1.18
SHELL_WIDTH = 1.05  # × the nearest of them
ELECTROPOSITIVE = 0.9  # Pauling; at most that of Ba, K, Rb, Cs
# Pauling: the centre of an anion such as CO3 has three neighbours at least this much more electronegative
CENTRE = 0.5
# Pauling; least difference between a non-metal and the corners of its polyhedron, e.g. P and S
NON_METAL_CENTRE = 0.3


def find_bonds(
    lattice: NDArray[np.float64], symbols: Sequence[str], frac: NDArray[np.float64]
) -> list[list[int]]:
    """Every bond once, [i, j, n1, n2, n3]: atom i of the cell to atom j of the cell n away.

    Bonded is what is nearer than 1.15 × the sum of covalent radii (in a crystal without any such contact: the
    nearest metal to non-metal shell), except metal to metal, a metal to the centre of a complex anion (Li to
    P in LiFePO4), and loosely held cations, whose contacts would hide the framework.

    Args:
        lattice: (3, 3) rows in Å. frac: (sites, 3) in [0, 1).
    """
    metal = np.array([s in METALS for s in symbols])
    contacts = _without_centres(_contacts(lattice, symbols, frac, metal), symbols, metal)
    loose = _loosely_held(contacts, symbols, metal)
    # each bond is found from both ends; keep the one that sorts first
    return [
        list(bond)
        for bond in contacts
        if bond[0] not in loose
        and bond[1] not in loose
        and bond <= (bond[1], bond[0], -bond[2], -bond[3], -bond[4])
    ]


def find_polyhedra(
    lattice: NDArray[np.float64],
    symbols: Sequence[str],
    frac: NDArray[np.float64],
    bonds: Sequence[Sequence[int]],
) -> list[dict[str, Any]]:
    """Hulls around centres with 4 to 12 neighbours, all more electronegative and not bonded to each other.

    A metal is a centre at any difference (Pb 2.33 and I 2.66 on Pauling's scale make PbI6),
    a non-metal from 0.3.

    Returns:
        [{i, corners: [[j, n1, n2, n3]], faces: [[3]] into corners}].
    """
    from scipy.spatial import ConvexHull, QhullError

    chi = electronegativity()
    around: dict[int, list[list[int]]] = {i: [] for i in range(len(symbols))}
    for i, j, a, b, c in bonds:
        around[i].append([j, a, b, c])
        around[j].append([i, -a, -b, -c])
    bonded = _both_ways(bonds)
    polyhedra = []
    for i, corners in around.items():
        least = 1e-6 if symbols[i] in METALS else NON_METAL_CENTRE
        if not 4 <= len(corners) <= 12 or any(chi[symbols[j]] - chi[symbols[i]] < least for j, *_ in corners):
            continue
        if _any_bonded(corners, bonded):  # a net of its own, as the boron of MgB2
            continue
        points = np.array([(frac[j] + n) @ lattice for j, *n in corners])
        try:
            hull = ConvexHull(points)
        except QhullError:  # neighbours in one plane span no body
            continue
        polyhedra.append({"i": i, "corners": corners, "faces": hull.simplices.tolist()})
    return polyhedra


def _contacts(
    lattice: NDArray[np.float64], symbols: Sequence[str], frac: NDArray[np.float64], metal: NDArray[np.bool_]
) -> list[Contact]:
    longest = bond_lengths(tuple(symbols))
    reach = SHELL * float(longest.max(initial=0.0))
    if not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) < 1e-3 or reach == 0.0:
        return []
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    spans = [range(-n, n + 1) for n in np.minimum(2, np.ceil(reach / heights)).astype(int)]
    offsets = np.array(list(product(*spans)))
    near: list[Contact] = []
    shell: list[tuple[float, Contact]] = []
    for i in range(len(symbols)):
        distance = np.linalg.norm((frac[None, :, :] + offsets[:, None, :] - frac[i]) @ lattice, axis=-1)
        ratio = distance / longest[i]
        for k, j in zip(*np.nonzero((ratio < SHELL) & (distance > 0.4) & ~(metal[i] & metal)), strict=True):
            a, b, c = offsets[k].tolist()
            contact = (i, int(j), a, b, c)
            if ratio[k, j] < 1.0:
                near.append(contact)
            elif not near and metal[i] != metal[j]:
                shell.append((float(ratio[k, j]), contact))
    if near or not shell:
        return near
    nearest = min(ratio for ratio, _ in shell)
    return [contact for ratio, contact in shell if ratio < SHELL_WIDTH * nearest]


def _without_centres(
    contacts: list[Contact], symbols: Sequence[str], metal: NDArray[np.bool_]
) -> list[Contact]:
    """Drop contacts of metals with non-metals that centre an anion: P in PO4, C in CO3, P in PS4."""
    chi = electronegativity()
    more, far_more = np.zeros(len(symbols), dtype=int), np.zeros(len(symbols), dtype=int)
    for i, j, *_ in contacts:
        more[i] += chi[symbols[j]] > chi[symbols[i]]
        far_more[i] += chi[symbols[j]] - chi[symbols[i]] >= CENTRE
    centre = ~metal & ((more >= 4) | (far_more >= 3))
    return [
        bond
        for bond in contacts
        if not (metal[bond[0]] and centre[bond[1]]) and not (metal[bond[1]] and centre[bond[0]])
    ]


def _loosely_held(contacts: list[Contact], symbols: Sequence[str], metal: NDArray[np.bool_]) -> set[int]:
    """Cations whose contacts are no bonds to a chemist's eye.

    Beside a metal with three to six neighbours: metals with eight or more (Ba beside Ti in BaTiO3).
    Beside such a metal or a complex anion: the most electropositive, however many neighbours are near (Cs
    beside PbI6, K beside SO4). And metals with eight or more neighbours that are a net of their own (the
    boron of MgB2 and LaB6).
    """
    chi = electronegativity()
    count = np.bincount([i for i, *_ in contacts], minlength=len(symbols))
    far_more = np.bincount(
        [i for i, j, *_ in contacts if chi[symbols[j]] - chi[symbols[i]] >= CENTRE], minlength=len(symbols)
    )
    givers = np.array([chi[s] <= ELECTROPOSITIVE for s in symbols])
    frame = bool((metal & ~givers & (count >= 3) & (count <= 6)).any())
    complexes = bool((~metal & (far_more >= 3)).any())
    loose = {
        i
        for i in np.flatnonzero(metal).tolist()
        if (frame and count[i] >= 8) or ((frame or complexes) and givers[i])
    }
    many = [i for i in np.flatnonzero(metal & (count >= 8)).tolist() if i not in loose]
    if many:
        bonded = _both_ways(contacts)
        around: dict[int, list[list[int]]] = {i: [] for i in many}
        for i, *corner in contacts:
            if i in around:
                around[i].append(list(corner))
        loose |= {i for i, corners in around.items() if _any_bonded(corners, bonded)}
    return loose


def _both_ways(bonds: Sequence[Sequence[int]]) -> set[tuple[int, ...]]:
    return {tuple(bond) for bond in bonds} | {(j, i, -a, -b, -c) for i, j, a, b, c in bonds}


def _any_bonded(corners: Sequence[Sequence[int]], bonded: set[tuple[int, ...]]) -> bool:
    return any(
        (p[0], q[0], q[1] - p[1], q[2] - p[2], q[3] - p[3]) in bonded
        for k, p in enumerate(corners)
        for q in corners[k + 1 :]
    )
