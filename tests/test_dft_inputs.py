"""Inputs of first-principles codes: complete, with the numbers of the crystal, and honest about what is missing."""

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.pwscf import PWInput
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from crystal_core.dft_inputs import espresso_input, vasp_files
from crystal_core.errors import RequestError

PEROVSKITE = Structure(
    Lattice.cubic(3.9123456789), ["O", "Sr", "Ti", "O", "O"], [[0.5, 0.5, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]]
)


def test_the_files_for_vasp_read_back_and_the_moments_follow_their_sites():
    files = vasp_files(PEROVSKITE)
    poscar = Poscar.from_str(files["POSCAR"])
    assert poscar.structure.matches(PEROVSKITE) and poscar.structure.lattice.a == pytest.approx(3.9123456789, abs=1e-10)
    assert len(Incar.from_str(files["INCAR"])["MAGMOM"]) == 5 and min(Kpoints.from_str(files["KPOINTS"]).kpts[0]) > 1
    named = files["README.txt"].splitlines()[1:]
    assert [name.split("_")[0] for name in named] == poscar.site_symbols  # the order in which POTCAR is joined


def test_an_element_without_settings_is_refused_in_a_sentence():
    with pytest.raises(RequestError, match="do not cover Po"):
        vasp_files(Structure(Lattice.cubic(3.4), ["Po"], [[0, 0, 0]]))


def test_the_input_for_quantum_espresso_reads_back_in_full_precision():
    text = espresso_input(PEROVSKITE)
    read = PWInput.from_str(text)
    assert read.structure.matches(PEROVSKITE) and "3.9123456789" in text and "O 15.999" in text
    assert read.sections["system"]["nat"] == 5 and read.sections["system"]["ntyp"] == 3
    assert text.rstrip().endswith("9 9 9 0 0 0")
