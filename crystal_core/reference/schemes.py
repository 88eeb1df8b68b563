"""From the Materials Project's older energy corrections to the 2020 scheme, for older labels.

The schemes differ by up to half an electronvolt per anion (bromides, selenides, tellurides): energies of both
must never be compared. Both are pymatgen's.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from crystal_core.datasets.rows import CrystalRow

# fitted energies of the gases in the old scheme (eV/atom; MPCompatibility.yaml of pymatgen,
# "CompoundEnergies"), against which its formation energies are counted
OLD_GASES = {"N": -7.95247218762, "F": -1.42055013381, "Cl": -1.25385097674, "H": -3.23973666138}


def scheme_change(row: CrystalRow, elements: dict[str, float]) -> float:
    """The amount (eV/atom) that turns a formation energy of the old scheme into the 2020 scheme.

    Formation energy = (DFT energy + corrections) / atoms - Σ x · reference. The corrections of both schemes
    come from pymatgen for the same cell; the old references of N, F, Cl and H are fitted energies, the new
    ones the DFT energies.
    """
    entry = _entry(row)
    schemes = _schemes()
    change = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sign, scheme in zip((-1, 1), schemes, strict=True):
            copy = entry.copy()
            scheme.process_entry(copy, inplace=True)
            change += sign * copy.correction_per_atom
    fractions = entry.composition.fractional_composition.get_el_amt_dict()
    return change + sum(x * (OLD_GASES[e] - elements[e]) for e, x in fractions.items() if e in OLD_GASES)


def _entry(row: CrystalRow) -> Any:
    from pymatgen.core import Element, Lattice, Structure
    from pymatgen.entries.computed_entries import ComputedStructureEntry
    from pymatgen.io.vasp.sets import MPRelaxSet

    structure = Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords)
    anion = max(structure.composition, key=lambda e: e.X).symbol
    table = MPRelaxSet.CONFIG["INCAR"]["LDAUU"].get(anion, {})
    present = [Element.from_Z(int(z)).symbol for z in set(row.atomic_numbers)]
    hubbards = {e: table.get(e, 0) for e in present} if any(e in table for e in present) else {}
    parameters = {
        "run_type": "GGA+U" if hubbards else "GGA",
        "hubbards": hubbards,
        "is_hubbard": bool(hubbards),
    }
    return ComputedStructureEntry(structure, 0.0, parameters=parameters)


@lru_cache(maxsize=1)
def _schemes() -> tuple[Any, Any]:
    """The old and the 2020 scheme, without their check of pseudopotential files, which no table names."""
    from pymatgen.analysis import compatibility

    old = str(Path(compatibility.__file__).parent / "MPCompatibility.yaml")
    corrections = [
        compatibility.AnionCorrection(old),
        compatibility.UCorrection(old, compatibility.MPRelaxSet, "Advanced"),
    ]
    # the labels are older than pymatgen's rule on bound anions
    new = compatibility.MaterialsProject2020Compatibility(check_potcar=False, strict_anions="no_check")
    return compatibility.CorrectionsList(corrections), new
