"""A file of another format is refused in a sentence that names it; the search for its name ends."""

import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.parse import parse_each, parse_text
from crystal_core.files.unsupported import LOOKED_AT, unsupported

FILES = {
    "SHELX": "TITL rutile\nCELL 0.71073 4.594 4.594 2.959 90 90 90\nLATT 1\nSFAC TI O\nTI1 1 0 0 0\n",
    "XSF": "# a comment\nCRYSTAL\nPRIMVEC\n 4.1 0 0\n 0 4.1 0\n 0 0 4.1\nPRIMCOORD\n1 1\n55 0 0 0\n",
    "CSSR": " 4.1 4.1 4.1\n 90.0 90.0 90.0   SPGR =  1 P 1         OPT = 1\n   2   0\n",
    "input file of Quantum ESPRESSO": "! relax\n &control\n /\n &system\n ibrav = 0\n /\n",
    "output file of Quantum ESPRESSO": "\n     Program PWSCF v.7.2 starts on  1Jan2025\n",
    "GULP": "opti conp\nvectors\n4 0 0\n0 4 0\n0 0 4\nfractional\nCs core 0 0 0 1.0\n",
    "data file of LAMMPS": "a title\n\n2 atoms\n\n0.0 4.1 xlo xhi\n0.0 4.1 ylo yhi\n",
    "dump of LAMMPS": "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\n",
    "FHI-aims": "# relaxed\nlattice_vector 4.1 0 0\nlattice_vector 0 4.1 0\nlattice_vector 0 0 4.1\n",
    "CASTEP": "%block lattice_cart\n4 0 0\n0 4 0\n0 0 4\n%endblock lattice_cart\n",
    "WIEN2k": (
        "CsCl\nP   LATTICE,NONEQUIV.ATOMS:  2\nMODE OF CALC=RELA unit=bohr\n"
        "  7.8  7.8  7.8 90.0 90.0 90.0\nATOM  -1: X=0.00000000 Y=0.00000000 Z=0.00000000\n"
    ),
    "GSAS": "     VERSION   6\nCRS1    PNAM  CsCl\nCRS1   ABC     4.1230    4.1230    4.1230\n",
    "ABINIT": "acell 3*7.8\nznucl 55 17\nnatom 2\n",
    "SIESTA": "SystemName x\nLatticeConstant 4.1 Ang\n%block LatticeVectors\n",
    "CP2K": "&GLOBAL\n&END GLOBAL\n&FORCE_EVAL\n",
    "CRYSTAL": "caesium chloride\nCRYSTAL\n0 0 0\n221\n4.1\n",
    "DFTB": "2 S\nCs Cl\n1 1 0 0 0\n",
    "DL_POLY": "CsCl\n 0 3\n 4.1 0 0\n 0 4.1 0\n 0 0 4.1\nCs 1\n 0 0 0\n",
    "cube file": "a\nb\n 2 0.0 0.0 0.0\n 9 0.3 0.0 0.0\n 9 0.0 0.3 0.0\n 9 0.0 0.0 0.3\n",
    "GROMACS": "salt\n 1\n    1NA     NA    1   0.000   0.000   0.000\n",
    "vasprun.xml": '<?xml version="1.0"?>\n<modeling>\n',
    "OUTCAR": " vasp.6.4.1 05Apr23 (build) complex\n",
    "INCAR": "ENCUT = 520\nISMEAR = 0\n",
    "KPOINTS": "Automatic mesh\n0\nGamma\n4 4 4\n",
    "POTCAR": "  PAW_PBE Cs_sv 08Apr2002\n   VRHFIN =Cs: 5s\n",
    "Materials Studio": '<?xml version="1.0"?>\n<XSD Version="6.0">\n',
    "web page": "<!DOCTYPE html>\n<html><body>Not found</body></html>",
    "molecule": "benzene\n  x\n\n  6  6  0  0  0  0  0  0  0  0999 V2000\n",
    "Bilbao": "221\n4.1 4.1 4.1 90 90 90\n2\nCs 1 1a 0 0 0\nCl 1 1b 0.5 0.5 0.5\n",
    "powder pattern": "# 2theta counts\n10.00 120\n10.02 131\n10.04 118\n",
    "TOPAS": 'xdd "x.xy"\nstr\nphase_name "CsCl"\n',
    "VESTA": "#VESTA_FORMAT_VERSION 3.5.4\n\n\nCRYSTAL\n\nTITLE\nCsCl\n\nGROUP\n221 1 P m -3 m\n",
    "American Mineralogist": "Fluorite\n_database_code_amcsd 0000001\n5.46 5.46 5.46 90 90 90 Fm3m\n",
    "PDFgui": "title  x\nformat pdffit\nspcgr   P1\ncell 4 4 4 90 90 90\natoms\nCS 0 0 0 1\n",
    "RMCProfile": "(Version 6f format configuration file)\nCell (Ang/deg): 4 4 4 90 90 90\n",
    ".car": "!BIOSYM archive 3\nPBC=ON\n",
    "AtomEye": "Number of particles = 2\nA = 1.0 Angstrom\n",
    "MLIP": "BEGIN_CFG\n Size\n 2\n",
    "n2p2": "begin\ncomment x\nlattice 4.1 0 0\nlattice 0 4.1 0\n",
    "ABACUS": "LATTICE_CONSTANT\n1.889\nLATTICE_VECTORS\n4 0 0\nATOMIC_POSITIONS\nDirect\n",
    "OpenMX": "<Atoms.UnitVectors\n4 0 0\n",
    "Elk": "avec\n 4 0 0\n 0 4 0\n 0 0 4\n\natoms\n 1\n",
    "Turbomole": "$periodic 3\n$lattice\n 4 0 0\n$coord\n0 0 0 cs\n$end\n",
    "PWmat": "2\n Lattice vector\n 4 0 0\n 0 4 0\n 0 0 4\n Position\n 55 0 0 0 1 1 1\n",
    "phonopy": "phonopy:\n  version: 2.2\nunit_cell:\n",
    "part of an input file of Quantum ESPRESSO": "CELL_PARAMETERS angstrom\n4 0 0\n0 4 0\n0 0 4\n",
    "table (CSV)": 'material_id,cif,band_gap\nmp-1,"# generated\ndata_CsCl\n_cell_length_a 4.1\n",0.5\n',
    "tar archive": "POSCAR" + "\0" * 251 + "ustar",
    "zip archive": b"PK\x03\x04\x14\0\0\0",
    "7z": b"7z\xbc\xaf\x27\x1c\0\4",
    "zstd": b"(\xb5/\xfd\x04",
    "SQLite": b"SQLite format 3\0",
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "picture": b"\x89PNG\r\n\x1a\n\0",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_format_is_refused_by_its_name(name):
    content = FILES[name]
    text = content if isinstance(content, str) else text_of(content)
    with pytest.raises(StructureParseError) as refusal:
        parse_each(text, "a file")
    said = str(refusal.value)
    assert name.lower() in said.lower() and "not read here" in said and "\n" not in said
    assert said.count(". ") >= 1 and said.endswith(".")  # also what to do


def test_xyz_whose_comment_looks_like_another_format_is_read():
    xyz = (
        '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 PRIMVEC ENCUT=520 xlo xhi\nPo 0 0 0\n'
    )
    assert parse_text(xyz).composition.formula == "Po1"


def test_the_search_for_a_name_ends_for_any_repeated_piece():
    """A search that tries all ways to divide such a text would not end."""
    for piece in ("\n", "1", "a", " ", "#", "1 ", "# \n", "1\n", "1.1 ", "\t\n", "'\n", "<", "x\n1\n", "%b "):
        assert unsupported(piece * LOOKED_AT) == ""
