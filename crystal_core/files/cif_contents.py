"""What a CIF states besides its atoms (formula, Z, multiplicities, density), and whether atoms agree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.evaluation.validity import check_structure
from crystal_core.files.cif_atoms import Atom, number_of
from crystal_core.files.cif_sites import Sites, sites_of
from crystal_core.files.cif_text import Block
from crystal_core.files.limits import MAX_ATOMS
from crystal_core.files.operations import Operations

MOST_COMPARED = 1000  # atoms whose distances are looked at while a setting is chosen
TOO_MANY = 1.1 * MAX_ATOMS  # of a count that may be a little too high
TOO_LARGE = f"The cell has more than {MAX_ATOMS:,} atoms, the most that can be opened. Use a smaller cell."
SAME = 2e-3  # fractional; a listed atom this near to an image is that image
MAIN_SHARE = 0.5  # sites that are filled less may lie close together: they are not filled at once
FORMULA_TOLERANCE = 0.03  # relative, of each element's count
DENSITY_TOLERANCE = 0.05
_DENSITIES = (  # tag, words and relative tolerance; a measured density leaves more room
    ("_exptl_crystal_density_diffrn", "density", DENSITY_TOLERANCE),
    ("_exptl_crystal_density_meas", "measured density", 0.15),
)
VOLUME_TOLERANCE = 0.01
HYDROGEN = ("H", "D", "T")
_CHARGE = re.compile(r"\d*[+-]\d*")
_FORMULA = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")


class Contents:
    """The list of atoms beside what the block says of the whole crystal."""

    def __init__(self, block: Block, atoms: Sequence[Atom], matrix: np.ndarray) -> None:
        self._block, self._atoms, self._matrix = block, atoms, matrix
        self._places = list(dict.fromkeys(atom.place for atom in atoms))

    @cached_property
    def formula(self) -> Mapping[str, float]:
        """Element → count of the file's formula; empty where it gives none."""
        return formula_in(self._block)

    @cached_property
    def units(self) -> float | None:
        """Formula units per cell that the file gives."""
        return number_of(self._block.value("_cell_formula_units_z")) or None

    def n_sites(self, operations: Operations) -> int:
        """About how many sites the cell has, counted quickly: images on one grid point of 0.001 are one."""
        return len(np.unique(np.round(self._all_images(operations) % 1.0, 3) % 1.0, axis=0))

    def adds_nothing(self, operations: Operations, to: Operations) -> bool:
        """Whether the operations move every site that ``to`` makes onto one of these sites."""
        from scipy.spatial import cKDTree

        sites = cKDTree(self._all_images(to) % 1.0 % 1.0, boxsize=1.0)
        gaps, _ = sites.query(self._all_images(operations) % 1.0 % 1.0, p=np.inf)
        return bool((gaps < SAME).all())

    def _all_images(self, operations: Operations) -> np.ndarray:
        images = np.einsum("nij,aj->ani", operations.rotations, np.array(self._places))
        return (images + operations.translations).reshape(-1, 3)

    def sites(self, operations: Operations) -> Sites:
        """The sites of the cell; see :func:`~crystal_core.files.cif_sites.sites_of`."""
        return sites_of(self._atoms, operations, self._matrix)

    def agree(self, operations: Operations) -> bool:
        """Whether the crystal of these operations fits the file and has no atoms too close."""
        if self.n_sites(operations) > TOO_MANY:
            return False
        try:
            sites = self.sites(operations)
        except StructureParseError:
            return False
        # an atom that moves beyond rounding was not meant to lie on that special position
        moved = any("special position" in note for note in sites.notes)
        return (
            not moved
            and not misfits(sites.counts, self.formula, self.units)
            and not self._wrong_multiplicities(sites)
            and not self._wrong_density(sites.counts, _DENSITIES[:1])
            and self._is_plausible(sites)
        )

    def differences(self, sites: Sites) -> list[str]:
        """How sites differ from the file's formula, Z, multiplicities, density and volume, as sentences."""
        sentences = misfits(sites.counts, self.formula, self.units)
        if not self.formula:
            sentences += misfits(sites.counts, self._other_formula(), self.units)
        sentences += (
            self._wrong_multiplicities(sites) + self._wrong_density(sites.counts) + self._wrong_volume()
        )
        return sentences + (
            [] if misfits(sites.counts, self.formula, None) else self._wrong_weight(sites.counts)
        )

    def _other_formula(self) -> dict[str, float]:
        """Element → count of the structural or moiety formula, where one of them is a plain formula."""
        for tag in ("_chemical_formula_structural", "_chemical_formula_moiety"):
            text = " ".join(word for word in self._block.value(tag).split() if not _CHARGE.fullmatch(word))
            try:
                return {symbol: float(n) for symbol, n in parse_formula(text.replace(" ", "")).counts}
            except RequestError:
                continue
        return {}

    def _wrong_weight(self, counts: Mapping[str, float]) -> list[str]:
        from pymatgen.core import Composition

        given = number_of(self._block.value("_chemical_formula_weight"))
        if not given or not self.units:
            return []
        weight = float(Composition(dict(counts)).weight) / self.units
        # the formula may be that of the whole cell, and its weight as well
        own = float(Composition(dict(self.formula)).weight) if self.formula else weight
        if min(abs(weight / given - 1), abs(own / given - 1)) < DENSITY_TOLERANCE:
            return []
        note = (
            f"The file gives Z = {self.units:g} and a formula weight of {given:g} g/mol, "
            f"but the cell that was read makes it {weight:.4g}."
        )
        return [note]

    def _wrong_multiplicities(self, sites: Sites) -> list[str]:
        column = self._block.column(
            "_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity"
        )
        for atom, n in zip(self._atoms, sites.multiplicities, strict=True) if column else ():
            given = number_of(column[atom.row])
            if given is not None and given != n:
                return [f"The file gives {atom.label} the multiplicity {given:g}, but {n} are read."]
        return []

    def _wrong_density(
        self, counts: Mapping[str, float], density_tags: Sequence[tuple[str, str, float]] = _DENSITIES
    ) -> list[str]:
        from pymatgen.core import Composition

        density = Composition(dict(counts)).weight / abs(float(np.linalg.det(self._matrix))) * 1.66054
        for tag, word, tolerance in density_tags:
            given = number_of(self._block.value(tag))
            if given and abs(density / given - 1) > tolerance:
                return [
                    (
                        f"The file gives a {word} of {given:g} g/cm3, "
                        f"but the crystal that was read has {density:.3g}."
                    )
                ]
        return []

    def _wrong_volume(self) -> list[str]:
        given = number_of(self._block.value("_cell_volume"))
        volume = abs(float(np.linalg.det(self._matrix)))
        if not given or abs(volume / given - 1) < VOLUME_TOLERANCE:
            return []
        return [
            f"The file gives a cell volume of {given:g} Å³, but its lengths and angles make {volume:.4g}."
        ]

    def _is_plausible(self, sites: Sites) -> bool:
        from pymatgen.core import Lattice, Structure

        main = [
            (max(site, key=lambda element: site[element]), place)
            for site, place in zip(sites.shares, sites.places, strict=True)
            if sum(site.values()) > MAIN_SHARE
        ]
        if not main or len(main) > MOST_COMPARED:
            return True
        elements, places = zip(*main, strict=True)
        return check_structure(Structure(Lattice(self._matrix), elements, places)).plausible


def formula_in(block: Block) -> dict[str, float]:
    """Element → count of ``_chemical_formula_sum``; empty where there is none, or one that is no formula."""
    return _formula_of(block.value("_chemical_formula_sum"))


def _formula_of(text: str) -> dict[str, float]:
    # a charge stands by itself, as in 'H2 P O4 1-' and 'Na2 +'
    words = [word for word in text.replace(",", " ").split() if not _CHARGE.fullmatch(word)]
    if len(words) > 1 and not re.search("[a-z]", text):  # 'CU S O4' has no carbon
        words = [re.sub("^[A-Z]{2}(?![A-Z])", lambda match: match[0].title(), word) for word in words]
    elif not re.search("[A-Z]", text):
        words = [word.title() for word in words]
    counts: dict[str, float] = {}
    if re.sub(_FORMULA, "", "".join(words)):
        return {}
    for symbol, count in (pair for word in words for pair in _FORMULA.findall(word)):
        counts[symbol] = counts.get(symbol, 0.0) + float(count or 1)
    return {symbol: count for symbol, count in counts.items() if count > 0}


def misfits(counts: Mapping[str, float], formula: Mapping[str, float], units: float | None) -> list[str]:
    """How the atoms of a cell differ from the formula and the number of its units, as sentences.

    Empty if they agree.

    Args:
        counts: element → atoms in the cell, shares added up.
        formula: element → count; empty where the file gives none.
        units: formula units per cell; None where the file gives none.
    """
    if not formula:
        return []
    cell, given = _as_hydrogen(counts), _as_hydrogen(formula)
    heavy = [symbol for symbol in given if symbol not in HYDROGEN] or list(given)
    sizes = [cell.get(symbol, 0.0) / given[symbol] for symbol in heavy]
    size = sorted(sizes)[len(sizes) // 2] or max(sizes)
    notes = []
    differing = [
        symbol
        for symbol in {**given, **cell}
        if abs(cell.get(symbol, 0.0) - size * given.get(symbol, 0.0))
        > max(FORMULA_TOLERANCE * size * given.get(symbol, 0.0), 0.02 * size)
    ]
    name = _text(formula)
    if differing == ["H"] and "H" not in cell:
        notes.append(
            f"The formula of the file, {name}, has hydrogen, "
            "but the list of atoms has none: it is not in the crystal."
        )
    elif differing:
        per = {symbol: count / size for symbol, count in counts.items()} if size else dict(counts)
        notes.append(f"The formula of the file is {name}, but the atoms that were read make {_text(per)}.")
    # some programs write the contents of the whole cell as the formula and Z beside it
    parts = [round(count) for count in given.values()]
    whole = all(abs(count - part) < 1e-6 for count, part in zip(given.values(), parts, strict=True))
    divisor = int(np.gcd.reduce(parts)) if whole else 1
    if units and not differing and all(abs(size * k / units - 1) > FORMULA_TOLERANCE for k in {1, divisor}):
        notes.append(
            f"The file gives Z = {units:g}, but the cell that was read holds {size:g} units of {name}."
        )
    elif not differing and size < 1 - FORMULA_TOLERANCE:
        notes.append(f"The cell that was read holds only {size:.3g} of the formula of the file, {name}.")
    return notes


def _as_hydrogen(counts: Mapping[str, float]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for symbol, count in counts.items():
        key = "H" if symbol in HYDROGEN else symbol
        totals[key] = totals.get(key, 0.0) + count
    return totals


def _text(counts: Mapping[str, float]) -> str:
    parts = [f"{symbol}{round(count, 2):g}" for symbol, count in counts.items()]
    return " ".join(
        part.removesuffix("1") if re.fullmatch(r"[A-Z][a-z]?1", part) else part for part in parts
    )[:80]
