"""The nearest known crystal of a cell, offline: whether what a model made is a crystal of the Materials Project or of Perov-5.

The index (``known.npz.xz``, built by :mod:`crystal_core.reference.build_known`) holds formula, space group, id and a small
histogram of distances per crystal, no coordinates. Where the tables themselves are at hand (``CRYSTAL_DATA``, or a
downloaded MP-20), the candidates of the formula are compared atom by atom. *Known* speaks of the reference set named beside
it and of nothing else; *training* marks the rows that models of their data set were trained on, and names these models.
"""

from __future__ import annotations

import json
import logging
import lzma
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from crystal_core.reference.pair_histogram import N_BINS, distances, n_bytes, pair_histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from crystal_core.records import Novelty

log = logging.getLogger(__name__)
INDEX = Path(__file__).parent / "known.npz.xz"
MAX_ATOMS = 500
MAX_COMPARED = 12  # candidates of a formula, nearest histograms first, that are compared atom by atom
SECONDS = 5.0  # for each of them; usual ones take milliseconds
PREFIXES = ("mp", "mvc", "perov5")

Method = Literal["structure matcher", "distances", "formula"]


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownNeighbour:
    """The known crystal nearest to a cell.

    Attributes:
        known: both are the same crystal.
        nearest_id: of the Materials Project, or of Perov-5 where it begins with perov5. formula: its reduced formula. space_group: its number.
        rmsd: between the two, in units of (V/N)^(1/3); only where ``known`` was found atom by atom.
        training: the nearest crystal is a training row of its data set; its being known does not imply it.
        training_of: how the names of the models begin that were trained on it, or began with layers that were.
        structure: the nearest crystal, where its table is at hand; laid onto the cell asked about where both are the same.
        method: how ``known`` was decided; "formula" says that nothing with this formula is known.
        reference: the set that was searched.
    """

    known: bool
    nearest_id: str
    formula: str
    space_group: int
    rmsd: float | None
    training: bool
    training_of: tuple[str, ...]
    structure: Structure | None
    method: Method
    reference: str

    def to_json(self) -> Novelty:
        """All but the structure, as ``novelty`` of a record."""
        return {
            "known": self.known,
            "nearest_id": self.nearest_id,
            "rmsd": self.rmsd,
            "nearest_formula": self.formula,
            "nearest_space_group": self.space_group,
            "training": self.training,
            "training_of": list(self.training_of),
            "method": self.method,
            "reference": self.reference,
        }


@dataclass(eq=False)
class KnownIndex:
    """The known crystals, rows of one formula side by side.

    Attributes:
        about: origin, rows, how well the verdict without tables agrees with the exact one; as sentences and numbers.
        ids: (rows,) number of the id. prefixes: (rows,) its place in :data:`PREFIXES`. space_groups: (rows,).
        n_atoms: (rows,) of the tabulated cell. training: (rows,) bool.
        start: (formulas + 1,) first row of each formula.
        elements: (formulas, roles) atomic numbers in the order of :func:`ordered_roles`, 0 where a formula has fewer.
        counts: (formulas, roles) atoms of each in the reduced formula.
        histograms: all histograms, one after the other. axis: (119,) Mendeleev numbers.
    """

    about: dict[str, Any]
    ids: NDArray[np.int32]
    prefixes: NDArray[np.uint8]
    space_groups: NDArray[np.uint8]
    n_atoms: NDArray[np.uint8]
    training: NDArray[np.bool_]
    start: NDArray[np.int32]
    elements: NDArray[np.uint8]
    counts: NDArray[np.uint8]
    histograms: NDArray[np.uint8]
    axis: NDArray[np.int16]

    def name(self, row: int) -> str:
        """The id of a row, such as ``mp-149``."""
        return f"{PREFIXES[self.prefixes[row]]}-{self.ids[row]}"

    def training_of(self, row: int) -> tuple[str, ...]:
        """How the names of the models begin that a row trained."""
        return tuple(self.about["models"][PREFIXES[self.prefixes[row]]]) if self.training[row] else ()

    def rows(self, formula: int) -> range:
        """Rows of a formula."""
        return range(int(self.start[formula]), int(self.start[formula + 1]))

    def formula_of(self, elements: Sequence[int], counts: Sequence[int]) -> int | None:
        """Number of the formula with these roles; None where it is not known."""
        return self._formulas.get(_key(elements, counts, self.elements.shape[1]))

    def nearest_formula(self, elements: Sequence[int], counts: Sequence[int]) -> int | None:
        """The formula of the same counts whose elements stand nearest on the Mendeleev axis; None where the counts are new.

        Roles of equal count are in the order of the axis on both sides, which is the pairing of least total distance.
        """
        wide = np.zeros(self.elements.shape[1], dtype=np.int64)
        if len(counts) > len(wide):
            return None
        wide[: len(counts)] = counts
        like = np.flatnonzero((self.counts == wide).all(axis=1))
        if not len(like):
            return None
        gaps = np.abs(
            self.axis[self.elements[like, : len(counts)]].astype(int) - self.axis[list(elements)].astype(int)
        )
        return int(like[gaps.sum(axis=1).argmin()])

    def histograms_of(self, formula: int) -> NDArray[np.uint8]:
        """(rows of the formula, bytes)."""
        width = n_bytes(int((self.counts[formula] > 0).sum()))
        first = int(self._offsets[formula])
        return self.histograms[first : first + width * len(self.rows(formula))].reshape(-1, width)

    def reduced_formula(self, formula: int) -> str:
        """As pymatgen spells it."""
        from pymatgen.core import Composition, Element

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noble gases have no electronegativity to sort symbols by
            pairs = zip(self.elements[formula].tolist(), self.counts[formula].tolist(), strict=True)
            return Composition({Element.from_Z(z).symbol: n for z, n in pairs if n}).reduced_formula

    def is_near(self, distance: float) -> bool:
        """The verdict without tables on two crystals of one formula, from the distance of their histograms.

        Being of one space group too was measured to add nothing: the threshold is the same for pairs of one and of two.
        """
        return distance < float(self.about["threshold"])

    @cached_property
    def reference(self) -> str:
        """The set, in a few words."""
        return str(self.about["reference"])

    @cached_property
    def _formulas(self) -> dict[bytes, int]:
        joined = np.concatenate([self.elements, self.counts], axis=1)
        return {row.tobytes(): i for i, row in enumerate(joined)}

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        roles = (self.counts > 0).sum(axis=1)
        sizes = roles * (roles + 1) // 2 * N_BINS * np.diff(self.start)
        return np.concatenate([[0], np.cumsum(sizes)])


@lru_cache(maxsize=1)
def load_known() -> KnownIndex:
    """The shipped index."""
    with np.load(BytesIO(lzma.decompress(INDEX.read_bytes()))) as data:
        arrays = {name: data[name] for name in data.files}
    about = json.loads(str(arrays.pop("about")))
    return KnownIndex(about=about, **arrays)


def find_known(structure: Structure, *, overlay: bool = True) -> KnownNeighbour | None:
    """The nearest known crystal: of the same reduced formula, else of the same counts of the chemically nearest elements.

    Returns None where nothing is comparable: the counts occur in no known crystal, a site is not one element, the cell is
    no cell, or it holds more than 500 atoms.

    Args:
        overlay: lay the crystal found onto the cell asked about; False saves its time where nobody will draw it.
    """
    index = load_known()
    asked = _arrays(structure)
    if asked is None:
        return None
    lattice, frac_coords, numbers = asked
    roles, elements, counts = ordered_roles(numbers, index.axis)
    formula = index.formula_of(elements, counts)
    same_formula = formula is not None
    if formula is None:
        formula = index.nearest_formula(elements, counts)
    if formula is None:
        return None
    apart = distances(
        pair_histogram(lattice, frac_coords, roles, len(elements)), index.histograms_of(formula)
    )
    order = np.argsort(apart, kind="stable")
    rows = [index.rows(formula)[i] for i in order]
    if not same_formula:
        return _neighbour(index, formula, rows[0], method="formula")
    return _compare(
        structure, index, formula, list(zip(rows, apart[order].tolist(), strict=True)), overlay=overlay
    )


def novelty(structure: Structure) -> Novelty:
    """What a record says: ``known``, ``nearest_id``, ``rmsd`` and the reference set; no nearest crystal where nothing is comparable."""
    found = find_known(structure, overlay=False)
    if found is None:
        return {"known": False, "nearest_id": None, "rmsd": None, "reference": load_known().reference}
    return found.to_json()


def ordered_roles(
    numbers: NDArray, axis: NDArray
) -> tuple[NDArray[np.int64], tuple[int, ...], tuple[int, ...]]:
    """Role of each atom, element of each role, its count in the reduced formula; by falling count, then along ``axis``."""
    elements, counts = np.unique(numbers, return_counts=True)
    order = np.lexsort((axis[elements], -counts))
    rank = np.argsort(order)
    divisor = int(np.gcd.reduce(counts))
    return (
        rank[np.searchsorted(elements, numbers)],
        tuple(elements[order].tolist()),
        tuple((counts[order] // divisor).tolist()),
    )


def _compare(
    structure: Structure, index: KnownIndex, formula: int, near: list[tuple[int, float]], *, overlay: bool
) -> KnownNeighbour:
    """The verdict on rows of the same formula, sorted by distance: atom by atom where their cells are at hand."""
    from crystal_core.evaluation.alike import rms_distance, superposed
    from crystal_core.reference.known_cells import known_cell

    best: tuple[float, int] | None = None
    unseen: list[tuple[int, float]] = []
    for row, apart in near[:MAX_COMPARED]:
        cell = known_cell(index.name(row))
        if cell is None:
            unseen.append((row, apart))
        elif (rmsd := rms_distance(structure, cell, seconds=SECONDS)) is not None and (
            best is None or rmsd < best[0]
        ):
            best = (rmsd, row)
    if best is not None:
        rmsd, row = best
        cell = known_cell(index.name(row))
        laid = superposed(structure, cell, seconds=SECONDS) if overlay and cell is not None else None
        return _neighbour(
            index,
            formula,
            row,
            known=True,
            rmsd=round(rmsd, 4),
            structure=laid or cell,
            method="structure matcher",
        )
    if unseen and index.is_near(unseen[0][1]):
        return _neighbour(index, formula, unseen[0][0], known=True, method="distances")
    return _neighbour(index, formula, near[0][0], method="distances" if unseen else "structure matcher")


def _neighbour(
    index: KnownIndex,
    formula: int,
    row: int,
    *,
    method: Method,
    known: bool = False,
    rmsd: float | None = None,
    structure: Structure | None = None,
) -> KnownNeighbour:
    from crystal_core.reference.known_cells import known_cell

    return KnownNeighbour(
        known=known,
        nearest_id=index.name(row),
        formula=index.reduced_formula(formula),
        space_group=int(index.space_groups[row]),
        rmsd=rmsd,
        training=bool(index.training[row]),
        training_of=index.training_of(row),
        structure=structure if structure is not None else known_cell(index.name(row)),
        method=method,
        reference=index.reference,
    )


def _arrays(structure: Structure) -> tuple[NDArray, NDArray, NDArray] | None:
    """Lattice, coordinates and atomic numbers; None for what cannot be compared."""
    from crystal_core.errors import StructureParseError
    from crystal_core.structures import atomic_numbers

    try:
        numbers = np.array(atomic_numbers(structure))
    except StructureParseError:
        return None
    lattice, frac_coords = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    if (
        not 0 < len(numbers) <= MAX_ATOMS
        or not np.isfinite(lattice).all()
        or abs(np.linalg.det(lattice)) < 1e-3 * len(numbers)
    ):
        return None
    return lattice, frac_coords, numbers


def _key(elements: Sequence[int], counts: Sequence[int], width: int) -> bytes:
    if len(elements) > width or max(counts) > 255:
        return b""
    wide = np.zeros((2, width), dtype=np.uint8)
    wide[0, : len(elements)], wide[1, : len(counts)] = elements, counts
    return wide.tobytes()
