"""A crystal as the input of a first-principles code: VASP's plain files, and one of Quantum ESPRESSO.

No pseudopotentials inside.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from crystal_core.chemistry.charges import balance_of
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import RequestError
from crystal_core.structures import atomic_numbers

if TYPE_CHECKING:
    from pymatgen.core import Structure

ECUTWFC, ECUTRHO = 60, 480  # Ry: enough for nearly all standard solid-state pseudopotentials
MOMENT = 0.5  # starting magnetisation, as a share of the valence electrons
K_SPACING = 0.2  # 1/Å between k-points along each reciprocal vector, 2π included


def vasp_files(structure: Structure) -> dict[str, str]:
    """File name → text of the Materials Project's relaxation: POSCAR, INCAR, KPOINTS, a word on POTCAR.

    Raises:
        RequestError: the settings name no pseudopotential for an element.
        StructureParseError: a site is partly occupied.
    """
    from pymatgen.io.vasp.sets import MPRelaxSet

    atomic_numbers(structure)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = MPRelaxSet(structure)
            # its own POSCAR: the moments in INCAR follow the order of its sites
            files = {
                "POSCAR": chosen.poscar.get_str(significant_figures=10),
                "INCAR": str(chosen.incar),
                "KPOINTS": str(chosen.kpoints),
            }
            potentials = chosen.potcar_symbols
    except (KeyError, ValueError) as error:
        raise RequestError(
            "The Materials Project's settings for VASP do not cover "
            f"{structure.composition.chemical_system}; use the POSCAR."
        ) from error
    note = (
        "The settings are pymatgen's MPRelaxSet. POTCAR is not part of these files, because its licence is "
        "yours: join, in this order,\n"
    )
    return files | {"README.txt": note + "\n".join(potentials) + "\n"}


def espresso_input(structure: Structure) -> str:
    """The input of ``pw.x`` for a relaxation of atoms and cell; pseudopotentials are named ``<element>.upf``.

    Spin-polarised, with a ferromagnetic start, where an element has an open d or f shell; without a Hubbard
    U.

    Raises:
        StructureParseError: a site is partly occupied.
    """
    from pymatgen.core.periodic_table import Element

    atomic_numbers(structure)
    symbols = [site.specie.symbol for site in structure]
    kinds = list(dict.fromkeys(symbols))
    grid = [max(1, math.ceil(length / K_SPACING)) for length in structure.lattice.reciprocal_lattice.abc]
    lines = [
        (
            "! Put a pseudopotential for each element into ./pseudo and check both cut-offs "
            "against its recommendation."
        ),
        "&CONTROL",
    ]
    lines += [
        "  calculation = 'vc-relax'",
        f"  prefix = '{formula_of(structure.composition)}'",
        "  pseudo_dir = './pseudo'",
        "/",
    ]
    magnetic = _open_shells(symbols)
    lines[1:1] = [f"! Ferromagnetic start for {', '.join(magnetic)}; no Hubbard U"] if magnetic else []
    lines += [
        "&SYSTEM",
        "  ibrav = 0",
        f"  nat = {len(symbols)}",
        f"  ntyp = {len(kinds)}",
        f"  ecutwfc = {ECUTWFC}",
        f"  ecutrho = {ECUTRHO}",
    ]
    lines += ["  occupations = 'smearing'", "  smearing = 'cold'", "  degauss = 0.01"]
    if magnetic:
        lines += [
            "  nspin = 2",
            *(f"  starting_magnetization({kinds.index(kind) + 1}) = {MOMENT}" for kind in magnetic),
        ]
    lines += ["/", "&ELECTRONS", "  conv_thr = 1.0d-8", "/"]
    lines += ["&IONS", "/", "&CELL", "/", "ATOMIC_SPECIES"]
    lines += [f"  {kind} {float(Element(kind).atomic_mass):.4f} {kind}.upf" for kind in kinds]
    lines += [
        "CELL_PARAMETERS angstrom",
        *("  " + " ".join(f"{x:.10f}" for x in row) for row in structure.lattice.matrix),
    ]
    lines += ["ATOMIC_POSITIONS crystal"]
    lines += [
        f"  {symbol} " + " ".join(f"{x:.10f}" for x in site.frac_coords)
        for symbol, site in zip(symbols, structure, strict=True)
    ]
    lines += ["K_POINTS automatic", "  " + " ".join(map(str, grid)) + " 0 0 0"]
    return "\n".join(lines) + "\n"


def _open_shells(symbols: list[str]) -> list[str]:
    """Elements whose d or f shell is partly filled, by the charges that balance.

    Where none do, by those of atoms in a metal.
    """
    from pymatgen.core.periodic_table import Element

    balance = balance_of(Counter(symbols).items())
    open_shells = []
    for symbol in dict.fromkeys(symbols):
        element = Element(symbol)
        charges = [q for s, q, _ in balance.ions if s == symbol] if balance else []
        if element.is_lanthanoid or element.is_actinoid:
            shell, core, usual = 14, 54 if element.is_lanthanoid else 86, 3
        elif element.is_transition_metal:
            # without charges one electron is left to the s shell
            shell = 10
            core = element.Z - element.group
            usual = 1
        else:
            continue
        if any(0 < element.Z - core - q < shell for q in charges or [usual]):
            open_shells.append(symbol)
    return open_shells
