"""The file behind a prototype index: members by count pattern, and one geometry per prototype or per member.

A NumPy archive (read without pickling). The shipped file keeps an averaged asymmetric unit per prototype; the
full index, built from the raw data and kept on this machine, keeps every member's own cell.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.prototype.cells import roles_of
from crystal_core.generators.prototype.index import Geometry, Pool, PrototypeIndex, Ranking
from crystal_core.generators.prototype.symmetry_form import SymmetryForm, from_form
from crystal_core.reference.asymmetric_unit import space_group_of_hall
from crystal_core.structures import in_cell
from crystal_core.whole_files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 1
# coordinates are stored in steps of 1/60000, which holds thirds, quarters and eighths exactly
POINT_SCALE = 60_000


@dataclass(frozen=True, kw_only=True)
class Prototype:
    """An arrangement in the shipped table; ``packing`` is averaged over its members."""

    form: SymmetryForm
    packing: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A member in the full index: its own cell, with roles in its prototype's order."""

    lattice: NDArray[np.float64]
    frac_coords: NDArray[np.float64]
    roles: NDArray[np.int64]
    packing: float
    label: str


def save_library(
    path: Path,
    *,
    pools: dict[tuple[int, ...], Pool],
    geometries: list[Prototype] | list[Cell],
    distance: NDArray[Any],
    element_volumes: NDArray[Any],
    source: str,
) -> None:
    """Write the archive; ``pools`` refer to positions in ``geometries``."""
    patterns = sorted(pools)
    data: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "source": np.array(source),
        "distance": distance.astype(np.float16),
        "element_volumes": element_volumes.astype(np.float32),
        "pattern_roles": np.array([len(p) for p in patterns], dtype=np.uint8),
        "pattern_counts": np.array([c for p in patterns for c in p], dtype=np.uint8),
        "pattern_members": np.array([len(pools[p].prototype) for p in patterns], dtype=np.int32),
        "elements": np.concatenate([pools[p].elements.ravel() for p in patterns]).astype(np.uint8),
        "prototype": np.concatenate([pools[p].prototype for p in patterns]).astype(np.int32),
        "geometry": np.concatenate([pools[p].geometry for p in patterns]).astype(np.int32),
        "packing": np.array([g.packing for g in geometries], dtype=np.float32),
        "label": np.array([g.label for g in geometries]),
    }
    if isinstance(geometries[0], Prototype):
        forms = [g.form for g in geometries]
        data |= {
            "hall_number": np.array([f.hall_number for f in forms], dtype=np.uint16),
            "cell": np.array([f.cell for f in forms], dtype=np.float32),
            "orbits": np.array([len(f.roles) for f in forms], dtype=np.uint16),
            "points": np.round(in_cell(np.concatenate([f.points for f in forms])) * POINT_SCALE).astype(
                np.uint16
            ),
            "roles": np.concatenate([f.roles for f in forms]).astype(np.uint8),
            "letters": np.array("".join(f.letters for f in forms)),
            "multiplicities": np.concatenate([f.multiplicities for f in forms]).astype(np.uint8),
        }
    else:
        data |= {
            "lattice": np.array([g.lattice for g in geometries], dtype=np.float32),
            "atoms": np.array([len(g.roles) for g in geometries], dtype=np.uint16),
            "frac_coords": np.concatenate([g.frac_coords for g in geometries]).astype(np.float32),
            "roles": np.concatenate([g.roles for g in geometries]).astype(np.uint8),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = data  # numpy's annotation takes the first keyword for its flag allow_pickle
    with whole_file(path) as file, file.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def load_index(path: Path, ranking: Ranking | None = None) -> PrototypeIndex:
    """The index of an archive.

    Raises:
        CheckpointMismatch: the archive is damaged or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {name: archive[name] for name in archive.files}
        if int(data["format"]) != FORMAT:
            raise CheckpointMismatch(
                f"{path.name} has format {int(data['format'])}; this version reads format {FORMAT}."
            )
        pools = _pools(data)
        source = _Prototypes(data) if "hall_number" in data else _Cells(data)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointMismatch(f"The prototype table {path.name} cannot be read: {error}.") from error
    return PrototypeIndex(
        pools,
        distance=data["distance"].astype(np.float64),
        element_volumes=data["element_volumes"].astype(np.float64),
        geometry=source,
        kind="shipped table" if "hall_number" in data else "full index",
        ranking=ranking or Ranking(),
    )


class ShippedTable(NamedTuple):
    """The parts of the shipped archive that tell of symmetry."""

    pools: dict[tuple[int, ...], Pool]
    geometry: _Prototypes


def load_shipped_table(path: Path) -> ShippedTable:
    """Pools and asymmetric units of the shipped archive.

    Raises:
        CheckpointMismatch: the archive is damaged, or holds cells instead of asymmetric units.
    """
    index = load_index(path)
    if not isinstance(index.geometry, _Prototypes):
        raise CheckpointMismatch(f"{path.name} holds cells without their symmetry.")
    return ShippedTable(dict(index.pools), index.geometry)


def _pools(data: dict[str, NDArray[Any]]) -> dict[tuple[int, ...], Pool]:
    pools = {}
    count = element = member = 0
    for n_roles, n_members in zip(
        data["pattern_roles"].tolist(), data["pattern_members"].tolist(), strict=True
    ):
        pattern = tuple(data["pattern_counts"][count : count + n_roles].tolist())
        pools[pattern] = Pool(
            elements=data["elements"][element : element + n_roles * n_members].reshape(n_members, n_roles),
            prototype=data["prototype"][member : member + n_members],
            geometry=data["geometry"][member : member + n_members],
        )
        count, element, member = count + n_roles, element + n_roles * n_members, member + n_members
    return pools


class _Prototypes:
    """Rebuilds a cell from its asymmetric unit when asked."""

    def __init__(self, data: dict[str, NDArray[Any]]) -> None:
        self.data, self.start = data, np.concatenate([[0], np.cumsum(data["orbits"])])
        self.letters = str(data["letters"])

    def form(self, key: int) -> SymmetryForm:
        part = slice(int(self.start[key]), int(self.start[key + 1]))
        return SymmetryForm(
            hall_number=int(self.data["hall_number"][key]),
            cell=self.data["cell"][key].astype(np.float64),
            points=self.data["points"][part] / POINT_SCALE,
            roles=self.data["roles"][part].astype(np.int64),
            letters=self.letters[part],
            multiplicities=self.data["multiplicities"][part].astype(np.int64),
        )

    def space_group(self, key: int) -> int:
        """Its number, 1..230."""
        return space_group_of_hall(int(self.data["hall_number"][key]))

    def __call__(self, key: int) -> Geometry | None:
        cell = from_form(self.form(key))
        if cell is None:
            return None
        return Geometry(*cell, float(self.data["packing"][key]), str(self.data["label"][key]))


class _Cells:
    """The members' own cells."""

    def __init__(self, data: dict[str, NDArray[Any]]) -> None:
        self.data, self.start = data, np.concatenate([[0], np.cumsum(data["atoms"])])

    def __call__(self, key: int) -> Geometry | None:
        part = slice(int(self.start[key]), int(self.start[key + 1]))
        return Geometry(
            self.data["lattice"][key].astype(np.float64),
            self.data["frac_coords"][part].astype(np.float64),
            self.data["roles"][part].astype(np.int64),
            float(self.data["packing"][key]),
            str(self.data["label"][key]),
        )


def reduced_formulas(index: PrototypeIndex) -> frozenset[str]:
    """Reduced formulas of all members, spelt as pymatgen spells them: what this index has seen."""
    from pymatgen.core import Composition, Element

    symbols = [""] + [Element.from_Z(z).symbol for z in range(1, 119)]
    seen = set()
    for pattern, pool in index.pools.items():
        divisor = int(np.gcd.reduce(pattern))
        for elements in np.unique(pool.elements, axis=0):
            # permuted roles keep their count, so the pattern still says how many of each
            seen.add(
                tuple(
                    sorted(
                        (symbols[z], c // divisor) for z, c in zip(elements.tolist(), pattern, strict=True)
                    )
                )
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have no electronegativity to sort symbols by
        return frozenset(Composition(dict(pairs)).reduced_formula for pairs in seen)


__all__ = ["Cell", "Prototype", "load_index", "reduced_formulas", "roles_of", "save_library"]
