"""Inputs of first-principles codes: complete, with the numbers of the crystal, and honest
about what is missing.
"""

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.pwscf import PWInput
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from crystal_core.errors import RequestError
from crystal_core.files.dft_inputs import espresso_input, vasp_files

PEROVSKITE = Structure(
    Lattice.cubic(3.9123456789),
    ["O", "Sr", "Ti", "O", "O"],
    [[0.5, 0.5, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def test_the_files_for_vasp_read_back_and_the_moments_follow_their_sites():
    files = vasp_files(PEROVSKITE)
    poscar = Poscar.from_str(files["POSCAR"])
    assert poscar.structure.matches(PEROVSKITE) and poscar.structure.lattice.a == pytest.approx(
        3.9123456789, abs=1e-10
    )
    assert (
        len(Incar.from_str(files["INCAR"])["MAGMOM"]) == 5
        and min(Kpoints.from_str(files["KPOINTS"]).kpts[0]) > 1
    )
    potentials = files["README.txt"].splitlines()[1:]
    # the order in which POTCAR is joined
    assert [name.split("_")[0] for name in potentials] == poscar.site_symbols


def test_an_element_without_settings_is_refused_in_a_sentence():
    with pytest.raises(RequestError, match="do not cover Po"):
        vasp_files(Structure(Lattice.cubic(3.4), ["Po"], [[0, 0, 0]]))


def test_the_input_for_quantum_espresso_reads_back_in_full_precision():
    text = espresso_input(PEROVSKITE)
    read = PWInput.from_str(text)
    assert read.structure.matches(PEROVSKITE) and "3.9123456789" in text and "O 15.999" in text
    assert read.sections["system"]["nat"] == 5 and read.sections["system"]["ntyp"] == 3
    assert text.rstrip().endswith("9 9 9 0 0 0")
    assert "nspin" not in text and "Hubbard" not in text  # Ti4+ has no d electron


def test_an_open_shell_starts_magnetic_and_the_missing_hubbard_u_is_named():
    text = espresso_input(
        Structure(Lattice.cubic(3.9), ["O", "O", "O", "La", "Mn"], PEROVSKITE.frac_coords[[0, 3, 4, 1, 2]])
    )
    lines = text.splitlines()
    system = lines[lines.index("&SYSTEM") : lines.index("&ELECTRONS")]  # pymatgen reads no moments of kinds
    kinds = [line.split()[0] for line in lines[lines.index("ATOMIC_SPECIES") + 1 :]][:3]
    assert "  nspin = 2" in system and kinds == ["O", "La", "Mn"]
    assert [line for line in system if "magnet" in line] == ["  starting_magnetization(3) = 0.5"]
    assert "! Ferromagnetic start for Mn; no Hubbard U" in lines


@pytest.mark.parametrize(
    ("symbols", "magnetic"),
    [
        (["Ni"], True),
        (["Ni", "O"], True),
        (["Eu", "S"], True),
        (["Cu", "O"], True),
        (["Cu"], False),
        (["Cu", "Cl"], False),
        (["Zn", "S"], False),
        (["Lu", "N"], False),
        (["Ce", "O", "O"], False),
        (["Si"], False),
    ],
)
def test_full_and_empty_shells_stay_without_spin(symbols, magnetic):
    places = [[0.3 * k] * 3 for k in range(len(symbols))]
    assert ("nspin = 2" in espresso_input(Structure(Lattice.cubic(6.0), symbols, places))) == magnetic
