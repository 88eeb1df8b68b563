"""Two elements in order on the sites of one: every ordering once, in every supercell, with its own volume."""

from collections import Counter
from math import comb

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystal_core.evaluation.symmetry import space_group
from crystal_core.generators.prototype import orderings as module
from crystal_core.generators.prototype.orderings import (
    Crystal,
    different_choices,
    orderings,
    site_images,
    supercells,
)
from crystal_core.registry.store import load_generator
from crystal_core.structures import to_structures

FCC = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.0), ["Cu"], [[0, 0, 0]])


def crystal(structure):
    return Crystal(structure.lattice.matrix, structure.frac_coords, np.array(structure.atomic_numbers))


def sorted_cell(formula, z=1):
    amounts = Composition(formula).get_el_amt_dict().items()
    return tuple(
        sorted(Composition(symbol).elements[0].Z for symbol, n in amounts for _ in range(int(n * z)))
    )


@pytest.mark.parametrize(("n", "sizes"), [(1, [4]), (2, [6]), (3, [4])])
def test_in_the_cubic_cell_of_fcc_there_is_one_ordering_of_each_content(n, sizes):
    """Cu3Au (L1_2) and CuAu (L1_0)."""
    images, shifts = site_images(crystal(FCC), np.arange(4))
    choices = different_choices(images, n)
    assert [size for _, size in choices] == sizes
    assert len(shifts) == 3  # the centrings


def test_every_choice_belongs_to_one_set_and_symmetric_ones_come_first():
    square = np.array([np.roll(np.arange(6), k) for k in range(6)])
    choices = different_choices(square, 3)
    assert sum(size for _, size in choices) == comb(6, 3)
    assert choices[0] == ((0, 2, 4), 2) and [size for _, size in choices] == sorted(s for _, s in choices)


@pytest.mark.parametrize(("copies", "n"), [(1, 1), (2, 2), (3, 3), (4, 7)])
def test_supercells_of_fcc_are_as_many_as_published(copies, n):
    """Table IV of Hart and Forcade 2008: symmetrically distinct superlattices of fcc."""
    primitive = FCC.get_primitive_structure()
    cells = supercells(crystal(primitive), copies)
    assert len(cells) == n
    volume = abs(np.linalg.det(primitive.lattice.matrix))
    for cell in cells:
        assert len(cell.numbers) == copies and abs(np.linalg.det(cell.lattice)) == pytest.approx(
            copies * volume
        )


@pytest.mark.weights
def test_orderings_have_the_formula_and_do_not_repeat_within_their_cell():
    index = load_generator("prototype", "cpu").index
    cells = {z: sorted_cell("GaInN2", z) for z in (1, 2)}
    found = list(orderings(index, cells))
    assert {z for z, _ in found} == {1, 2}
    for z, one in found:
        assert one.frac_coords.shape == (4 * z, 3) and one.distance > 0 and len(one.ordered) == 2
        ordered = Structure(Lattice(one.lattice), cells[z], one.frac_coords)
        assert len(ordered.get_primitive_structure()) == len(ordered)
    repeated = list(orderings(index, {2: cells[2]}, repeats=True))
    assert len(repeated) > sum(z == 2 for z, _ in found)
    assert set(Counter(one.ordered for _, one in found)) == {(31, 49), (49, 31)}


@pytest.mark.weights
def test_rutile_orders_into_trirutile_and_the_volume_is_that_of_its_elements():
    generator = load_generator("prototype", "cpu")
    units, frame = generator.order({2: sorted_cell("ZnSb2O6", 2)})
    ordered = [
        (template, structure)
        for template, structure in zip(frame.templates, to_structures(frame.crystals), strict=True)
        if template.label.startswith("P4_2/mnm") and template.repeats == 3
    ]
    assert set(units) == {2}
    assert "P4_2/mnm" in {space_group(structure)["symbol"] for _, structure in ordered}
    for template, structure in ordered:
        assert template.ordered in {("Sb", "Zn"), ("Zn", "Sb")} and template.distance > 0
        assert structure.composition.reduced_formula == "Zn(SbO3)2"
    volumes = generator.index.element_volumes
    (template, first), *_ = [(t, s) for t, s in ordered if t.ordered == ("Sb", "Zn")]
    (parent,) = [
        one
        for one in generator.index.candidates(sorted_cell("SbO2", 2), 20)
        if one.prototype == template.prototype
    ]
    ratio = volumes[list(first.atomic_numbers)].sum() / (3 * volumes[list(sorted_cell("SbO2", 2))].sum())
    assert first.volume / (3 * abs(np.linalg.det(parent.lattice))) == pytest.approx(ratio, rel=1e-4)


def test_elements_that_are_far_apart_share_no_sites(monkeypatch):
    monkeypatch.setattr(module, "MOST_APART", -1.0)
    index = load_generator("prototype", "cpu").index
    assert list(orderings(index, {1: sorted_cell("GaInN2")})) == []


def test_a_cell_with_too_many_choices_is_left_out(monkeypatch):
    index = load_generator("prototype", "cpu").index
    cells = {1: sorted_cell("GaInN2")}
    assert list(orderings(index, cells))
    monkeypatch.setattr(module, "MOST_CHOICES", 0)
    assert list(orderings(index, cells)) == []
