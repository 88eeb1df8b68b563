"""Common names of arrangements: for crystals with other elements, cells and small distortions."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.arrangements import ARRANGEMENTS, common_arrangement, textbook_cell
from crystal_core.reference.known_cells import known_cell


@pytest.mark.parametrize("k", range(len(ARRANGEMENTS)), ids=[one.name for one in ARRANGEMENTS])
def test_each_textbook_cell_has_its_own_space_group_and_name_alone(k):
    cell, one = textbook_cell(k), ARRANGEMENTS[k]
    assert cell.get_space_group_info(0.01)[1] == one.group
    shortest = min(x.nn_distance for site in cell for x in cell.get_neighbors(site, 4.5))
    assert 1.4 < shortest < 3.6  # Å: no places that fall together
    assert common_arrangement(cell, one.group) == one.name


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ("mp-390", "anatase"),
        ("mp-2657", "rutile"),
        ("mp-1840", "brookite"),
        ("mp-5229", "cubic perovskite"),
        ("mp-19017", "olivine"),
        ("mp-22811", "chalcopyrite"),
        ("mp-22862", "rock salt"),
        ("mp-2844", ""),  # ThSi2: space group and Wyckoff letters of anatase at other places
    ],
)
def test_known_crystals_have_the_names_of_the_textbooks(known, name):
    cell = known_cell(known)
    if cell is None:
        pytest.skip(f"{known} is not in the index")
    assert common_arrangement(cell, cell.get_space_group_info(0.1)[1]) == name


def test_a_name_survives_other_elements_supercells_turns_and_small_shifts():
    cell = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.76, 3.19), ["Sn", "F"], [[0, 0, 0], [0.31, 0.31, 0]]
    )
    cell.make_supercell([[1, 1, 0], [-1, 1, 0], [0, 0, 2]])
    cell.perturb(0.02)
    assert common_arrangement(cell, 136) == "rutile"


def test_another_stacking_or_another_group_has_no_name():
    lanthanum = Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(3.77, 12.16), ["La", "La"], [[0, 0, 0], [1 / 3, 2 / 3, 0.25]]
    )
    assert common_arrangement(lanthanum, 194) == ""
    assert common_arrangement(textbook_cell(0), 139) == ""


def test_a_cell_that_cannot_be_matched_has_no_name():
    flat = Structure(np.diag([3.0, 3.0, 1e-3]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert common_arrangement(flat, 225) == ""
