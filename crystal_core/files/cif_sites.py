"""Rows of a CIF and symmetry operations → the sites of the whole cell, shared and special ones included."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files.cif_atoms import Atom
from crystal_core.files.cif_text import AGAIN
from crystal_core.files.occupancies import MOST_ROUNDING, scaled, scaling_note
from crystal_core.files.operations import Operations
from crystal_core.structures import in_cell

SPECIAL = 0.4  # Å; gemmi's rule: an atom nearer than this to its own image lies on a special position
SAME_SITE = 0.1  # Å; atoms nearer than this share a site
SAME_PLACE = 0.02  # Å; the same for atoms that cannot share one, which are left apart beyond it
SAME_IMAGE = 1e-5  # fractional; images on a special position are equal but for rounding errors
FULL = 0.999


@dataclass
class Sites:
    """The sites of one cell.

    Attributes:
        places: ``(sites, 3)`` in [0, 1).
        shares: element → occupancy, of each site.
        multiplicities: images of each atom of the list, in its order.
        n_operations: of the cell, with those of its centring.
        firsts: the atom of the list that gives each site its place.
        notes: what was moved, merged or scaled, as sentences.
    """

    places: np.ndarray
    shares: list[dict[str, float]]
    multiplicities: list[int]
    n_operations: int
    firsts: list[int]
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, float]:
        """Element → atoms in the cell."""
        counts: dict[str, float] = {}
        for site in self.shares:
            for element, share in site.items():
                counts[element] = counts.get(element, 0.0) + share
        return counts


def sites_of(atoms: Sequence[Atom], operations: Operations, matrix: np.ndarray) -> Sites:
    """Every site that the operations make of the atoms.

    An atom within 0.4 Å of its own images lies on the special position between them and is moved onto it
    exactly; a partly occupied atom whose images need not be one atom stays split where more than rounding
    parts them.

    Args:
        matrix: cell, rows a, b, c in Å.

    Raises:
        StructureParseError: occupancies on one site add up to more than rounding explains.
    """
    notes: list[str] = []
    orbits = [_orbit(atom, operations, matrix, notes) for atom in atoms]
    owners = np.repeat(np.arange(len(atoms)), [len(orbit) for orbit in orbits])
    points = in_cell(np.concatenate(orbits)) if orbits else np.zeros((0, 3))
    places, shares, firsts = [], [], []
    filling = np.array([atom.share for atom in atoms])[owners]
    for members in _clusters(points, filling, matrix):
        shares.append(_shares(atoms, owners[members], matrix, notes))
        # of several rows on one site the first gives the place
        places.append(points[min(members)])
        firsts.append(int(owners[min(members)]))
    multiplicities = [len(orbit) for orbit in orbits]
    return Sites(
        np.array(places).reshape(-1, 3),
        shares,
        multiplicities,
        len(operations),
        firsts,
        list(dict.fromkeys(notes)),
    )


def _orbit(atom: Atom, operations: Operations, matrix: np.ndarray, notes: list[str]) -> np.ndarray:
    """The different images of an atom, ``(images, 3)``, that of the first operation first."""
    place = np.array(atom.place)
    if len(operations) == 1:
        return place[None]
    place, moved, split = _special(atom, place, operations, matrix)
    if moved:
        notes.append(f"{atom.label} is moved by {moved:.2f} Å onto the special position beside it.")
    if split:
        notes.append(
            f"{atom.label} has an occupancy of {atom.share:g} and lies {split:.2f} Å from its image: "
            "both are kept as split positions."
        )
    images = operations.rotations @ place + operations.translations
    if _are_same(images, images[0]).sum() == 1:  # a general position: as many images as operations
        return images
    distinct = images[:1]
    for image in images[1:]:
        if not _are_same(distinct, image).any():
            distinct = np.concatenate([distinct, image[None]])
    return distinct


def _are_same(images: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which images are the other one; a grid would part equal ones on both sides of its borders."""
    gaps = images - other
    return np.abs(gaps - np.round(gaps)).max(axis=1) < SAME_IMAGE


def _special(
    atom: Atom, place: np.ndarray, operations: Operations, matrix: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The special position, how far (Å) it moved beyond rounding, and the distance of the nearest image."""
    gaps = _gaps(place, operations)
    distances = np.linalg.norm(gaps @ matrix, axis=1)
    near = distances < SPECIAL
    if near.sum() < 2:
        return place, 0.0, 0.0
    edges = np.linalg.norm(matrix, axis=1)
    # each coordinate may be off by half a unit of its last decimal, and so may its image
    rounding = min(SPECIAL, max(SAME_PLACE, 1.1 * atom.precision * float(np.linalg.norm(edges))))
    close = distances < rounding
    n_images = near.sum() / close.sum()  # as many operations make each of the images
    if atom.share * n_images > 1 + MOST_ROUNDING or close.sum() == near.sum():
        merged = _projected(place, near, operations, matrix)
        if merged is not None:
            moved = float(np.linalg.norm((merged - place) @ matrix))
            return merged, moved if 2 * moved > rounding else 0.0, 0.0
    merged = _projected(place, close, operations, matrix) if close.sum() > 1 else None
    split = float(distances[near & ~close].min()) if (near & ~close).any() else 0.0
    return (place if merged is None else merged), 0.0, split


def _projected(
    place: np.ndarray, near: np.ndarray, operations: Operations, matrix: np.ndarray
) -> np.ndarray | None:
    """The mean of the near images, if that lies on all the elements between them; None otherwise."""
    for _ in range(4):
        gaps = _gaps(place, operations)
        place = place + gaps[near].mean(axis=0)
        gaps = _gaps(place, operations)
        distances = np.linalg.norm(gaps @ matrix, axis=1)
        if (distances[near] < 1e-6).all():
            return place
        near = distances < SPECIAL
    return None


def _gaps(place: np.ndarray, operations: Operations) -> np.ndarray:
    gaps = operations.rotations @ place + operations.translations - place
    return gaps - np.round(gaps)


def _clusters(points: np.ndarray, filling: np.ndarray, matrix: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of the points of each site, in the order of their first.

    ``filling`` is the occupancy of each.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    n = len(points)
    if not n:
        return
    # the largest fractional step that 0.1 Å can be along an axis
    reach = SAME_SITE * float(np.linalg.norm(np.linalg.inv(matrix), axis=0).max())
    pairs = cKDTree(points, boxsize=1.0).query_pairs(min(reach * np.sqrt(3), 0.49), output_type="ndarray")
    gaps = points[pairs[:, 0]] - points[pairs[:, 1]]
    can_share = filling[pairs].sum(axis=1) <= 1 + MOST_ROUNDING
    distances = np.linalg.norm((gaps - np.round(gaps)) @ matrix, axis=1)
    pairs = pairs[distances < np.where(can_share, SAME_SITE, SAME_PLACE)]
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    yield from sorted(groups, key=min)


def _shares(
    atoms: Sequence[Atom], owners: Collection[int], matrix: np.ndarray, notes: list[str]
) -> dict[str, float]:
    """Element → occupancy of a site that these atoms of the list share."""
    here = [atoms[int(k)] for k in owners]
    occupancies: dict[str, float] = {}
    for atom in here:
        occupancies[atom.element] = occupancies.get(atom.element, 0.0) + atom.share
    names = " and ".join(list(dict.fromkeys(atom.label for atom in here))[:3])
    shares = scaled(occupancies)
    if shares is not None:
        note = scaling_note(occupancies, names)
        notes += [note] if note else []
        return shares
    first = here[0]
    if all(a.element == first.element and a.share > FULL and _apart(a, first, matrix) for a in here[1:]):
        # a file may list the images that its operations make
        notes.append(f"{names} are images of each other by symmetry and are read as one atom.")
        return {first.element: first.share}
    raise StructureParseError(
        f"{names} lie on one site, and their occupancies add up to {sum(occupancies.values()):.3g}: "
        f"remove one or correct them, {AGAIN}"
    )


def _apart(atom: Atom, other: Atom, matrix: np.ndarray) -> bool:
    gap = np.array(atom.place) - np.array(other.place)
    return bool(np.linalg.norm((gap - np.round(gap)) @ matrix) > SPECIAL)
