"""What an energy means against the elements and the known compounds."""

import pytest
from pymatgen.core import Composition

from crystal_core.errors import RelaxationFailed
from crystal_core.reference.hull import load_hull, measured_error
from crystal_core.relax.energies import energies_of

SALT = Composition("NaCl")


def test_the_known_compound_has_its_formation_energy_and_itself_as_product():
    hull = load_hull()
    known = hull.energies[hull.formulas.index("NaCl")]
    energies = energies_of(SALT, known + (hull.elements["Na"] + hull.elements["Cl"]) / 2)
    assert energies.formation_energy == pytest.approx(known) and energies.e_above_hull == pytest.approx(
        0, abs=1e-9
    )
    assert energies.decomposition == {"NaCl": 1.0} and energies.note is None
    assert energies.e_above_hull_error == measured_error("chgnet")["spread_ev"]


def test_an_energy_does_not_depend_on_the_size_of_the_cell():
    assert energies_of(Composition("Na4Cl4"), -3.5) == energies_of(SALT, -3.5)


def test_an_element_without_a_reference_leaves_the_total_energy():
    energies = energies_of(Composition("YbO"), -8.0)
    assert (
        energies.energy,
        energies.formation_energy,
        energies.e_above_hull,
        energies.e_above_hull_error,
    ) == (
        -8.0,
        None,
        None,
        None,
    )
    assert "Yb" in energies.to_json()["note"]


def test_an_energy_that_no_crystal_can_have_is_refused():
    with pytest.raises(RelaxationFailed, match="fault of the potential"):
        energies_of(SALT, -6.0)
