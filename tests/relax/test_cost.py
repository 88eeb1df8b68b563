"""The cost of a call is counted from neighbours: equal for equal crystals, larger for denser ones."""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.relax.cost import BOND_CUTOFF, seconds_per_call
from crystal_core.relax.potential import is_installed, load_potential

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
OXIDE = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
FIXED = seconds_per_call(Structure(Lattice.cubic(7.5), ["Na"], [[0, 0, 0]]))  # without neighbours


def test_a_dense_cell_costs_more_than_an_open_one_of_as_many_atoms():
    assert len(SALT) == len(OXIDE)
    assert seconds_per_call(OXIDE) > 1.5 * seconds_per_call(SALT) > 1.5 * FIXED


def test_the_cost_is_that_of_the_crystal_and_not_of_its_description():
    rows = [[1, 0, 0], [3, 1, 0], [0, 0, 1]]
    skewed = OXIDE.copy().make_supercell(rows)
    assert seconds_per_call(skewed) == pytest.approx(seconds_per_call(OXIDE))
    twice = OXIDE.copy().make_supercell([2, 1, 1])
    assert seconds_per_call(twice) - FIXED == pytest.approx(2 * (seconds_per_call(OXIDE) - FIXED))


def test_a_cell_that_the_potential_refuses_costs_next_to_nothing():
    collapsed = Structure(Lattice.cubic(0.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert seconds_per_call(collapsed) == FIXED


@pytest.mark.weights
@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_bonds_are_those_of_the_graph_of_chgnet():
    assert load_potential("chgnet", "cpu").model.graph_converter.bond_graph_cutoff == BOND_CUTOFF
