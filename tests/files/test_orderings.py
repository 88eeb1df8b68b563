"""Ordered cells of crystals with shared sites: whole atoms in the file's shares, no crystal twice."""

import itertools

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.files.orderings import orderings


def ordered(structure):
    return orderings(structure, [site.species.get_el_amt_dict() for site in structure])


@pytest.mark.parametrize(("share", "formula"), [(0.67, "K2Mn3O6"), (0.333, "K1Mn3O6"), (0.5, "K1Mn2O4")])
def test_rounded_shares_make_whole_atoms(share, formula):
    layered = Structure.from_spacegroup(
        "R-3m", Lattice.hexagonal(2.9, 17.1), [{"K": share}, "Mn", "O"], [[0, 0, 0.5], [0] * 3, [0, 0, 0.26]]
    )
    cells = ordered(layered)
    assert cells and all(cell.is_ordered for cell in cells)
    counts = cells[0].composition.get_el_amt_dict()
    assert "".join(f"{symbol}{counts[symbol]:g}" for symbol in ("K", "Mn", "O")) == formula


def test_no_two_ordered_cells_are_one_crystal():
    alloy = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.24), [{"Mg": 0.5, "Co": 0.5}, "O"], [[0] * 3, [0.5] * 3]
    )
    solution = Structure.from_spacegroup(
        "Pm-3m",
        Lattice.cubic(3.9),
        ["Ba", "Ti", {"O": 2 / 3, "N": 1 / 3}],
        [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]],
    )
    for cells in map(ordered, (alloy, solution)):
        assert cells
        for one, other in itertools.combinations(cells, 2):
            assert not StructureMatcher(stol=0.05, scale=False).fit(one, other)


def test_a_sixth_of_a_site_in_six_cells_is_one_atom():
    hollow = Structure(Lattice.cubic(4.4), [{"Cs": 1 / 6}, "Br"], [[0] * 3, [0.5] * 3])
    assert {cell.composition.formula for cell in ordered(hollow)} == {"Cs1 Br6"}


def test_deuterium_and_hydrogen_on_one_site_are_one_hydrogen():
    """pymatgen holds two equal mixtures of them for different sites."""
    half = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.08), ["Na", {"H": 0.5, "D": 0.5}], [[0] * 3, [0.5] * 3]
    )
    (cell,) = ordered(half)
    assert cell.composition.reduced_formula == "NaH" and cell.get_space_group_info()[1] == 225


def test_shares_of_no_small_cell_are_refused():
    with pytest.raises(RequestError, match="No cell of up to 20 atoms"):
        ordered(Structure(Lattice.cubic(3.9), [{"Ca": 0.87, "Sr": 0.13}, "O"], [[0] * 3, [0.5] * 3]))
