"""The energies of a crystal: estimates, and the published value of a known crystal beside them."""

import pytest
from streamlit.testing.v1 import AppTest

ESTIMATE = {
    "energy_per_atom_ev": -9.3633,
    "formation_energy_per_atom_ev": -3.4,
    "e_above_hull_ev": 0.0688,
    "e_above_hull_error_ev": 0.05,
    "e_above_hull_bias_ev": None,
    "decomposition": {"TiO2": 1.0},
}
RUTILE = {"known": True, "nearest_id": "mp-2657", "nearest_e_above_hull_ev": 0.037}


def metrics_of(record):
    return {metric.label: metric.value for metric in drawn(record)}


def test_how_far_an_estimate_can_be_off_is_said_at_its_sign():
    (above,) = (metric for metric in drawn({"energies": ESTIMATE}) if metric.label.startswith("Above"))
    assert "CHGNet was not trained on" in above.help and "TiO₂" in above.help


def drawn(record):
    def page(record):
        from pages._ui.crystal.energies import show_energies

        show_energies(record)

    app = AppTest.from_function(page, args=(record,), default_timeout=60).run()
    assert not app.exception
    return app.metric


@pytest.mark.parametrize("energies", [ESTIMATE, None])
def test_a_known_crystal_shows_the_published_energy_with_an_estimate_and_without(energies):
    metrics = metrics_of({"novelty": RUTILE, "energies": energies})
    assert metrics.pop("Above the hull (eV/atom, published)") == "0.037"
    estimates = {
        "Energy (eV/atom, ML estimate)": "−9.363",
        "Above the hull (eV/atom, ML estimate)": "0.069 ± 0.050",
    }
    assert metrics == (estimates if energies else {})


@pytest.mark.parametrize("novelty", [None, RUTILE | {"known": False}, {"known": True, "nearest_id": "mp-1"}])
def test_the_energy_of_a_neighbour_is_not_shown_as_that_of_the_crystal(novelty):
    assert "Above the hull (eV/atom, published)" not in metrics_of({"novelty": novelty, "energies": ESTIMATE})
