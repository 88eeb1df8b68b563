"""Structure → draw-ready JSON: atoms with boundary images, bonds, polyhedra, cell edges, legend, a sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

FACE = 1e-3  # fractional distance from a face at which an atom is repeated on the opposite one
BOND_FACTOR = 1.15
MAX_DRAWN = 4000
CORNERS = np.array(list(product((0, 1), repeat=3)), dtype=float)
EDGES = [(i, j) for i in range(8) for j in range(i + 1, 8) if np.abs(CORNERS[i] - CORNERS[j]).sum() == 1]


def build_scene(structure: Structure, *, supercell: tuple[int, int, int] = (1, 1, 1), sentence: str = "") -> dict[str, Any]:
    """Everything a viewer draws of one crystal; positions in Å, Cartesian.

    Returns:
        atoms: [{x, y, z, e, c, r, site}], bonds: [[i, j]], polyhedra: [{c, points, faces}], cell: [[p, q]],
        legend: [{e, c, n}], axes: rows of the lattice, sentence: text for screen readers.
    """
    if supercell != (1, 1, 1):
        structure = structure * supercell
    symbols = [site.specie.symbol for site in structure]
    scene = _frame(structure.lattice.matrix, symbols, structure.frac_coords % 1.0, images=len(structure) <= 500)
    scene["bonds"], neighbours = _bonds(scene["atoms"])
    scene["polyhedra"] = _polyhedra(scene["atoms"], neighbours, structure)
    scene["sentence"] = sentence or describe(structure)
    return scene


def frame_scene(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """A light scene of a snapshot (lattice, atomic_numbers, frac_coords) of a running sample: atoms and cell."""
    symbols = [_symbols()[z] for z in snapshot["atomic_numbers"]]
    scene = _frame(np.array(snapshot["lattice"]), symbols, np.array(snapshot["frac_coords"]) % 1.0, images=True)
    scene["bonds"], _ = _bonds(scene["atoms"])
    counts = {s: symbols.count(s) for s in dict.fromkeys(symbols)}
    scene |= {"polyhedra": [], "sentence": f"A forming cell of {len(symbols)} atoms: " + ", ".join(f"{n} {s}" for s, n in counts.items())}
    return scene


def describe(structure: Structure) -> str:
    """One sentence about a crystal, for screen readers and for copying."""
    a, b, c = structure.lattice.abc
    return (
        f"{structure.composition.reduced_formula}, {len(structure)} atoms, a = {a:.3f} Å, b = {b:.3f} Å, c = {c:.3f} Å, "
        f"volume {structure.volume:.1f} Å3, density {structure.density:.2f} g/cm3."
    )


def _frame(matrix: np.ndarray, symbols: Sequence[str], frac: np.ndarray, *, images: bool) -> dict[str, Any]:
    colours, radii = _colours(), _radii()
    atoms = []
    for site, (symbol, f) in enumerate(zip(symbols, frac, strict=True)):
        shifts = [[0, 1] if x < FACE else [-1, 0] if x > 1 - FACE else [0] for x in f] if images else [[0]] * 3
        for shift in product(*shifts):
            x, y, z = (f + np.array(shift)) @ matrix
            atoms.append(
                {"x": round(float(x), 4), "y": round(float(y), 4), "z": round(float(z), 4), "e": symbol, "c": colours[symbol],
                 "r": radii[symbol], "site": site}
            )  # fmt: skip
    corners = CORNERS @ matrix
    return {
        "atoms": atoms[:MAX_DRAWN],
        "cell": [[corners[i].round(4).tolist(), corners[j].round(4).tolist()] for i, j in EDGES],
        "legend": [{"e": s, "c": colours[s], "n": list(symbols).count(s)} for s in dict.fromkeys(symbols)],
        "axes": matrix.round(4).tolist(),
    }


def _bonds(atoms: list[dict[str, Any]]) -> tuple[list[list[int]], dict[int, list[int]]]:
    """Drawn atoms closer than 1.15 × the sum of covalent radii, never metal to metal."""
    metals = _metals()
    points = np.array([[a["x"], a["y"], a["z"]] for a in atoms]) if atoms else np.zeros((0, 3))
    bonds: list[list[int]] = []
    neighbours: dict[int, list[int]] = {i: [] for i in range(len(atoms))}
    if not 0 < len(atoms) <= 1500:
        return bonds, neighbours
    radii = np.array([_covalent()[a["e"]] for a in atoms])
    metal = np.array([a["e"] in metals for a in atoms])
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    near = (distance < BOND_FACTOR * (radii[:, None] + radii[None])) & (distance > 0.4) & ~(metal[:, None] & metal[None])
    for i, j in zip(*np.nonzero(np.triu(near, 1)), strict=True):
        bonds.append([int(i), int(j)])
        neighbours[int(i)].append(int(j))
        neighbours[int(j)].append(int(i))
    return bonds, neighbours


def _polyhedra(atoms: list[dict[str, Any]], neighbours: Mapping[int, list[int]], structure: Structure) -> list[dict[str, Any]]:
    """Hulls of anions around metals whose whole coordination shell (of the periodic crystal) is among the drawn atoms."""
    from scipy.spatial import ConvexHull, QhullError

    metals, covalent = _metals(), _covalent()
    shells: dict[int, int] = {}
    found = []
    for i, atom in enumerate(atoms):
        around = [j for j in neighbours[i] if atoms[j]["e"] not in metals]
        if atom["e"] not in metals or not 4 <= len(around) <= 12:
            continue
        site = atom["site"]
        if site not in shells:
            near = structure.get_neighbors(structure[site], 4.5)
            shells[site] = sum(
                n.specie.symbol not in metals and n.nn_distance < BOND_FACTOR * (covalent[atom["e"]] + covalent[n.specie.symbol]) for n in near
            )
        if len(around) < shells[site]:
            continue
        points = np.array([[atoms[j]["x"], atoms[j]["y"], atoms[j]["z"]] for j in around])
        try:
            faces = ConvexHull(points).simplices
        except QhullError:
            continue
        found.append({"c": atom["c"], "e": atom["e"], "points": points.tolist(), "faces": faces.tolist()})
    return found


@lru_cache(maxsize=1)
def _symbols() -> dict[int, str]:
    from pymatgen.core.periodic_table import Element

    return {e.Z: e.symbol for e in Element if e.symbol not in ("D", "T")}


@lru_cache(maxsize=1)
def _colours() -> dict[str, str]:
    """VESTA's colours, as pymatgen ships them."""
    from pymatgen.vis.structure_vtk import EL_COLORS

    table = EL_COLORS["VESTA"]
    return {s: "#%02x%02x%02x" % tuple(int(x) for x in table.get(s, (150, 150, 150))) for s in _symbols().values()}


@lru_cache(maxsize=1)
def _radii() -> dict[str, float]:
    """Drawn radii in Å: 0.4 × the atomic radius."""
    from pymatgen.core.periodic_table import Element

    return {s: round(0.32 * float(Element(s).atomic_radius or 1.4) + 0.12, 3) for s in _symbols().values()}


@lru_cache(maxsize=1)
def _covalent() -> dict[str, float]:
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    return {s: float(CovalentRadius.radius.get(s, 1.5)) for s in _symbols().values()}


@lru_cache(maxsize=1)
def _metals() -> frozenset[str]:
    from pymatgen.core.periodic_table import Element

    return frozenset(s for s in _symbols().values() if Element(s).is_metal)
