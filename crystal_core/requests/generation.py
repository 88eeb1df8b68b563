"""The request for new crystals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from crystal_core.checks import (
    check_choice,
    check_density,
    check_notes,
    check_strength,
    check_tolerance,
    check_whole,
)
from crystal_core.chemistry.alternatives import MOST_LISTS
from crystal_core.conditions import PROPERTIES, CrystalSystem, DraftOptions, check_properties
from crystal_core.errors import RequestError
from crystal_core.requests.limits import (
    DTYPES,
    MAX_ATOMS,
    MAX_FORMULA,
    MAX_SAMPLES,
    MAX_SEED,
    MAX_STEPS,
    MAX_THREADS,
    SamplerName,
)
from crystal_core.requests.sampling import SamplerTuning

# fields that a starting structure fixes, and their meaning in words
SAID_BY_START = {
    "n_atoms": "how many atoms there are",
    "fix": "what is kept",
    "contain": "the elements",
    "any_of": "the elements",
    "require_all": "the elements",
    "formula": "the formula",
    "space_group": "how the atoms lie",
    "crystal_system": "how the atoms lie",
    "formation_energy": "what the crystal is",
    "band_gap": "what the crystal is",
    "e_above_hull": "what the crystal is",
    "density": "what the crystal is",
}


def _check_cell(given: Any, what: str) -> None:
    if not isinstance(given, Mapping) or not {"lattice", "atomic_numbers", "frac_coords"} <= set(given):
        raise RequestError(f"{what} needs lattice, atomic_numbers and frac_coords.")
    check_notes(given)


@dataclass(frozen=True, kw_only=True)
class CrystalGenerationRequest(SamplerTuning, DraftOptions):
    """New crystals to generate.

    Attributes:
        n: how many. model: a de novo checkpoint.
        n_atoms: least and most atoms per cell, every count between alike; None draws counts as
            often as in training.
        elements: symbols that may appear; empty for all the model was trained on.
        exclude_elements: symbols that may not.
        contain: symbols that every crystal holds, beside any others that may appear.
        any_of: lists of symbols; every crystal holds at least one of each list, beside any others.
        require_all: each crystal holds every one of ``elements``: as many of its atoms have their types
            given, the rest is free.
        space_group: number or symbol of the group of the crystals, or None; models with a prompt write it,
            others keep its operations (experimental).
        crystal_system: any group of it, in place of a group.
        formula: what the crystals are made of.
        formation_energy, e_above_hull: in eV/atom.
        band_gap: in eV. None leaves each open. Models without a prompt are guided towards the last three by
            the property predictor, where it is installed.
        density: target in g/cm³, or None. guidance: strength of all targets; None is 1, and 0 is none.
        fix: a structure to complete (lattice in Å, atomic_numbers, frac_coords; notes on its file, which the
            result repeats, where there are any), or None.
        fix_sites: which of its sites keep place and element, counted from 0.
        fix_elements: all its elements are kept.
        fix_lattice: its cell is kept.
        start_from: a structure (as ``fix``) that every crystal starts from, for models that draft and refine:
            its cell and places are refined.
        redraft_sites: sites, counted from 0, that get another element first; redraft_all: all sites do.
        symmetrise: tolerance in Å, at most 1, within which finished crystals are made exactly symmetric, or
            None.
        dtype: of the network's products, float32 or bfloat16.
        seed: None draws one, which the result reports.
    """

    n: int = 8
    model: str = "kldm-dng-mp"
    n_atoms: tuple[int, int] | None = None
    elements: tuple[str, ...] = ()
    exclude_elements: tuple[str, ...] = ()
    contain: tuple[str, ...] = ()
    any_of: tuple[tuple[str, ...], ...] = ()
    require_all: bool = False
    space_group: str | None = None
    crystal_system: CrystalSystem | None = None
    formula: str | None = None
    formation_energy: float | None = None
    band_gap: float | None = None
    e_above_hull: float | None = None
    density: float | None = None
    guidance: float | None = None
    fix: Mapping[str, Any] | None = None
    fix_sites: tuple[int, ...] = ()
    fix_elements: bool = False
    fix_lattice: bool = False
    start_from: Mapping[str, Any] | None = None
    redraft_sites: tuple[int, ...] = ()
    redraft_all: bool = False
    symmetrise: float | None = None
    sampler: SamplerName = "fast"
    steps: int | None = None
    seed: int | None = None
    dtype: str = "float32"
    device: str = "auto"
    threads: int | None = None
    keep_trajectory: bool = True

    def __post_init__(self) -> None:
        check_whole("n (crystals)", self.n, 1, MAX_SAMPLES)
        check_choice("dtype", self.dtype, DTYPES)
        check_choice("sampler", self.sampler, get_args(SamplerName))
        self._check_tuning(self.sampler, draws_types=True)
        check_whole("steps", self.steps, 1, MAX_STEPS, optional=True)
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)
        if self.n_atoms is not None:
            if not isinstance(self.n_atoms, tuple) or len(self.n_atoms) != 2:
                raise RequestError("Give the least and the most atoms per cell, e.g. 4-12.")
            for count in self.n_atoms:
                check_whole("atoms per cell", count, 1, MAX_ATOMS)
            if self.n_atoms[0] > self.n_atoms[1]:
                raise RequestError(
                    f"The range of atoms {self.n_atoms[0]}-{self.n_atoms[1]} runs backwards; "
                    "write the smaller number first."
                )
        self._check_alternatives()
        for symbols in (self.elements, self.exclude_elements, self.contain, *self.any_of):
            if not isinstance(symbols, tuple) or not all(isinstance(s, str) and s.strip() for s in symbols):
                raise RequestError("Elements are symbols such as Li or O.")
        self._check_required()
        DraftOptions.__post_init__(self)
        self._check_conditions()
        if self.guidance is not None:
            check_strength(self.guidance)
            targets = (self.density, self.band_gap, self.formation_energy, self.e_above_hull)
            if all(target is None for target in targets):
                raise RequestError(
                    "Guidance needs something to guide towards: add a density, a band gap or an energy."
                )
        if self.density is not None:
            check_density(self.density)
        if self.space_group is not None and not (
            isinstance(self.space_group, str) and self.space_group.strip()
        ):
            raise RequestError("A space group is a number from 1 to 230 or a symbol such as Fm-3m.")
        if self.space_group is not None and self.fix is not None:
            raise RequestError(
                "A crystal can keep given parts or a space group, not both; leave one of the two out."
            )
        self._check_fix()
        self._check_start_from()
        self._check_symmetrise()

    @property
    def must_hold(self) -> tuple[str, ...]:
        """Symbols that every crystal must hold."""
        return self.elements if self.require_all else self.contain

    @property
    def demands_elements(self) -> bool:
        """Whether every crystal must hold some elements: certain ones, or one of a list."""
        return bool(self.must_hold or self.any_of)

    def _check_alternatives(self) -> None:
        if not isinstance(self.any_of, tuple) or not all(isinstance(s, tuple) and s for s in self.any_of):
            raise RequestError("Alternatives are lists of element symbols, e.g. F,Cl,Br,I.")
        if len(self.any_of) > MOST_LISTS:
            raise RequestError(
                f"A crystal can be made to hold one element each of up to {MOST_LISTS} lists, not of "
                f"{len(self.any_of)}; leave some out."
            )

    def _check_conditions(self) -> None:
        check_properties(self.formation_energy, self.band_gap, self.e_above_hull)
        if self.crystal_system is not None:
            check_choice("crystal system", self.crystal_system, get_args(CrystalSystem))
            if self.space_group is not None:
                raise RequestError("A space group already says its crystal system; leave one of the two out.")
        if self.formula is not None:
            if (
                not isinstance(self.formula, str)
                or not self.formula.strip()
                or len(self.formula) > MAX_FORMULA
            ):
                raise RequestError("A formula is made of element symbols and counts, e.g. TiO2.")
            if self.elements or self.contain or self.any_of:
                raise RequestError("A formula already says the elements; leave one of the two out.")
            self.check_open_composition("the formula")

        asked = (self.space_group, self.crystal_system, *(getattr(self, name) for name in PROPERTIES))
        if all(value is None for value in asked):
            self.check_no_rewrites("the request")

    def _check_required(self) -> None:
        if not isinstance(self.require_all, bool):
            raise RequestError(f"require_all must be true or false, not {self.require_all!r}.")
        if (self.contain or self.any_of) and self.require_all:
            raise RequestError(
                "To hold all requested elements already says what is contained; leave one of the two out."
            )
        if self.require_all and not self.elements:
            raise RequestError("To hold all requested elements, name them, e.g. Li,Fe,O.")

    def _check_start_from(self) -> None:
        if not isinstance(self.redraft_all, bool):
            raise RequestError(f"redraft_all must be true or false, not {self.redraft_all!r}.")
        if self.start_from is None:
            if self.redraft_sites or self.redraft_all:
                raise RequestError(
                    "There is no structure to redraft: add the one whose sites get other elements."
                )
            return
        _check_cell(self.start_from, "The structure to start from")
        if self.redraft_sites and self.redraft_all:
            raise RequestError("To redraft all sites already names them; leave one of the two out.")
        if not isinstance(self.redraft_sites, tuple):
            raise RequestError("Sites to redraft are whole numbers, counted from 0, e.g. 0,1.")
        for site in self.redraft_sites:
            check_whole("site to redraft", site, 0, len(self.start_from["atomic_numbers"]) - 1)
        for name, what in SAID_BY_START.items():
            value = getattr(self, name)
            if value is not None and value is not False and value != ():  # 0 eV is a target
                raise RequestError(
                    f"The structure to start from already says {what}; leave one of the two out."
                )
        if self.charge_balance:
            raise RequestError(
                "Charge balance is a rule for new drafts, and a crystal to start from is not drafted anew; "
                "leave charge balance out."
            )
        if (self.elements or self.exclude_elements) and not (self.redraft_sites or self.redraft_all):
            raise RequestError(
                "Elements are chosen only for sites to redraft; name such sites, or no elements."
            )

    def _check_symmetrise(self) -> None:
        if self.symmetrise is None:
            return
        check_tolerance(self.symmetrise)
        if self.fix_sites or self.fix_lattice:
            raise RequestError(
                "Symmetrising moves atoms and the cell, so sites or a cell cannot be kept beside it; "
                "leave one of the two out."
            )

    def _check_fix(self) -> None:
        keeps = bool(self.fix_sites) or self.fix_elements or self.fix_lattice
        if self.fix is None:
            if keeps:
                raise RequestError(
                    "There is no structure to complete: add the one whose sites, elements or cell stay."
                )
            return
        if not keeps:
            raise RequestError("Say what to keep of the structure: some sites, its elements or its cell.")
        _check_cell(self.fix, "The structure to complete")
        if self.fix_elements:
            self.check_open_composition("a structure that keeps its elements")
        if not isinstance(self.fix_sites, tuple):
            raise RequestError("Sites to keep are whole numbers, counted from 0, e.g. 0,1.")
        for site in self.fix_sites:
            check_whole("site to keep", site, 0, len(self.fix["atomic_numbers"]) - 1)
        if self.n_atoms is not None and (self.fix_elements or self.n_atoms[0] < len(self.fix_sites)):
            raise RequestError(
                "The number of atoms is below that of the fixed sites, "
                "or the fixed elements already give it: leave it out."
            )
