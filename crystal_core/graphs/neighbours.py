"""Contacts with the nearest neighbours in infinite crystals, for many crystals at once, in numpy.

The search enumerates exactly the lattice points inside a sphere, coordinate by coordinate along a triangular
form of the cell (Fincke and Pohst, Math. Comp. 44, 463, 1985), so its cost follows the number of neighbours
and not the cell's shape. Equal input gives equal output, bit by bit, whatever else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Array = np.ndarray

MIN_DISTANCE = 0.15  # Å: closer sites are one atom to the published construction
MIN_VOLUME = 0.1  # Å3 per atom: the search in a denser cell finds millions of neighbours
MAX_POINTS = 30_000_000  # lattice points in one search: about 3 GB
_POINTS_PER_CHUNK = 30_000  # arrays of this length stay in the second-level cache
_FIRST_RADIUS = 1.1  # times the radius of the sphere that holds the wanted number on average
_GROWTH = 1.25


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Contacts between atoms. Every contact is listed once, by the crystal it belongs to.

    Attributes:
        first, second: (contacts,) its two atoms, first <= second, numbered through the batch.
        image: (contacts, 3) cell of the second atom when the first is in cell 0. Of a self contact
            (first = second) and its mirror image one is listed.
        distance: (contacts,) in Å, above :data:`MIN_DISTANCE`.
        reach: (atoms,) distance of the k-th neighbour plus the tolerance: every nearer atom is a contact.
        nearest: (atoms, n_nearest) distances of the nearest atoms, ascending, in Å.
    """

    first: Int[Array, "contacts"]
    second: Int[Array, "contacts"]
    image: Int[Array, "contacts 3"]
    distance: Float[Array, "contacts"]
    reach: Float[Array, "atoms"]
    nearest: Float[Array, "atoms n_nearest"]


def find_neighbours(
    lattice: Float[Array, "crystals 3 3"],
    frac_coords: Float[Array, "atoms 3"],
    n_atoms: Int[Array, "crystals"],
    *,
    n_neighbours: int,
    tolerance: float = 1e-4,
    n_nearest: int = 0,
) -> Neighbours:
    """Contacts of every atom with its nearest neighbours, and distances of the ``n_nearest`` nearest.

    Two atoms are in contact when either is among the ``n_neighbours`` nearest of the other (CrysLDNet's
    symmetrised union). Atoms at the distance of the last neighbour all belong to the nearest.

    Args:
        lattice: rows are a, b, c in Å.
        tolerance: distances that differ by less than this, in Å, are equal. With 0 they are compared exactly,
            as the published code does: rounding noise then decides which atoms of a shell are in contact, and
            two programs whose rounding differs agreed on 107 of 250 crystals of MP-20. With the default they
            agreed on all 250.

    Raises:
        RequestError: a cell is not finite, has less than :data:`MIN_VOLUME` per atom, holds no atom, or is so
            flat that the search would not fit into memory.
    """
    lattice = np.asarray(lattice, dtype=np.float64).reshape(-1, 3, 3)
    frac_coords = np.asarray(frac_coords, dtype=np.float64).reshape(-1, 3)
    n_atoms = np.asarray(n_atoms, dtype=np.int64)
    wanted = max(n_neighbours, n_nearest)
    _check(lattice, frac_coords, n_atoms)
    first_atom = np.cumsum(n_atoms) - n_atoms
    radius = _first_radius(lattice, n_atoms, wanted)
    parts = []
    for begin, end in _chunks(n_atoms, wanted):
        atoms = slice(first_atom[begin], first_atom[end - 1] + n_atoms[end - 1])
        part = _search(
            lattice[begin:end],
            frac_coords[atoms],
            n_atoms[begin:end],
            radius[begin:end],
            (n_neighbours, n_nearest),
            tolerance,
        )
        parts.append((first_atom[begin], part))
    return Neighbours(
        first=np.concatenate([np.zeros(0, np.int64), *(start + x.first for start, x in parts)]),
        second=np.concatenate([np.zeros(0, np.int64), *(start + x.second for start, x in parts)]),
        image=np.concatenate([np.zeros((0, 3), np.int64), *(x.image for _, x in parts)]),
        distance=np.concatenate([np.zeros(0), *(x.distance for _, x in parts)]),
        reach=np.concatenate([np.zeros(0), *(x.reach for _, x in parts)]),
        nearest=np.concatenate([np.zeros((0, n_nearest)), *(x.nearest for _, x in parts)]),
    )


def _check(lattice: Array, frac_coords: Array, n_atoms: Array) -> None:
    if n_atoms.sum() != len(frac_coords) or len(n_atoms) != len(lattice):
        raise ValueError(f"{len(lattice)} cells, {len(n_atoms)} counts and {len(frac_coords)} atoms disagree")
    if (n_atoms < 1).any():
        raise RequestError(f"Crystal {int(np.argmin(n_atoms)) + 1} has no atoms. Leave it out.")
    owner = np.repeat(np.arange(len(n_atoms)), n_atoms)
    finite = np.isfinite(lattice).all(axis=(1, 2))
    finite[owner[~np.isfinite(frac_coords).all(axis=1)]] = False
    if not finite.all():
        raise RequestError(
            f"Crystal {int(np.argmin(finite)) + 1} has a number that is not finite. Leave it out."
        )
    per_atom = np.abs(np.linalg.det(lattice)) / n_atoms
    if (per_atom < MIN_VOLUME).any():
        worst = int(np.argmin(per_atom))
        raise RequestError(
            f"Crystal {worst + 1} has {per_atom[worst]:.3g} Å3 per atom, which no crystal has. "
            "Check its cell or leave it out."
        )


def _chunks(n_atoms: Array, wanted: int) -> list[tuple[int, int]]:
    """Ranges of crystals whose searches hold about :data:`_POINTS_PER_CHUNK` points each."""
    points = n_atoms * (n_atoms + wanted)
    chunk = (np.cumsum(points) - points) // _POINTS_PER_CHUNK
    bounds = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(n_atoms)]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def _first_radius(lattice: Array, n_atoms: Array, wanted: int) -> Array:
    """The smallest radius at which a bulk, layer or chain of these cells holds ``wanted`` neighbours."""
    volume = np.abs(np.linalg.det(lattice))
    bulk = np.cbrt(0.75 / np.pi * (wanted + 1) * volume / n_atoms)
    faces = np.linalg.norm(np.cross(lattice[:, [0, 1, 2]], lattice[:, [1, 2, 0]]), axis=-1).min(axis=1)
    layer = np.sqrt((wanted + 1) * faces / np.pi)
    chain = 0.5 * (wanted + 1) * np.linalg.norm(lattice, axis=-1).min(axis=1)
    return _FIRST_RADIUS * np.minimum(np.minimum(bulk, layer), chain)


def _search(
    lattice: Array,
    frac_coords: Array,
    n_atoms: Array,
    radius: Array,
    wanted: tuple[int, int],
    tolerance: float,
) -> Neighbours:
    """:func:`find_neighbours` within ``radius`` (crystals,); crystals with too few are searched again."""
    n_neighbours, n_nearest = wanted
    first, second, image, distance = _points_within(lattice, frac_coords, n_atoms, radius)
    table = _rows_of(first, second, distance, len(frac_coords), max(wanted))
    reach = table[:, n_neighbours - 1] + tolerance
    crystal = np.repeat(np.arange(len(n_atoms)), n_atoms)
    # the sphere is whole up to its radius only: an atom that needs more may miss equal distances beyond it
    short = table[:, max(wanted) - 1] + tolerance > radius[crystal] * (1 - 1e-9)
    keep = distance <= np.maximum(reach[first], reach[second])
    keep &= (first != second) | _is_positive(image)
    again = np.zeros(len(n_atoms), dtype=bool)
    again[crystal[short]] = True
    if again.any():
        keep &= ~again[crystal[first]]
    neighbours = Neighbours(
        first=first[keep],
        second=second[keep],
        image=image[keep],
        distance=distance[keep],
        reach=reach,
        nearest=table[:, :n_nearest],
    )
    if not again.any():
        return neighbours
    atoms = np.flatnonzero(again[crystal])
    wider = _search(
        lattice[again], frac_coords[atoms], n_atoms[again], _GROWTH * radius[again], wanted, tolerance
    )
    neighbours.reach[atoms], neighbours.nearest[atoms] = wider.reach, wider.nearest
    first = np.concatenate([neighbours.first, atoms[wider.first]])
    order = np.argsort(first, kind="stable")  # the order of one search
    return Neighbours(
        first=first[order],
        second=np.concatenate([neighbours.second, atoms[wider.second]])[order],
        image=np.concatenate([neighbours.image, wider.image])[order],
        distance=np.concatenate([neighbours.distance, wider.distance])[order],
        reach=neighbours.reach,
        nearest=neighbours.nearest,
    )


def _points_within(
    lattice: Array, frac_coords: Array, n_atoms: Array, radius: Array
) -> tuple[Array, Array, Array, Array]:
    """Pairs of atoms first <= second with images and distances up to radius; self images come twice.

    Distances exceed MIN_DISTANCE.
    """
    # the longest one varies slowest
    axes = np.argsort(np.linalg.norm(lattice, axis=-1), axis=1, kind="stable")
    cell = _triangular(np.take_along_axis(lattice, axes[:, :, None], axis=1))
    crystal_of = np.repeat(np.arange(len(n_atoms)), n_atoms)
    coords = np.take_along_axis(frac_coords, axes[crystal_of], axis=1)
    atoms = np.arange(len(coords))
    first, second = _expand(atoms, np.repeat(np.cumsum(n_atoms) - 1, n_atoms))
    crystal = crystal_of[first]
    delta = coords[second] - coords[first]
    limit = radius[crystal] ** 2

    # the vector is (delta + image) @ cell with a lower-triangular cell: c alone reaches the last component,
    # then b, then a
    c = cell[:, 2, 2][crystal]
    half = radius[crystal] / c
    pair, n_c = _expand(np.ceil(-half - delta[:, 2]), np.floor(half - delta[:, 2]))
    x_c = delta[pair, 2] + n_c
    square = (x_c * c[pair]) ** 2

    here = crystal[pair]
    b, shift = cell[:, 1, 1][here], x_c * cell[:, 2, 1][here]
    half = np.sqrt(np.maximum(limit[pair] - square, 0.0)) / b
    centre = delta[pair, 1] + shift / b
    line, n_b = _expand(np.ceil(-half - centre), np.floor(half - centre))
    square = square[line] + ((centre[line] + n_b) * b[line]) ** 2

    here, x_b, x_c = here[line], delta[pair[line], 1] + n_b, x_c[line]
    a = cell[:, 0, 0][here]
    half = np.sqrt(np.maximum(limit[pair[line]] - square, 0.0)) / a
    centre = delta[pair[line], 0] + (x_b * cell[:, 1, 0][here] + x_c * cell[:, 2, 0][here]) / a
    point, n_a = _expand(np.ceil(-half - centre), np.floor(half - centre))
    distance = np.sqrt(square[point] + ((centre[point] + n_a) * a[point]) ** 2)

    far = distance > MIN_DISTANCE  # also drops the atom itself
    point, n_a, distance = point[far], n_a[far], distance[far]
    line = line[point]
    pair = pair[line]
    image = np.empty((len(point), 3), dtype=np.int64)
    np.put_along_axis(image, axes[crystal[pair]], np.stack([n_a, n_b[point], n_c[line]], axis=1), axis=1)
    return first[pair], second[pair], image, distance


def _triangular(lattice: Array) -> Array:
    """The cells turned to lower-triangular rows with a positive diagonal: a along x, b in the xy plane."""
    upper = np.linalg.qr(lattice.transpose(0, 2, 1), mode="r")
    return (upper * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, :, None]).transpose(0, 2, 1)


def _expand(low: Array, high: Array) -> tuple[Array, Array]:
    """Every whole number from low to high of every entry: the entry, and the number."""
    counts = np.maximum(high - low + 1, 0).astype(np.int64)
    total = float(counts.sum(dtype=np.float64))
    if total > MAX_POINTS:
        raise RequestError(
            f"A search for neighbours meets {total:.1g} lattice points. "
            "Reduce the cells, or leave out the one that is almost flat."
        )
    owner = np.repeat(np.arange(len(counts)), counts)
    begin = np.cumsum(counts) - counts
    return owner, np.arange(len(owner)) + np.repeat(low.astype(np.int64) - begin, counts)


def _rows_of(first: Array, second: Array, distance: Array, n_atoms: int, width: int) -> Array:
    """Ascending distances of every atom (atoms, at least ``width``), filled up with infinity."""
    other = first != second  # a self contact comes once for each direction already
    receiver = np.concatenate([first, second[other]])
    counts = np.bincount(receiver, minlength=n_atoms)
    # numpy sorts 16-bit integers by radix, which is several times as fast
    order = np.argsort(receiver.astype(np.min_scalar_type(n_atoms)), kind="stable")
    receiver = receiver[order]
    column = np.arange(len(receiver)) - (np.cumsum(counts) - counts)[receiver]
    table = np.full((n_atoms, max(width, int(counts.max(initial=0)))), np.inf)
    table[receiver, column] = np.concatenate([distance, distance[other]])[order]
    table.sort(axis=1)
    return table


def _is_positive(image: Array) -> Array:
    """Whether the first component that is not zero is positive: true for one of n and -n."""
    a, b, c = image.T
    return (a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c > 0))))
