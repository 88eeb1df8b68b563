"""What of a crystal hangs together: frameworks, layers and chains are no finite fragments, molecules
and lone atoms are.
"""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.connectivity import finite_fragments, linked_directions

BCC = [[0, 0, 0], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize(
    ("edge", "species", "frac_coords"),
    [
        (5.33, ["K", "K"], BCC),  # the longest bonds for their radii that metals have
        (4.12, ["Cs", "Cl"], BCC),
        (3.35, ["Po"], [[0, 0, 0]]),  # one atom, linked to its own images
    ],
)
def test_metals_salts_and_an_atom_among_its_images_hang_together(edge, species, frac_coords):
    assert finite_fragments(Structure(Lattice.cubic(edge), species, frac_coords)) == []


def test_layers_and_chains_hang_together_and_the_atom_between_them_is_alone():
    chain = Structure(Lattice.tetragonal(8.0, 2.4), ["Se"], [[0, 0, 0]])
    layer = Structure(Lattice.hexagonal(2.46, 12.0), ["C", "C"], [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]])
    assert finite_fragments(chain) == finite_fragments(layer) == []
    between = Structure(
        Lattice.orthorhombic(5.4, 8.0, 12.0), ["Zn", "Zn", "Ar"], [[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0.5]]
    )
    assert finite_fragments(between) == [(2,)]


def test_a_molecule_across_the_border_of_its_cell_is_one_piece_in_any_cell_and_order():
    cell = Structure(
        Lattice.cubic(5.0),
        ["O", "Li", "O", "Li"],
        [[0.95, 0, 0], [0.5, 0.5, 0.5], [0.19, 0, 0], [0.5, 0.5, 0.0]],
    )
    assert finite_fragments(cell) == [(0, 2)]  # lithium is a chain along c
    doubled = cell * (2, 1, 1)
    assert sorted(len(fragment) for fragment in finite_fragments(doubled)) == [2, 2]
    moved = cell.copy()
    moved.translate_sites(range(4), [0.3, 0.7, 0.1], to_unit_cell=True)
    assert finite_fragments(moved) == [(0, 2)]
    skewed = Structure(
        np.array([[1, 0, 0], [30, 1, 0], [0, 0, 1]]) @ cell.lattice.matrix,
        cell.species,
        cell.cart_coords,
        coords_are_cartesian=True,
    )
    assert finite_fragments(skewed) == [(0, 2)]


@pytest.mark.parametrize(
    ("structure", "directions"),
    [
        (Structure(Lattice.cubic(4.12), ["Cs", "Cl"], BCC), np.eye(3)),
        (Structure(Lattice.tetragonal(8.0, 2.4), ["Se"], [[0, 0, 0]]), [[0, 0, 1]]),
        (
            Structure(Lattice.hexagonal(2.46, 12.0), ["C", "C"], [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]]),
            [[1, 0, 0], [0, 1, 0]],
        ),
        (Structure(Lattice.cubic(6.0), ["N", "N"], [[0, 0, 0], [0.18, 0, 0]]), np.zeros((0, 3))),
    ],
)
def test_linked_directions_span_frameworks_layers_and_chains(structure, directions):
    for cell in (structure, structure * (1, 2, 1)):
        axes = linked_directions(cell)
        assert axes @ axes.T == pytest.approx(np.eye(len(directions)), abs=1e-9)
        assert axes.T @ axes == pytest.approx(np.transpose(directions) @ np.asarray(directions), abs=1e-9)
