"""The process behind :mod:`crystal_core.files.uploads`; it answers JSON lines of texts or crystals.

``python -m crystal_core.files.upload_child MEMORY_BYTES SECONDS``. It says that it is ready once its
libraries are imported, so the time of a text holds no import. It cannot write files, start processes or
outgrow its memory, has no network where the system allows that, and ends itself when one text takes too long,
so it never outlives the app.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # of linux/sched.h
OPEN_FILES = 32  # the pipes, the libraries' own and a few to spare

# one text of each format and one pair of crystals
_CELL = {
    "lattice": [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]],
    "atomic_numbers": [55, 17],
    "frac_coords": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
}
_CIF = """data_a
_cell_length_a 4.1
_cell_length_b 4.1
_cell_length_c 4.1
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P m -3 m'
_symmetry_Int_Tables_number 221
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Cs1 Cs 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 0.5
Br1 Br 0.5 0.5 0.5 0.5
"""
_POSCAR = "CsCl\n4.1\n1 0 0\n0 1 0\n0 0 1\nCs Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
_XYZ = '2\nLattice="4.1 0 0 0 4.1 0 0 0 4.1" Properties=species:S:1:pos:R:3\nCs 0 0 0\nCl 2.05 2.05 2.05\n'
_PDB = (
    "CRYST1    4.100    4.100    4.100  90.00  90.00  90.00 P 1\n"
    "ATOM      1 CS   MOL     1       0.000   0.000   0.000  1.00  0.00          CS\n"
)
PRACTICE: tuple[dict[str, Any], ...] = (
    *({"text": text} for text in (_CIF, _POSCAR, _XYZ, _PDB, json.dumps(_CELL))),
    {"match": [_CELL, _CELL]},
    {"superpose": [_CELL, _CELL]},
)


def main(memory: int, seconds: float) -> None:
    """Answer until the pipe closes."""
    _leave_network()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # whatever a parser prints must not be read as an answer
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.dont_write_bytecode = True

    from crystal_core.errors import StructureParseError
    from crystal_core.files.parse import parse_each
    from crystal_core.structures import atomic_numbers

    def plain(structure: Structure) -> dict[str, Any]:
        return {
            "lattice": structure.lattice.matrix.tolist(),
            "atomic_numbers": atomic_numbers(structure),
            "frac_coords": structure.frac_coords.tolist(),
            "limitation": structure.properties.get("limitation"),
            "occupancy": structure.properties.get("occupancy"),
            "notes": structure.properties.get("notes", []),
            "frame": structure.properties.get("frame"),
            "site_values": structure.properties.get("site_values"),
        }

    def answer_to(question: dict[str, Any]) -> dict[str, Any]:
        if "text" in question:
            each = parse_each(question["text"], purpose="view")
            return {
                "crystals": [
                    {"error": str(one)} if isinstance(one, StructureParseError) else plain(one)
                    for one in each
                ]
            }
        from crystal_core.evaluation.alike import rms_distance, superposed
        from crystal_core.evaluation.matching import MATCHER
        from crystal_core.files.records import structure_from_record

        # half the time, so that a pair without end is answered and does not cost the process
        limit, began = seconds / 2, time.monotonic()
        if "match" in question:
            structure, reference = map(structure_from_record, question["match"])
            rmsd = rms_distance(reference, structure, MATCHER, seconds=limit)
            if rmsd is None and time.monotonic() - began >= limit:
                return {"error": f"Comparing took longer than {limit:g} s and was stopped."}
            return {"rmsd": None if rmsd is None else round(rmsd, 4)}
        structure, other = map(structure_from_record, question["superpose"])
        overlay = superposed(structure, other, seconds=limit)
        return {"superposed": None if overlay is None else plain(overlay)}

    for question in PRACTICE:
        # import every library that answers need now, so that no import counts as time of a file
        with suppress(StructureParseError):
            answer_to(question)
    # after the imports, so that the limits hold for files alone
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    send_answer(answers, {"ready": True})
    for line in sys.stdin:
        # the default action ends the process even inside compiled code; the parent kills first if it is alive
        signal.setitimer(signal.ITIMER_REAL, seconds + 5.0)
        try:
            answer = answer_to(json.loads(line))
        except MemoryError:
            answer = {"error": "Reading this file needs more memory than is allowed. Use a smaller cell."}
        except Exception as error:  # noqa: BLE001 (whatever one file does, the next one must be read)
            known = isinstance(error, StructureParseError)
            answer = {
                "error": str(error) if known else "The file could not be read. Check it in a crystal viewer."
            }
        signal.setitimer(signal.ITIMER_REAL, 0)
        send_answer(answers, answer)


def _leave_network() -> None:
    """Move this process into a network of its own, which reaches nothing; the system may not allow that.

    It comes before the imports: a process with several threads may not do it without rights.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for spaces in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET):
        with suppress(AttributeError):  # no Linux
            if libc.unshare(spaces) == 0:
                return


def send_answer(answers: Any, answer: dict[str, Any]) -> None:
    """Write one answer as a line of JSON, at once."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
