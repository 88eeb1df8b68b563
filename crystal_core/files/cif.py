"""Reader of CIF: data blocks become lists of calls, and each call gives one pymatgen structure.

gemmi reads the text and knows the space groups. What was read is then compared with what the file says of
itself; differences are listed in ``structure.properties["notes"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError
from crystal_core.files.cif_atoms import atoms_of, number_of
from crystal_core.files.cif_contents import TOO_LARGE, TOO_MANY, Contents, formula_in
from crystal_core.files.cif_disorder import by_multiplicity, full_alternatives
from crystal_core.files.cif_geometry import misplaced
from crystal_core.files.cif_modulation import modulation_note
from crystal_core.files.cif_moments import site_values_in
from crystal_core.files.cif_symmetry import named_group, operations_of
from crystal_core.files.cif_text import Block, blocks_of
from crystal_core.files.cif_wyckoff import wyckoff_contradictions
from crystal_core.files.crystal_systems import system_contradicted
from crystal_core.files.diagnosis import ANGLES, LENGTHS, NAMES, POSITIONS, UNKNOWN_PROBLEM, problem_of
from crystal_core.files.limits import check_atom_count, check_cell
from crystal_core.files.remarks import far_positions
from crystal_core.structures import printable

if TYPE_CHECKING:
    from pymatgen.core import Structure

MOST_SEARCHED = 500  # sites, of a search for the space group
SYMPREC = 0.01  # Å; files hold coordinates to three decimals and better


def read_cif(text: str) -> list[Callable[[], Structure]]:
    """A call for every data block with atoms or a cell; one without positions gives a refusal.

    Raises:
        StructureParseError: no block has positions; it says what the first with a cell or atoms lacks.
    """
    blocks = blocks_of(text)
    started = [block for block in blocks if block.problem or _is_started(block)]
    if not any(block.problem or POSITIONS[0] in block.tags for block in started):
        first = next((block for block in (*started, *blocks) if block.tags), blocks[0])
        raise StructureParseError(problem_of(first) or UNKNOWN_PROBLEM)
    read = structure_of_block if len(started) == 1 else _structure_of_several
    return [partial(read, block) for block in started]


def _is_started(block: Block) -> bool:
    """Whether it tells of a crystal; blocks on authors, measurements and powder patterns do not."""
    return bool(block.tags.intersection((*LENGTHS, *POSITIONS, *NAMES)))


def _structure_of_several(block: Block) -> Structure:
    """As :func:`structure_of_block`; a refusal names the block, for not each block is a crystal."""
    try:
        structure = structure_of_block(block)
    except StructureParseError as error:
        raise StructureParseError(f"Block '{printable(block.name)[:40]}': {error}") from error
    structure.properties["label"] = block.name
    return structure


def structure_of_block(block: Block) -> Structure:
    """The crystal that a block describes, with its notes and site values.

    Raises:
        StructureParseError: what is wrong with it, why, and what to do.
    """
    known = [value for tag in (*LENGTHS, *ANGLES) if (value := number_of(block.value(tag))) is not None]
    if len(known) == 6:
        # check the cell before symmetry operations multiply its atoms
        check_cell(known[:3], known[3:])
    if problem := problem_of(block):
        raise StructureParseError(problem)
    from pymatgen.core import Lattice, Structure

    lattice = Lattice.from_parameters(*known)
    matrix = np.array(lattice.matrix)
    atoms, notes = atoms_of(block, set(formula_in(block)))
    check_atom_count(len(atoms))
    contents = Contents(block, atoms, matrix)
    far = far_positions([atom.place for atom in atoms], [atom.element for atom in atoms], matrix)
    try:
        operations, remarks = operations_of(block, matrix, contents)
        # before minutes go into a cell that is refused afterwards
        if len(operations) > 1 and contents.n_sites(operations) > TOO_MANY:
            raise StructureParseError(TOO_LARGE)
        sites = contents.sites(operations)
    except StructureParseError as error:  # of atoms that lie on one site where Å are read as fractions
        raise type(error)(" ".join([str(error), *far])) from error
    structure = Structure(lattice, sites.shares, sites.places)
    notes = [*block.notes, *modulation_note(block), *notes, *far]
    notes += [*remarks, *sites.notes, *contents.differences(sites)]
    notes += full_alternatives(block, atoms) + by_multiplicity(atoms, sites)
    notes += wyckoff_contradictions(block, atoms, sites, operations, matrix)
    notes += misplaced(block, atoms, sites, matrix)
    values, remarks = site_values_in(block, atoms, sites, matrix, has_symmetry=len(operations) > 1)
    notes += remarks
    if values:
        structure.properties["site_values"] = values
    named = named_group(block, matrix)
    numbers = {setting.number for setting in named.settings}
    notes += system_contradicted(block, numbers, matrix) + _other_group(named.words, numbers, structure)
    structure.properties["notes"] = list(dict.fromkeys(notes))
    return structure


def _other_group(words: str, numbers: Collection[int], structure: Structure) -> list[str]:
    """Whether the atoms have another space group than the file names, as a sentence.

    Empty where it names P 1.

    Args:
        words: the names in the file. numbers: of the groups that they may mean.
    """
    import spglib

    if not set(numbers) - {0, 1} or len(structure) > MOST_SEARCHED:
        return []
    kinds = list(dict.fromkeys(site.species_string for site in structure))
    cell = (
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [kinds.index(site.species_string) for site in structure],
    )
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    except spglib.SpglibError:  # where atoms lie too close
        return []
    group = None if dataset is None else spglib.get_spacegroup_type(dataset.hall_number)
    if group is None or group.number in numbers:
        return []
    note = (
        f"The file names {words}, but the atoms that were read have "
        f"{group.international_short} (number {group.number}) within {SYMPREC} Å."
    )
    return [note]
