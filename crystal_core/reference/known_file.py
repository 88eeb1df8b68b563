"""The file of known crystals (``known.zip``): columns as xz streams, cells in blocks by formula.

``about.json`` inside tells origin and licence. Rows of one formula stand together. What finds a row
(formulas, ids) is read at once; cells are read block by block when they are first needed. Built by
:mod:`crystal_core.reference.build_known`.
"""

from __future__ import annotations

import io
import json
import lzma
import threading
import warnings
import zipfile
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.reference.asymmetric_unit import primitive_cell
from crystal_core.reference.packed_cells import COLUMNS, PackedCells
from crystal_core.whole_files import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

FILE = Path(__file__).parent / "known.zip"
# of the Materials Project and of Perov-5; elemental references; rows of data sets without ids of the Project
PREFIXES = (
    "mp",
    "mvc",
    "perov5",
    "element",
    "mb-phonons",
    "mb-dielectric",
    "aflow-row",
)
ELEMENT = PREFIXES.index("element")
NO_ENERGY = 65_535  # in the column of energies above the hull, which is in meV/atom
FILTERS = tuple(  # literal context, literal position, position bits: which packs best depends on the column
    [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": lc, "lp": lp, "pb": lp}]
    for lc, lp in ((3, 0), (4, 0), (0, 0), (0, 1), (2, 1), (3, 1))
)


class KnownIndex:
    """The known crystals, rows of one formula side by side.

    Attributes:
        about: origin, licence, rows, and how the verdicts were measured; as sentences and numbers.
        elements: (formulas, roles) atomic numbers, 0 where a formula has fewer.
        counts: (formulas, roles) of the reduced formula; falling, equal counts in the order of ``axis``.
        start: (formulas + 1,) first row of each formula. axis: (119,) Mendeleev numbers.
        ids: (rows,) number of the id. prefixes: (rows,) its place in :data:`PREFIXES`.
        space_groups: (rows,) as tabulated. usable: (rows,) bool, whether models were trained on it.
        above_hull: (rows,) published energy above the hull, meV/atom.
    """

    def __init__(self, path: Path = FILE) -> None:
        # in memory: processes that fork would share the position in an open file
        self._archive = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
        self._lock = threading.Lock()
        self.about: dict[str, Any] = json.loads(self._archive.read("about.json"))
        self.elements, self.counts, self.axis = map(self._column, ("elements", "counts", "axis"))
        self.start = np.concatenate([[0], np.cumsum(self._column("rows"), dtype=np.int64)])
        self.space_groups, self.above_hull = map(self._column, ("space_groups", "above_hull"))
        self.usable = self._column("usable").astype(bool)
        self.blocks = self._column("blocks")  # first row of each block
        self._packed: dict[int, PackedCells] = {}

    def __len__(self) -> int:
        return int(self.start[-1])

    @cached_property
    def ids(self) -> NDArray[np.int32]:
        return self._column("ids")

    @cached_property
    def prefixes(self) -> NDArray[np.uint8]:
        return self._column("prefixes")

    @cached_property
    def reference(self) -> str:
        """The set, in a few words."""
        return str(self.about["reference"])

    def name(self, row: int) -> str:
        """The id of a row, such as ``mp-149``.

        ``element-Fe-8`` is the eighth elemental reference of iron, ``aflow-row-2378`` a row of the AFLOW
        table, counted from 0.
        """
        prefix = PREFIXES[self.prefixes[row]]
        if self.prefixes[row] == ELEMENT:
            prefix = f"{prefix}-{_symbol(int(self.elements[self.formula_of_row(row), 0]))}"
        return f"{prefix}-{self.ids[row]}"

    def row_of(self, name: str) -> int | None:
        """The row of an id; None where the file does not hold it."""
        prefix, _, number = name.rpartition("-")
        begin, _, symbol = (prefix, "", "") if prefix in PREFIXES else prefix.partition("-")
        if begin not in PREFIXES or not number.isdecimal() or len(number) > 9:
            return None
        rows = np.flatnonzero((self.ids == int(number)) & (self.prefixes == PREFIXES.index(begin))).tolist()
        return next((row for row in rows if not symbol or self.name(row) == name), None)

    def training_of(self, row: int) -> tuple[str, ...]:
        """Name prefixes of the models that a row trained."""
        models = self.about["models"].get(PREFIXES[self.prefixes[row]], ())
        return tuple(models) if self.usable[row] else ()

    def e_above_hull(self, row: int) -> float | None:
        """Published energy above the hull of a row, eV/atom; None if unknown."""
        stored = int(self.above_hull[row])
        return None if stored == NO_ENERGY else stored / 1000

    def rows(self, formula: int) -> range:
        """Rows of a formula."""
        return range(int(self.start[formula]), int(self.start[formula + 1]))

    def formula_of_row(self, row: int) -> int:
        """Number of the formula of a row."""
        return int(np.searchsorted(self.start, row, side="right")) - 1

    def formula_of(self, elements: Sequence[int], counts: Sequence[int]) -> int | None:
        """Number of the formula with these roles (see ``counts``); None where it is not known."""
        like = self._of_counts(counts)
        if not len(like):
            return None
        same = like[(self.elements[like, : len(elements)] == np.array(elements)).all(axis=1)]
        return int(same[0]) if len(same) else None

    def nearest_formula(self, elements: Sequence[int], counts: Sequence[int]) -> int | None:
        """The formula of equal counts with the nearest elements on Mendeleev's axis; None for new counts.

        Roles of equal count are in the order of the axis on both sides, which is the pairing
        of least total distance.
        """
        like = self._of_counts(counts)
        if not len(like):
            return None
        theirs = self.axis[self.elements[like, : len(counts)]].astype(int)
        gaps = np.abs(theirs - self.axis[list(elements)].astype(int))
        return int(like[gaps.sum(axis=1).argmin()])

    def reduced_formula(self, formula: int) -> str:
        """The formula in pymatgen's spelling."""
        from pymatgen.core import Composition

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noble gases have no electronegativity to sort symbols by
            pairs = zip(self.elements[formula].tolist(), self.counts[formula].tolist(), strict=True)
            return Composition({_symbol(z): n for z, n in pairs if n}).reduced_formula

    def arrays(self, row: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Lattice rows (3, 3) in Å, frac_coords (atoms, 3) and atomic numbers of a row's primitive cell."""
        block = int(np.searchsorted(self.blocks, row, side="right")) - 1
        with self._lock:
            if block not in self._packed:
                columns = {name: self._column(f"cells-{block:02d}/{name}") for name in COLUMNS}
                self._packed[block] = PackedCells(columns)
        unit = self._packed[block].unit(
            row - int(self.blocks[block]), self.elements[self.formula_of_row(row)]
        )
        return primitive_cell(unit)

    def cell(self, row: int) -> Structure:
        """The primitive cell of a row."""
        from pymatgen.core import Lattice, Structure

        lattice, frac_coords, numbers = self.arrays(row)
        return Structure(Lattice(lattice), numbers.tolist(), frac_coords)

    def _of_counts(self, counts: Sequence[int]) -> NDArray[np.int64]:
        wide = np.zeros(self.counts.shape[1], dtype=np.int64)
        if len(counts) > len(wide):
            return np.zeros(0, dtype=np.int64)
        wide[: len(counts)] = counts
        return np.flatnonzero((self.counts == wide).all(axis=1))

    def _column(self, name: str) -> NDArray[Any]:
        return np.load(io.BytesIO(lzma.decompress(self._archive.read(f"{name}.npy.xz"))), allow_pickle=False)


@lru_cache(maxsize=1)
def load_known() -> KnownIndex:
    """The shipped file, opened once."""
    return KnownIndex()


def write_known(
    path: Path,
    about: Mapping[str, Any],
    columns: Mapping[str, NDArray[Any]],
    blocks: Sequence[Mapping[str, NDArray[Any]]],
) -> None:
    """Write the file; the same content gives the same bytes.

    Args:
        columns: what :class:`KnownIndex` reads at once or by ``ids`` and ``prefixes``.
        blocks: cells, as :func:`crystal_core.reference.packed_cells.pack_units` gives them.
    """
    parts = {"about.json": json.dumps(about, indent=1, ensure_ascii=False).encode()}
    parts |= {f"{name}.npy.xz": _packed(values) for name, values in columns.items()}
    for k, block in enumerate(blocks):
        parts |= {f"cells-{k:02d}/{name}.npy.xz": _packed(values) for name, values in block.items()}
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            # a fixed date, and text packed by the archive itself: numbers are packed already
            packing = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, packing)


def _packed(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    content = buffer.getvalue()
    return min((lzma.compress(content, filters=filters) for filters in FILTERS), key=len)


def _symbol(z: int) -> str:
    from pymatgen.core import Element

    return Element.from_Z(z).symbol
