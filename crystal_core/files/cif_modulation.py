"""Modulated crystals (superspace groups) in a CIF: their three-dimensional part, and a note on the rest.

The basic structure has the superspace operations without their fourth and further coordinates; the waves of
positions, occupancies and moments are not read.
"""

from __future__ import annotations

import re

from crystal_core.files.cif_text import Block

OPERATIONS = ("_space_group_symop_ssg_operation_algebraic", "_space_group_symop_magn_ssg_operation_algebraic")
CENTRINGS = "_space_group_symop_magn_ssg_centering_algebraic"
NAMES = ("_space_group_ssg_name", "_space_group_ssg_name_it", "_space_group_ssg_name_wjj")
MOMENT_WAVES = "_atom_site_moment_fourier"
_MARKS = (
    *("_space_group_ssg", "_space_group_symop_ssg", "_space_group_symop_magn_ssg", MOMENT_WAVES),
    *("_space_group_magn_ssg", "_cell_modulation_dimension", "_cell_wave_vector"),
    *("_cell_subsystem", "_atom_site_fourier", "_atom_site_displace_", "_atom_site_occ_"),
)


def is_modulated(block: Block) -> bool:
    """Whether the block speaks of waves, of a superspace group or of a composite."""
    return any(tag.startswith(_MARKS) for tag in block.tags if block.column(tag) != ["0"])


def basic_operations(block: Block) -> tuple[list[str], list[str]]:
    """The listed superspace operations and centrings, magnetic ones too, as ``x,y,z`` of the basic structure.

    Time reversal is left out. Both are empty where the file lists none.
    """
    operations = [_basic(text) for tag in OPERATIONS for text in block.column(tag) if text]
    centrings = [_basic(text) for text in block.column(CENTRINGS) if text]
    return list(dict.fromkeys(operations)), list(dict.fromkeys(centrings))


def _basic(text: str) -> str:
    named = re.sub(r"x([123])", lambda match: "xyz"[int(match[1]) - 1], text.lower())
    return ",".join(named.split(",")[:3])


def basic_symbol(block: Block) -> str:
    """The symbol of the basic space group in front of the wave vector, as ``Pnma`` in ``Pnma(0b0)s00``.

    Empty without one.
    """
    return block.value(*NAMES).split("(")[0].strip()


def modulation_note(block: Block) -> list[str]:
    """A note that only the basic structure is read, for a modulated or composite crystal."""
    if not is_modulated(block):
        return []
    return [
        (
            "The file describes a modulated crystal; its basic structure is read, "
            "without waves of positions, occupancies and moments."
        )
    ]
