"""Arrangements in which two elements stand in order on the sites of one element of a known crystal.

Many crystals have the arrangement of a simpler formula, with two elements in order on the sites of one, such
as double perovskites, Heusler alloys and oxyfluorides. So a composition without relatives of its own counts
may have many where two of its elements count as one. The different orderings of an arrangement and of its
supercells are its derivative structures (Hart and Forcade 2008, doi:10.1103/PhysRevB.77.224115).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.generators.prototype.index import Candidate, PrototypeIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_APART = 2.6  # chemical distance of two elements that may share sites: O and F have 2.3, O and S 3.5
MOST_PAIRS = 3  # of elements, the nearest first
PARENTS = 5  # arrangements of each pair
MOST_COPIES = 4  # of an arrangement in the cell of its orderings
MOST_ATOMS = 20  # of such a cell with several copies
MOST_CHOICES = 3000  # ways to choose the sites in a cell; with more it is left out
KEPT = 30  # different orderings of an arrangement, those with the fewest images, the most symmetric, first
SYMPREC = 0.02  # Å: the arrangements of the table are exact
SAME_SITE = 0.1  # Å


def orderings(
    index: PrototypeIndex, cells: Mapping[int, Sequence[int]], *, repeats: bool = False
) -> Iterator[tuple[int, Candidate]]:
    """Orderings of a formula with their formula units, the nearest pairs of elements first.

    The distance of a candidate is that of its arrangement plus that of the two elements, so it is never 0.

    Args:
        cells: formula units → sorted atomic numbers. repeats: also orderings that repeat within their cell,
            which with all cells given are those of a smaller one again.
    """
    elements = sorted(set(next(iter(cells.values()), ())))
    pairs = sorted(combinations(elements, 2), key=lambda pair: float(index.distance[pair]))
    for pair in [p for p in pairs if index.distance[p] <= MOST_APART][:MOST_PAIRS]:
        for kept, placed in (pair, pair[::-1]):
            parts = _parts(cells, kept, placed)
            patterns = dict(enumerate(parts))
            for k, parent in index.candidates_over(patterns, PARENTS):
                crystal = Crystal(parent.lattice, parent.frac_coords, np.array(patterns[k]))
                found = [
                    (len(cells[z]), n_images, z, copies, ordered)
                    for z, copies in parts[patterns[k]]
                    for n_images, ordered in _ordered(
                        crystal, copies, kept, placed, cells[z].count(placed), repeats=repeats
                    )
                ]
                found.sort(key=lambda one: one[:3])
                for _, _, z, copies, ordered in found[:KEPT]:
                    yield z, _candidate(index, parent, ordered, (kept, placed), copies)


@dataclass(frozen=True)
class Crystal:
    """Lattice rows in Å, (atoms, 3) fractional coordinates, (atoms,) atomic numbers."""

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    numbers: NDArray[np.int64]


def _parts(
    cells: Mapping[int, Sequence[int]], kept: int, placed: int
) -> dict[tuple[int, ...], list[tuple[int, int]]]:
    """Atoms with ``kept`` in place of ``placed`` → formula units and copies of the cells that they fill."""
    parts: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for z, cell in cells.items():
        counts = Counter(sorted(kept if number == placed else number for number in cell))
        most = MOST_COPIES if len(cell) <= MOST_ATOMS else 1
        for copies in range(1, most + 1):
            if all(count % copies == 0 for count in counts.values()):
                part = tuple(number for number, count in counts.items() for _ in range(count // copies))
                parts.setdefault(part, []).append((z, copies))
    return parts


def _ordered(
    crystal: Crystal, copies: int, kept: int, placed: int, n_placed: int, *, repeats: bool
) -> Iterator[tuple[int, Crystal]]:
    """The different orderings with ``n_placed`` atoms of another element, each with its number of images."""
    for cell in supercells(crystal, copies):
        sites = np.flatnonzero(cell.numbers == kept)
        if math.comb(len(sites), n_placed) > MOST_CHOICES:
            continue
        images, shifts = site_images(cell, sites)
        for chosen, n_images in different_choices(images, n_placed):
            if repeats or not any(set(shift[list(chosen)].tolist()) == set(chosen) for shift in shifts):
                numbers = cell.numbers.copy()
                numbers[sites[list(chosen)]] = placed
                yield n_images, replace(cell, numbers=numbers)


def _candidate(
    index: PrototypeIndex, parent: Candidate, ordered: Crystal, pair: tuple[int, int], copies: int
) -> Candidate:
    """The ordering in place of its arrangement, with the volume of its own elements."""
    order = np.argsort(ordered.numbers, kind="stable")
    kept, placed = pair
    volumes = index.element_volumes
    before = np.where(ordered.numbers == placed, kept, ordered.numbers)
    scale = (volumes[ordered.numbers].sum() / volumes[before].sum()) ** (1 / 3)
    return replace(
        parent,
        lattice=ordered.lattice * scale,
        frac_coords=ordered.frac_coords[order],
        distance=parent.distance + float(index.distance[kept, placed]),
        repeats=copies,
        ordered=pair,
    )


def supercells(crystal: Crystal, copies: int) -> list[Crystal]:
    """The cells of so many copies that no operation of the crystal turns into one another."""
    from pymatgen.core import Lattice, Structure

    if copies == 1:
        return [crystal]
    rotations, _ = _operations(crystal)
    seen: set[tuple[int, ...]] = set()
    cells = []
    for form in _hermite_forms(copies):
        if tuple(form.ravel().tolist()) in seen:
            continue
        seen |= {tuple(_hermite(form @ rotation.T).ravel().tolist()) for rotation in rotations}
        cell = Structure(Lattice(crystal.lattice), crystal.numbers.tolist(), crystal.frac_coords)
        cell.make_supercell(form.tolist())
        cells.append(Crystal(cell.lattice.matrix, cell.frac_coords % 1.0, np.array(cell.atomic_numbers)))
    return cells


def _hermite_forms(n: int) -> Iterator[NDArray[np.int64]]:
    """All (3, 3) Hermite normal forms with determinant ``n``; times the lattice rows, each sublattice."""
    for a, b in product(range(1, n + 1), repeat=2):
        if n % (a * b) == 0:
            c = n // (a * b)
            for x, y, z in product(range(b), range(c), range(c)):
                yield np.array([[a, x, y], [0, b, z], [0, 0, c]])


def _hermite(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """The Hermite normal form of a (3, 3) matrix of whole numbers, rows spanning the same lattice."""
    rows = matrix.copy()
    for k in range(3):
        while rows[k + 1 :, k].any():
            left = np.flatnonzero(rows[k:, k]) + k
            pivot = left[np.abs(rows[left, k]).argmin()]
            rows[[k, pivot]] = rows[[pivot, k]]
            rows[k + 1 :] -= np.outer(rows[k + 1 :, k] // rows[k, k], rows[k])
        rows[k] *= np.sign(rows[k, k])
        rows[:k] -= np.outer(rows[:k, k] // rows[k, k], rows[k])
    return rows


def _operations(crystal: Crystal) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(operations, 3, 3) rotations and (operations, 3) translations on fractional coordinates."""
    import spglib

    cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)  # where its annotation has lists
    found = spglib.get_symmetry(cell, symprec=SYMPREC)
    if found is None:
        return np.eye(3, dtype=np.int64)[None], np.zeros((1, 3))
    return found["rotations"].astype(np.int64), found["translations"]


def site_images(crystal: Crystal, sites: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(operations, sites) the place among ``sites`` to which each operation of the crystal moves each site.

    Returns:
        Those of all operations, then those of the translations within the cell alone.
    """
    rotations, translations = _operations(crystal)
    points = crystal.frac_coords[sites]
    moved = np.einsum("gij,sj->gsi", rotations, points) + translations[:, None]
    difference = moved[:, :, None] - points
    difference -= np.round(difference)
    apart = np.linalg.norm(difference @ crystal.lattice, axis=-1)
    images, own = apart.argmin(-1), np.arange(len(sites))
    whole = (apart.min(-1) < SAME_SITE).all(-1) & (np.sort(images, axis=-1) == own).all(-1)
    shifts = whole & (rotations == np.eye(3, dtype=np.int64)).all((1, 2)) & (images != own).any(-1)
    return np.unique(np.concatenate([own[None], images[whole]]), axis=0), images[shifts]


def different_choices(images: NDArray[np.int64], n: int) -> list[tuple[tuple[int, ...], int]]:
    """One choice of ``n`` sites of each set that the operations make of it, with the size of this set.

    The smallest sets come first.

    Args:
        images: of all operations, as :func:`site_images` returns them.
    """
    n_sites = images.shape[1]
    choices = np.array(list(combinations(range(n_sites), n)), dtype=np.int64)
    codes = 1 << np.arange(n_sites, dtype=np.int64)
    lowest = codes[choices].sum(-1)
    for image in images:
        np.minimum(lowest, codes[image][choices].sum(-1), out=lowest)
    values, first, sizes = np.unique(lowest, return_index=True, return_counts=True)
    order = np.lexsort((values, sizes))
    return [
        (tuple(choices[k].tolist()), int(size)) for k, size in zip(first[order], sizes[order], strict=True)
    ]
