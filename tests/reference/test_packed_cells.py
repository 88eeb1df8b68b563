"""Cells as asymmetric units, packed into codes and back: the same crystals, within the stored steps."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.alike import rms_distance
from crystal_core.reference.asymmetric_unit import (
    AsymmetricUnit,
    asymmetric_unit,
    cell_parameters,
    matrix_of,
    operations,
    primitive_cell,
)
from crystal_core.reference.packed_cells import STEPS, PackedCells, pack_units
from tests.reference.test_known import TEXTBOOK


@pytest.mark.parametrize("name", sorted(TEXTBOOK))
def test_asymmetric_unit_and_back_is_the_same_crystal(name):
    structure, group = TEXTBOOK[name]
    numbers = np.array(structure.atomic_numbers)
    unit = asymmetric_unit(structure.lattice.matrix, structure.frac_coords, numbers)
    elements = sorted(set(numbers.tolist()))
    stored = PackedCells(pack_units([unit, unit], [elements, elements])).unit(1, elements)
    lattice, coords, back = primitive_cell(stored)
    cell = Structure(Lattice(lattice), back.tolist(), coords)
    assert (
        rms_distance(structure, cell, {"ltol": 1e-3, "stol": 1e-3, "angle_tol": 0.1, "scale": False}) < 2e-4
    )
    assert len(cell) == len(structure.get_primitive_structure())
    assert cell.get_space_group_info(symprec=1e-3)[1] == group


def test_every_setting_has_a_primitive_cell():
    point = np.array([[0.1234, 0.2345, 0.0456]])
    for hall_number in range(1, 531):
        angles = np.array([90.0, 90.0, 120.0 if 430 <= hall_number <= 488 else 90.0])
        unit = AsymmetricUnit(
            hall_number=hall_number,
            lengths=np.full(3, 20.0),
            angles=angles,
            points=point,
            numbers=np.array([14]),
        )
        lattice, coords, _ = primitive_cell(unit)
        copies = abs(np.linalg.det(matrix_of(unit.lengths, angles)) / np.linalg.det(lattice))
        # a general position has one atom for each operation of the conventional cell
        assert copies * len(coords) == pytest.approx(len(operations(hall_number)[0])), hall_number


def test_the_space_between_two_steps_is_the_accuracy():
    rng = np.random.default_rng(3)
    cell = Structure(Lattice.from_parameters(5, 6, 7, 80, 95, 110), ["Si"] * 6, rng.random((6, 3)))
    numbers = np.array(cell.atomic_numbers)
    unit = asymmetric_unit(cell.lattice.matrix, cell.frac_coords, numbers)
    stored = PackedCells(pack_units([unit], [[14]])).unit(0, [14])
    # the same order of orbits, up to sorting by code; free coordinates move by half a step
    gaps = [np.abs((stored.points - p + 0.5) % 1 - 0.5).max(axis=1).min() for p in unit.points]
    assert max(gaps) <= 1.6 / STEPS
    lengths, angles = cell_parameters(primitive_cell(stored)[0])
    assert np.allclose(lengths, unit.lengths, rtol=6e-5) and np.allclose(angles, unit.angles, atol=2e-3)
