"""Operations of a crystal: translations count as rotations do, and what is off by more than
the tolerance has none.
"""

import numpy as np
import pytest
import spglib
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.symmetry import has_operations

MONOCLINIC = Lattice.monoclinic(4.1, 5.3, 6.2, 103)
GROUPS = {
    "P2/m": Structure.from_spacegroup(
        "P2/m", MONOCLINIC, ["Na", "Cl", "O"], [[0.1, 0, 0.23], [0.37, 0.5, 0.41], [0.2, 0.31, 0.77]]
    ),
    "P2_1/m": Structure.from_spacegroup(
        "P2_1/m", MONOCLINIC, ["Na", "Cl", "O"], [[0.1, 0.25, 0.23], [0.37, 0.25, 0.41], [0.2, 0.08, 0.77]]
    ),
}


def operations_of(structure):
    dataset = spglib.get_symmetry_dataset(
        (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers), symprec=1e-4
    )
    return dataset.rotations, dataset.translations


@pytest.mark.parametrize("own", GROUPS)
def test_a_screw_axis_is_no_rotation_axis(own):
    for name, structure in GROUPS.items():
        assert has_operations(structure, *operations_of(GROUPS[own]), 0.1) == (name == own)


def test_sites_elements_and_cell_may_be_off_by_no_more_than_the_tolerance():
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]
    ).get_primitive_structure()
    rotations, translations = operations_of(salt)
    assert len(rotations) == 48 and has_operations(salt, rotations, translations, 1e-6)
    moved = salt.copy()
    moved.translate_sites([1], [0.01, 0, 0])  # 0.04 Å, and twice that from its image
    stretched = Structure(Lattice(salt.lattice.matrix * [1, 1, 1.01]), salt.species, salt.frac_coords)
    for changed in (moved, stretched):
        assert has_operations(changed, rotations, translations, 0.1) and not has_operations(
            changed, rotations, translations, 0.01
        )
    swapped = GROUPS["P2/m"].copy()
    swapped.replace(int(np.argmax([s.symbol == "O" for s in swapped.species])), "S")
    assert not has_operations(swapped, *operations_of(GROUPS["P2/m"]), 0.1)
