"""One crystal laid over another: same order of sites, own lattice constants."""

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_core.drawing.scene import overlay_scene
from crystal_core.evaluation.alike import SAME, rms_distance, site_shifts, strain_of, superposed
from crystal_core.evaluation.matching import MATCHER

PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def turned(structure):
    shuffled = Structure.from_sites([structure[i] for i in (3, 1, 4, 0, 2)])
    shuffled.translate_sites(range(5), [0.3, 0.2, 0.7])
    c, s = np.cos(0.7), np.sin(0.7)
    return Structure(
        Lattice(shuffled.lattice.matrix @ [[c, s, 0], [-s, c, 0], [0, 0, 1]] * 1.03),
        shuffled.species,
        shuffled.frac_coords,
    )


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 1, 1)])
def test_a_crystal_lies_on_its_twin_whatever_its_origin_order_and_direction(repeat):
    cell = PEROVSKITE.copy()
    cell.make_supercell(repeat)
    twin = superposed(cell, turned(PEROVSKITE))
    assert [s.symbol for s in twin.species] == [s.symbol for s in cell.species]
    assert twin.lattice.abc == pytest.approx([1.03 * length for length in cell.lattice.abc])
    assert np.allclose(twin.lattice.matrix, 1.03 * cell.lattice.matrix, atol=1e-6)
    scene = overlay_scene(cell, twin)
    partners = np.array([site["f"] for site in scene["sites"]])
    assert np.abs(np.array([site["f"] for site in scene["pale"]["sites"]]) - partners).max() < 1e-4


def test_another_crystal_lies_on_none():
    assert superposed(PEROVSKITE, Structure(Lattice.cubic(2.9), ["Fe"], [[0, 0, 0]])) is None


def test_a_cell_that_became_another_crystal_has_no_distance():
    salt = Structure(Lattice.from_parameters(4, 4, 4, 60, 60, 60), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    packed = Structure(Lattice.cubic(3.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for tolerances in (SAME, MATCHER):
        assert (
            rms_distance(salt, salt.copy(), tolerances) == pytest.approx(0, abs=1e-9)
            and rms_distance(salt, packed, tolerances) is None
        )
    bent = PEROVSKITE.copy()
    bent.translate_sites([2], [0.3, 0, 0])
    assert rms_distance(PEROVSKITE, bent) == pytest.approx(0.205, abs=0.001)
    assert rms_distance(PEROVSKITE, bent, SAME | {"stol": 0.2}) is None


@pytest.mark.parametrize("seed", range(4))
def test_shifts_are_those_of_structure_matcher(seed):
    rng = np.random.default_rng(seed)
    one, other = PEROVSKITE.copy(), PEROVSKITE.copy()
    for site in range(5):
        one.translate_sites([site], rng.normal(0, 0.02, 3))
    other.apply_strain([0.02, -0.01, 0.03])
    other.scale_lattice(1.1 * other.volume)
    shifts = site_shifts(one, other)
    rmsd, furthest = StructureMatcher(**SAME).get_rms_dist(one, other)
    assert (shifts.rmsd, shifts.furthest) == pytest.approx((rmsd, furthest), abs=1e-4)


def test_strain_is_that_between_the_lattices_in_any_setting():
    other = PEROVSKITE.apply_strain([0.05, 0, -0.02], inplace=False)
    for turned in (other, other * [[1, 1, 0], [0, 1, 0], [0, 0, 1]]):
        deformation = site_shifts(PEROVSKITE, turned.get_reduced_structure()).deformation
        assert strain_of(deformation) == pytest.approx(np.log(1.05))
    along = np.array([[0.6, 0.8, 0]])
    squeeze = np.diag([0.9, 1.0, 1.3])
    assert strain_of(squeeze) == pytest.approx(np.log(1.3)) and strain_of(squeeze, np.zeros((0, 3))) == 0.0
    assert strain_of(squeeze, along) == pytest.approx(-np.log(np.hypot(0.6 * 0.9, 0.8)))


def test_a_shift_is_told_against_the_shorter_bond_of_both_cells():
    salt = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    moved = Structure(salt.lattice, salt.species, [[0, 0, 0], [0.5, 0.5, 0.4]])
    share = 0.15 / np.sqrt(1.5**2 + 1.5**2 + 1.2**2)  # each atom goes half of the 0.3 Å
    assert site_shifts(salt, moved).of_bond == pytest.approx(share)
    assert site_shifts(moved, salt).of_bond == pytest.approx(share)
    assert site_shifts(PEROVSKITE, salt) is None


@pytest.mark.parametrize(
    ("compare", "method"),
    [(rms_distance, "get_rms_dist"), (superposed, "get_s2_like_s1"), (site_shifts, "get_transformation")],
)
def test_a_pair_that_takes_too_long_does_not_match(compare, method, monkeypatch):
    def endless(*_):
        while True:
            pass

    monkeypatch.setattr(StructureMatcher, method, endless)
    assert compare(PEROVSKITE, PEROVSKITE.copy(), seconds=0.2) is None


def test_a_site_across_the_border_is_drawn_beside_its_partner():
    before = PEROVSKITE.copy()
    before.translate_sites([0], [-0.02, 0, 0])
    pale = overlay_scene(PEROVSKITE, before)["pale"]["sites"][0]["f"]
    assert pale[0] == pytest.approx(-0.016, abs=1e-4)  # 0.02 less the drift of all five
