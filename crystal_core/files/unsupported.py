"""Formats that are not read here, known by their content: a sentence that names each and says what to do."""

from __future__ import annotations

import re
from typing import NamedTuple

LOOKED_AT = 10_000  # characters
_EXPORT = "Export the crystal as CIF or POSCAR."
_UNPACK = "Unpack it and give the files, or pack them as zip."
_NO_CRYSTAL = "It holds no crystal: give its CIF or POSCAR."
_MOLECULE = "It describes a molecule: give a crystal, with its cell."
_GET_CIF = "Its database gives the same entry as CIF: give that."
_TYPES = "Its types name no elements: write extended XYZ with element symbols."


class _Kind(NamedTuple):
    name: str
    marks: tuple[str, ...]  # each is found in the text; ^ and $ are those of a line, case does not matter
    advice: str = _EXPORT


def _by_ase(name: str) -> str:
    """How ASE, which is installed with this package, converts a format."""
    return f"Convert it, e.g. with 'ase convert -i {name} FILE crystal.cif'."


_KINDS = (
    # packed and binary files, by their first bytes as Latin-1
    _Kind("a zip archive", (r"\APK(\x03\x04|\x05\x06)",), "Unpack it and give the files."),
    _Kind("a 7z archive", (r"\A7z\xbc\xaf",), _UNPACK),
    _Kind("a rar archive", (r"\ARar!",), _UNPACK),
    _Kind("a tar archive", (r"\A[^\n]{0,257}ustar",), _UNPACK),
    _Kind("a file packed with zstd", (r"\A\(\xb5/\xfd",), _UNPACK),
    _Kind("a file packed with lzma", (r"\A\]\0\0",), _UNPACK),
    _Kind("a database (SQLite), perhaps of ASE", (r"\ASQLite format 3",), _by_ase("db")),
    _Kind("a trajectory of ASE", (r"\A- of Ulm",), _by_ase("traj").replace(".cif", ".extxyz")),
    _Kind("a PDF", (r"\A%PDF",), _NO_CRYSTAL),
    _Kind("a picture", (r"\A(\x89PNG|\xff\xd8\xff|GIF8)",), _NO_CRYSTAL),
    _Kind("a file of HDF5", (r"\A\x89HDF",)),
    _Kind("a pickle of Python", (r"\A\x80[\x02-\x05]",)),
    _Kind(
        "a web page",
        (r"\A\s*(<!DOCTYPE html|<html)",),
        "The download may have failed: download the crystal itself again.",
    ),
    _Kind("the vasprun.xml of VASP", ("<modeling>",), _by_ase("vasp-xml")),
    _Kind("a file of Materials Studio (.xsd)", (r"<XSD\b",), _by_ase("xsd")),
    _Kind("Chemical Markup Language", (r"xml-cml\.org|<cml\b",)),
    _Kind("XML", (r"\A\s*<\?xml",)),
    # crystallography
    _Kind(
        "a file of VESTA", (r"\A\s*#VESTA_FORMAT_VERSION",), "In VESTA, export it (File, Export Data) as CIF."
    ),
    _Kind("a file of the American Mineralogist database (.amc)", (r"^_database_code_amcsd\b",), _GET_CIF),
    _Kind("a structure of PDFgui (.stru)", (r"^[ \t]*spcgr\s", r"^[ \t]*atoms\b")),
    _Kind("a configuration of RMCProfile (.rmc6f)", (r"\A\(Version 6f\b",)),
    _Kind("a file of SHELX or AIRSS (.res, .ins)", (r"^TITL\b", r"^CELL\s+[\d.]+(\s+[\d.]+){6}")),
    _Kind("an input file of TOPAS", (r"^[ \t]*(xdd\b|str\s*$|r_wp\b)", r"\bspace_group\b|\bphase_name\b")),
    _Kind("an experiment file of GSAS (.EXP)", (r"^CRS\d[ \t]+(PNAM|ABC)\b",)),
    _Kind("a file of FullProf (.pcr)", (r"\ACOMM\b|Current global Chi2",)),
    _Kind("an experiment file of GSAS", ("GSAS EXPERIMENT FILE|GSAS-II",)),
    _Kind("a file of Jana (M50)", (r"^[ \t]*cell(\s+[\d.]+){6}", r"^[ \t]*spgroup\b")),
    _Kind("CSSR", (r"\bSPGR\s*=\s*\d+",)),
    _Kind("XTL", (r"^[ \t]*CELL\s*$", r"^[ \t]*ATOMS\s*$")),
    # simulation
    _Kind("a file of Materials Studio (.car)", (r"\A!BIOSYM archive",)),
    _Kind("a configuration of AtomEye (.cfg)", (r"\A\s*Number of particles\s*=",), _by_ase("cfg")),
    _Kind("a set of MLIP (.cfg)", (r"^[ \t]*BEGIN_CFG\b",)),
    _Kind("a data file of RuNNer or n2p2", (r"\A\s*begin\s*$", r"^[ \t]*lattice(\s+-?[\d.]+){3}\s*$")),
    _Kind("a structure of ABACUS (STRU)", (r"^[ \t]*LATTICE_CONSTANT\b", r"^[ \t]*ATOMIC_POSITIONS\b")),
    _Kind("an input file of OpenMX", (r"^[ \t]*<Atoms\.",)),
    _Kind("an input file of Elk", (r"^[ \t]*avec\s*$", r"^[ \t]*atoms\s*$"), _by_ase("elk-in")),
    _Kind("an input file of Turbomole", (r"^\$coord\b",), _by_ase("turbomole")),
    _Kind("a file of phonopy", (r"^phonopy:",), "Give the POSCAR of its unit cell."),
    _Kind("XSF (XCrySDen)", (r"^[ \t]*(PRIMVEC|PRIMCOORD|CONVVEC)\b",), _by_ase("xsf")),
    _Kind("an input file of Quantum ESPRESSO", (r"^[ \t]*&(CONTROL|SYSTEM)\b",), _by_ase("espresso-in")),
    _Kind("an output file of Quantum ESPRESSO", (r"Program PWSCF",), _by_ase("espresso-out")),
    _Kind("an input file of CP2K", (r"^[ \t]*&FORCE_EVAL\b",)),
    _Kind(
        "an input file of GULP", (r"^[ \t]*(cell|s?vectors|frac\w*|cart\w*)\b", r"^[ \t]*\w+\s+(core|shel)\b")
    ),
    _Kind("a dump of LAMMPS", (r"^ITEM: TIMESTEP",), _TYPES),
    _Kind("a data file of LAMMPS", (r"\bxlo\s+xhi\b",), _TYPES),
    _Kind("a geometry file of FHI-aims", (r"^[ \t]*(lattice_vector|atom_frac)\s",), _by_ase("aims")),
    _Kind("a cell file of CASTEP", (r"^[ \t]*%BLOCK\s+(LATTICE|POSITIONS)_",), _by_ase("castep-cell")),
    _Kind("a struct file of WIEN2k", (r"LATTICE,\s*NONEQUIV",), _by_ase("struct")),
    _Kind("an input file of ABINIT", (r"^[ \t]*znucl\b",), _by_ase("abinit-in")),
    _Kind("an input file of SIESTA", (r"^[ \t]*%block\s+\w+|^[ \t]*LatticeConstant\b",)),
    _Kind("a part of an input file of Quantum ESPRESSO", (r"^[ \t]*CELL_PARAMETERS\b",)),
    _Kind("an input file of CRYSTAL", (r"\A[^\n]*\n\s*(CRYSTAL|SLAB)\s*$",)),
    _Kind("a file of DFTB+ (.gen)", (r"\A\s*\d+\s+[CSFH]\s*$",), _by_ase("gen")),
    _Kind(
        "a configuration of DL_POLY",
        (
            (
                r"\A[^\n]*\n[ \t]*[0-2][ \t]+[1-7]\b[^\n]*\n([ \t]*-?[\d.]+([ \t]+-?[\d.]+){2}[ \t]*\n){3}"
                r"[ \t]*[A-Za-z]\S*([ \t]+\d+)?[^\n]*\n[ \t]*-?[\d.]+([ \t]+-?[\d.eE+-]+){2}"  # an atom
            ),
        ),
        _by_ase("dlp4"),
    ),
    _Kind(
        "a cube file",
        (r"\A[^\n]*\n[^\n]*\n(\s*-?\d+(\s+-?\d+\.\d+){3}[^\n]*\n){4}",),
        _by_ase("cube"),
    ),
    _Kind(
        "a file of GROMACS (.gro)",
        (r"\A[^\n]*\n[ \t]*\d+[ \t]*\n[ \t]*\d{1,5}\w{1,5}[ \t]+\w{1,5}[ \t]*\d{1,5}([ \t]+-?\d+\.\d+){3}",),
    ),
    _Kind("the OUTCAR of VASP", (r"\A\s*vasp\.\d",), _by_ase("vasp-out")),
    _Kind("the POTCAR of VASP", (r"^[ \t]*VRHFIN\s*=",), _NO_CRYSTAL),
    _Kind(
        "the KPOINTS of VASP",
        (r"\A[^\n]*\n[ \t]*\d+[ \t]*\n[ \t]*(gamma|monkhorst\S*|auto\w*|[gma])([ \t]|$)",),
        _NO_CRYSTAL,
    ),
    _Kind("the INCAR of VASP", (r"^[ \t]*(ENCUT|ISMEAR|IBRION|EDIFF|PREC)\s*=",), _NO_CRYSTAL),
    _Kind("MOL2", ("@<TRIPOS>",), _MOLECULE),
    _Kind("a MOL or SDF file", (r"\bV[23]000\s*$",), _MOLECULE),
    _Kind("an input file of Gaussian", (r"^[ \t]*#[ \t]*[pnt]?[ \t]*\w[^\n]*/|^%chk=",), _MOLECULE),
    _Kind(
        "a list of numbers, such as a measured powder pattern",
        (
            (
                r"\A([ \t]*([#!;'\"][^\n]*)?\n)*"
                r"([ \t]*\d{1,9}(\.\d{0,12})?[ \t,;]+-?\d{1,12}(\.\d{0,12})?(e[+-]?\d{1,3})?[ \t]*\n){3}"
            ),
        ),
        _NO_CRYSTAL,
    ),
)
PWMAT = _Kind("a configuration of PWmat", (r"\A[^\n]*\n[ \t]*Lattice vector", r"^[ \t]*Position\b"))
BILBAO = _Kind(
    "structure data of the Bilbao Crystallographic Server",
    (
        (
            r"\A([ \t]*#[^\n]*\n)*[ \t]*\d{1,3}[ \t]*\n"
            r"([ \t]*#[^\n]*\n)*[ \t]*[\d.]+([ \t]+[\d.]+){5}[ \t]*\n"
            r"([ \t]*#[^\n]*\n)*[ \t]*\d{1,5}[ \t]*$"
        ),
    ),
)
TABLE = _Kind(
    "a table (CSV) with a CIF in each row",
    (r"\A[^\n]*,[^\n]*\n", r"(^|,)\"(#[^\n]*\n)?data_"),
    "Save each CIF as a file of its own, and pack them as zip.",
)


def is_table(text: str) -> bool:
    """Whether it is CSV with whole CIFs in quotes, whose rows would be read as lines of one CIF."""
    return _fits(TABLE, text)


def only_begins_like_xyz(text: str) -> bool:
    """Whether it begins with a number, as XYZ does, but is of another format."""
    return any(_fits(kind, text) for kind in (BILBAO, PWMAT))


def unsupported(text: str) -> str:
    """What the text is and what to do, where its format is known but not read; empty for any other."""
    for kind in (BILBAO, PWMAT, TABLE, *_KINDS):
        if _fits(kind, text):
            return f"This is {kind.name}, which is not read here. {kind.advice}"
    return ""


def _fits(kind: _Kind, text: str) -> bool:
    start = text[:LOOKED_AT]
    return all(re.search(mark, start, re.IGNORECASE | re.MULTILINE) for mark in kind.marks)
