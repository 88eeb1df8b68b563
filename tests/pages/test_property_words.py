"""Predicted values in words and numbers."""

import pytest

from crystal_core.properties import PROPERTIES
from crystal_core.registry.property_cards import Histogram
from pages._ui.properties import words

GAP = {
    "name": "band_gap_ev",
    "title": "Band gap",
    "unit": "eV",
    "method": "PBE, MP 2018",
    "logarithmic": False,
    "decimals": 2,
}
METAL = GAP | {"name": "is_metal", "title": "Probability of a metal", "unit": ""}
ROW = {
    "source": "a.cif",
    "formula": "TiO2",
    "n_atoms": 6,
    "domain": "edge",
    "predictions": {
        "band_gap_ev": {
            "value": 2.5,
            "unit": "eV",
            "low": -0.001,
            "high": 3.04,
            "std": 0.3,
            "domain": "edge",
        },
        "is_metal": {"value": 0.1, "unit": "", "domain": "edge"},
    },
    "nearest": [
        {"id": "mp-1", "formula": "TiO2", "distance": 0.4, "values": {"is_metal": 0.0}},
        {"id": "mp-2", "formula": "ZrO2", "distance": 0.9, "values": {"is_metal": 0.0, "band_gap_ev": 3.5}},
    ],
}


def test_a_line_has_value_unit_interval_and_the_closest_example_whose_value_is_known():
    gap, metal = words.card_rows(ROW, [GAP, METAL], {})
    assert (gap["value"], gap["unit"], gap["interval"]) == ("2.50", "eV", "0.00 to 3.04")
    assert (gap["known"], gap["knownOf"]) == ("3.50", "ZrO₂ (mp-2)") and gap["strip"] is None
    assert (metal["interval"], metal["known"], metal["knownOf"]) == ("", "0.00", "")
    assert words.card_rows({"source": "b", "error": "No."}, [GAP], {}) == []


@pytest.mark.parametrize(
    ("formula", "source", "name"),
    [
        ("BaTiO3", "BaTiO3 (cubic perovskite)", "BaTiO₃ (cubic perovskite)"),
        ("BaTiO3", "BaTiO3.cif", "BaTiO₃ · BaTiO3.cif"),
        ("MgO", "a1 of 2.cif", "MgO · a1 of 2.cif"),
        ("", "broken.cif", "broken.cif"),
    ],
)
def test_a_crystal_is_called_by_its_formula_once(formula, source, name):
    assert words.name_of({"formula": formula, "source": source}) == name


def test_the_note_tells_that_labels_are_older_than_the_geometry_where_they_are():
    assert words.note_of(GAP) == "Labels: PBE, of MP 2018. Geometry: MP 2025."
    assert words.note_of(GAP | {"name": "band_gap_hse_ev", "method": "HSE"}) == "Labels: HSE."
    assert set(words.OLDER_LABELS) <= set(PROPERTIES)


def test_the_strip_places_prediction_and_interval_among_the_training_values():
    histogram = Histogram(edges=(0.0, 1.0, 2.0, 4.0), counts=(10, 40, 50))
    strip = words.training_strip(
        histogram, {"value": 1.5, "low": 1.0, "high": 9.0, "unit": "", "domain": "inside"}
    )
    assert strip["bars"] == [[0.0, 0.25, 0.2], [0.25, 0.25, 0.8], [0.5, 0.5, 1.0]]
    assert strip["tick"] == 0.375 and strip["band"] == [0.25, 1.0]
    assert strip["words"] == "Above 30 % of the training values"


@pytest.mark.parametrize(
    ("value", "tick", "text"),
    [(-1.0, 0.0, "Below all training values"), (9.0, 1.0, "Above all training values")],
)
def test_a_value_beyond_all_training_values_stays_on_the_strip(value, tick, text):
    strip = words.training_strip(
        Histogram(edges=(0.0, 4.0), counts=(3,)), {"value": value, "unit": "", "domain": "outside"}
    )
    assert (strip["tick"], strip["words"], strip["band"]) == (tick, text, None)


def test_a_logarithmic_property_has_a_logarithmic_strip():
    histogram = Histogram(edges=(1.0, 10.0, 100.0), counts=(1, 1))
    strip = words.training_strip(
        histogram, {"value": 10.0, "unit": "GPa", "domain": "inside"}, logarithmic=True
    )
    assert strip["tick"] == 0.5 and strip["bars"][0][:2] == [0.0, 0.5]


def test_the_table_of_a_run_gains_columns_and_none_where_nothing_is_predicted():
    assert words.run_cells(ROW, [GAP, METAL]) == {
        "band gap (eV, predicted)": 2.5,
        "probability of a metal (predicted)": 0.1,
        "training range": "◐ edge",
    }
    assert words.run_cells(None, []) == {}
    assert words.run_cells(None, [GAP]) == {"band gap (eV, predicted)": None, "training range": ""}


def test_a_small_unit_is_shown_in_one_that_people_read_with_one_pair_of_brackets():
    from dataclasses import asdict

    expansion = asdict(PROPERTIES["thermal_expansion_per_k"])
    predicted = {"value": 3.26e-05, "unit": "1/K", "low": 2e-05, "high": 4.44e-05, "domain": "inside"}
    row = ROW | {
        "predictions": {"thermal_expansion_per_k": predicted},
        "nearest": [
            {"id": "x", "formula": "TiO2", "distance": 1.0, "values": {"thermal_expansion_per_k": 3e-05}}
        ],
    }
    (line,) = words.card_rows(row, [expansion], {})
    assert (line["value"], line["unit"], line["interval"]) == ("32.6", "10⁻⁶ K⁻¹", "20.0 to 44.4")
    assert line["known"] == "30.0"
    cells = words.run_cells(row, [expansion])
    assert cells["thermal expansion (300 K, 10⁻⁶ K⁻¹, predicted)"] == 32.6
    assert words.table_row(row, [expansion])["Thermal expansion (300 K, 10⁻⁶ K⁻¹)"] == 32.6
    assert words.label_of(asdict(PROPERTIES["band_gap_hse_ev"])) == "Band gap (HSE, eV)"
