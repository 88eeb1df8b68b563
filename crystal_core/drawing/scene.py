"""Structure → draw-ready JSON. Pure: no drawing, no page.

A *scene* is periodic: the sites of one cell, bonds and coordination polyhedra with the cell offsets
of their ends. The viewer repeats it in the browser; :func:`expand` does the same in Python for
notebooks, files and tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.checks import check_choice
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.bonds import find_bonds, find_polyhedra
from crystal_core.drawing.style import dark_palettes, electronegativity, palettes, radii, symbol_of
from crystal_core.errors import RequestError
from crystal_core.structures import atomic_numbers

if TYPE_CHECKING:
    from pymatgen.core import Structure

FACE = 1e-3  # fractional distance from the upper face within which an atom belongs to the lower face
# Å from a face at which an atom is repeated on the opposite one: models place atoms inexactly
NEAR_FACE = 0.15
WIDEST_FACE = 0.1  # fractional; most of the above in thin cells
MAX_BONDED_SITES = 600  # beyond, a cell is drawn as atoms only
MAX_DRAWN = 6000
CELL_KINDS = ("as given", "primitive", "conventional", "Niggli")


def build_scene(
    structure: Structure, *, sentence: str = "", shares: Sequence[Mapping[str, float]] | None = None
) -> dict[str, Any]:
    """Everything a viewer needs of one crystal.

    Args:
        shares: element → occupancy of every site, where some are shared or partly occupied: these
            are drawn in slices.

    Returns:
        lattice: rows a, b, c in Å; sites: [{f: [3] in [0, 1), e, r}]; bonds: [[i, j, n1, n2, n3]], atom i
        of the cell to atom j of the cell n away; polyhedra: [{i, corners: [[j, n1, n2, n3]], faces:
        [[3]]}]; legend: [{e, n}];
        palettes: name → element → colour, dark_palettes: the same for a dark ground; sentence:
            text for screen readers.

    Raises:
        StructureParseError: a site is partly occupied.
    """
    symbols = [symbol_of(z) for z in atomic_numbers(structure)]
    scene = _scene(np.asarray(structure.lattice.matrix), symbols, structure.frac_coords, polyhedra=True)
    scene["sentence"] = sentence or describe(structure)
    if shares:
        _slice(scene, shares)
    return scene


def _slice(scene: dict[str, Any], shares: Sequence[Mapping[str, float]]) -> None:
    """Add ``s``: [[element, share]] to each shared site, and the further elements to legend and palettes."""
    amounts: dict[str, float] = {}
    for site, share in zip(scene["sites"], shares, strict=True):
        drawn = [("H" if element in ("D", "T") else element, round(x, 4)) for element, x in share.items()]
        if len(drawn) > 1 or drawn[0][1] < 1:
            site["s"] = [list(one) for one in drawn]
        for element, x in drawn:
            amounts[element] = amounts.get(element, 0.0) + x
    chi = electronegativity()
    elements = sorted(amounts, key=lambda e: (chi[e], e))
    scene["legend"] = [{"e": e, "n": float(f"{amounts[e]:.3g}")} for e in elements]
    scene["palettes"], scene["dark_palettes"] = palettes(tuple(elements)), dark_palettes(tuple(elements))


def overlay_scene(structure: Structure, pale: Structure) -> dict[str, Any]:
    """The scene of a crystal with another one drawn pale over it.

    Args:
        pale: the same sites in the same order, in a cell of its own, e.g. the crystal before it was relaxed.

    Returns:
        A scene with ``pale``: {lattice, sites: [{f, e, r}]}; its coordinates are unwrapped, each nearest to
        its partner, and a drift common to all is taken out.

    Raises:
        RequestError: the two have different numbers of sites.
    """
    scene = build_scene(structure)
    if len(pale) != len(structure):
        raise RequestError(f"A crystal of {len(pale)} sites cannot lie over one of {len(structure)}.")
    partners = np.array([site["f"] for site in scene["sites"]])
    shift = np.asarray(pale.frac_coords) - partners
    shift -= np.round(shift)  # minimal image first, then the mean
    shift -= shift.mean(axis=0)
    symbols, size = [symbol_of(site.specie.Z) for site in pale], radii()
    sites = [
        {"f": [round(float(x), 5) for x in f], "e": e, "r": size[e]}
        for f, e in zip(partners + shift, symbols, strict=True)
    ]
    scene["pale"] = {"lattice": np.asarray(pale.lattice.matrix).round(5).tolist(), "sites": sites}
    return scene


def frame_scene(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The scene of a running sample's snapshot (lattice, atomic_numbers, frac_coords), without polyhedra."""
    symbols = [symbol_of(z) for z in snapshot["atomic_numbers"]]
    scene = _scene(
        np.array(snapshot["lattice"], dtype=float),
        symbols,
        np.array(snapshot["frac_coords"], dtype=float),
        polyhedra=False,
    )
    counts = {s: symbols.count(s) for s in dict.fromkeys(symbols)}
    scene["sentence"] = f"A forming cell of {len(symbols)} atoms: " + ", ".join(
        f"{n} {s}" for s, n in counts.items()
    )
    return scene


def describe(structure: Structure, occupancy: Mapping[str, Any] | None = None) -> str:
    """One sentence about a crystal, for screen readers and for copying.

    Args:
        occupancy: of a crystal with shared sites, see :func:`crystal_core.files.parse.occupancy_of`.
    """
    a, b, c = structure.lattice.abc
    formula = formula_of(structure.composition)
    density = structure.density
    contents = f"{len(structure)} atoms"
    if occupancy:
        formula, density = occupancy["formula"], occupancy["density"]
        contents = f"{len(structure)} sites, {occupancy['sites']}"
    return (
        f"{formula}, {contents}, a = {a:.3f} Å, b = {b:.3f} Å, c = {c:.3f} Å, "
        f"volume {structure.volume:.1f} Å³, density {density:.2f} g/cm³."
    )


def cell_choice(structure: Structure, kind: str, symprec: float = 0.1) -> Structure:
    """The same crystal in another cell.

    "as given", "primitive", "conventional" (standardised) or "Niggli" (primitive and reduced).

    Args:
        symprec: tolerance in Å of the symmetry search behind all but "as given".

    Raises:
        RequestError: unknown kind, no symmetry was found within the tolerance, or the
            lattice cannot be reduced.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    check_choice("cell", kind, CELL_KINDS)
    if kind == "as given":
        return structure
    try:
        analyzer = SpacegroupAnalyzer(structure, symprec=symprec)
        other = (
            analyzer.get_conventional_standard_structure()
            if kind == "conventional"
            else analyzer.get_primitive_standard_structure()
        )
    except Exception as error:
        raise RequestError(
            f"No {kind} cell: the symmetry search found nothing within {symprec} Å."
        ) from error
    if kind != "Niggli":
        return other
    try:
        return other.get_reduced_structure("niggli")
    except ValueError as error:
        raise RequestError("No Niggli cell: the reduction of this lattice does not end.") from error


def expand(
    scene: Mapping[str, Any],
    repeat: tuple[int, int, int] = (1, 1, 1),
    *,
    images: bool = True,
    complete: bool | None = None,
) -> dict[str, Any]:
    """The atoms, bonds and polyhedra of a block of cells, Cartesian in Å.

    Args:
        images: repeat atoms on (and near) faces, edges and corners on the opposite ones.
        complete: also draw the neighbours outside the block that coordination polyhedra need; None does so
            for the elements of which a polyhedron would be missing without.

    Returns:
        atoms: [{p: [3], e, r, site}], bonds: [[k, l]] into atoms, polyhedra: [{e, site, points, faces}].
    """
    lattice = np.array(scene["lattice"])
    atoms: list[dict[str, Any]] = []
    index: dict[tuple[int, int, int, int], int] = {}

    def add(i: int, n: tuple[int, int, int]) -> int:
        key = (i, *n)
        if key not in index:
            site = scene["sites"][i]
            index[key] = len(atoms)
            atoms.append(
                {"p": (np.array(site["f"]) + n) @ lattice, "e": site["e"], "r": site["r"], "site": i}
            )
        return index[key]

    near = _near_faces(lattice) if images else (0.0, 0.0, 0.0)
    for i, site in enumerate(scene["sites"]):
        along = zip(site["f"], repeat, near, strict=True)
        for a, b, c in product(
            *(range(-1 if 1.0 - f < edge else 0, k + 1 if f < edge else k) for f, k, edge in along)
        ):
            if len(atoms) < MAX_DRAWN:
                add(i, (a, b, c))
    drawn = list(index)
    bodies = {body["i"]: body for body in scene["polyhedra"]}
    centres = [key for key in drawn if key[0] in bodies]

    def corners(key: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
        return [(j, key[1] + a, key[2] + b, key[3] + c) for j, a, b, c in bodies[key[0]]["corners"]]

    def is_whole(key: tuple[int, int, int, int]) -> bool:
        return all(corner in index for corner in corners(key))

    def element(key: tuple[int, int, int, int]) -> str:
        return scene["sites"][key[0]]["e"]

    completed = {element(key) for key in centres if complete or (complete is None and not is_whole(key))}
    for j, a, b, c in [corner for key in centres if element(key) in completed for corner in corners(key)]:
        if len(atoms) < MAX_DRAWN:
            add(j, (a, b, c))
    bonds = set()
    for i, j, a, b, c in scene["bonds"]:
        for key in [key for key in index if key[0] == i]:
            other = (j, key[1] + a, key[2] + b, key[3] + c)
            if other in index:
                bonds.add(tuple(sorted((index[key], index[other]))))
    polyhedra = [
        {
            "e": element(key),
            "site": key[0],
            "points": [atoms[index[c]]["p"].tolist() for c in corners(key)],
            "faces": bodies[key[0]]["faces"],
        }
        for key in centres
        if is_whole(key)
    ]
    for atom in atoms:
        atom["p"] = atom["p"].round(4).tolist()
    return {"atoms": atoms, "bonds": [list(pair) for pair in sorted(bonds)], "polyhedra": polyhedra}


def coordination(scene: Mapping[str, Any]) -> list[str]:
    """Bonded neighbours of every site, e.g. "6 O at 2.005 Å" or "4 O at 1.949–1.980 Å"; "–" for none."""
    lattice = np.array(scene["lattice"])
    around: list[dict[str, list[float]]] = [{} for _ in scene["sites"]]
    for i, j, *n in scene["bonds"]:
        a, b = scene["sites"][i], scene["sites"][j]
        length = float(np.linalg.norm((np.array(b["f"]) + n - a["f"]) @ lattice))
        around[i].setdefault(b["e"], []).append(length)
        around[j].setdefault(a["e"], []).append(length)
    words = []
    for neighbours in around:
        parts = []
        for element, lengths in neighbours.items():
            low, high = min(lengths), max(lengths)
            span = f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f}–{high:.3f}"
            parts.append(f"{len(lengths)} {element} at {span} Å")
        words.append(", ".join(parts) or "–")
    return words


def _near_faces(lattice: np.ndarray) -> tuple[float, ...]:
    """Fractional distance along a, b and c that counts as on a face."""
    if abs(np.linalg.det(lattice)) < 1e-3:
        return (FACE, FACE, FACE)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    return tuple(float(x) for x in np.clip(NEAR_FACE / heights, FACE, WIDEST_FACE))


def _scene(
    lattice: np.ndarray, symbols: Sequence[str], frac_coords: np.ndarray, *, polyhedra: bool
) -> dict[str, Any]:
    frac = np.mod(frac_coords, 1.0)
    frac[frac > 1.0 - FACE] = 0.0  # a site at 0.9999 is the one at 0: it belongs on all faces it touches
    size = radii()
    bonds = find_bonds(lattice, symbols, frac) if len(symbols) <= MAX_BONDED_SITES else []
    chi = electronegativity()
    elements = sorted(set(symbols), key=lambda e: (chi[e], e))  # as in a formula: Ti before O
    return {
        "lattice": lattice.round(5).tolist(),
        "sites": [
            {"f": [round(float(x), 5) for x in f], "e": e, "r": size[e]}
            for e, f in zip(symbols, frac, strict=True)
        ],
        "bonds": bonds,
        "polyhedra": find_polyhedra(lattice, symbols, frac, bonds) if polyhedra else [],
        "legend": [{"e": e, "n": list(symbols).count(e)} for e in elements],
        "palettes": palettes(tuple(elements)),
        "dark_palettes": dark_palettes(tuple(elements)),
    }
