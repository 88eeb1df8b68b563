"""The cards' own numbers reach the page: the parts of a match rate, the refinement, and the notes."""

import pytest

from crystal_core.registry.store import find_card, list_cards
from pages._ui.card_tables import (
    measured,
    metric_row,
    metric_words,
    part_rows,
    parts_table,
    percent,
    refine_rows,
    sampling_notes,
)
from pages._ui.tables import filled, lettered
from tests.pages.opening import run_page, words

METRIC = {
    "value": 0.322,
    "atoms_11_to_20": 0.0522,
    "atoms_1_to_5": 0.6748,
    "atoms_6_to_10": 0.3293,
    "seen_formulas": 0.2527,
    "unseen_formulas": 0.348,
    "seen_formulas_n": 273,
    "unseen_formulas_n": 727,
    "second_filter_match_rate": 0.299,
    "second_filter_ci95": [0.2714, 0.3281],
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))


def test_the_parts_of_a_match_rate_stand_in_order_with_their_counts():
    assert [(row["part"], row["value"]) for row in part_rows(METRIC)] == [
        ("cells of 1 to 5 atoms", "67.5 %"),
        ("cells of 6 to 10 atoms", "32.9 %"),
        ("cells of 11 to 20 atoms", "5.2 %"),
        ("formulas in the training", "25.3 % of 273"),
        ("formulas outside the training", "34.8 % of 727"),
        ("only sound, charge-balanced cells (DiffCSP's filter)", "29.9 % (27.1 – 32.8 %)"),
    ]


def test_a_number_without_parts_has_no_table_and_one_size_class_is_none():
    assert part_rows({"value": 0.5, "ci95": [0.4, 0.6], "n": 100}) == []
    assert part_rows({"value": 0.5, "atoms_1_to_5": 0.5}) == []
    by_size = {"1-5": 0.963, "11-25": 0.7109}
    assert part_rows({"value": 0.86, "by_n_atoms": by_size}) == [
        {"part": "cells of 1 to 5 atoms", "value": "96.3 %"},
        {"part": "cells of 11 to 25 atoms", "value": "71.1 %"},
    ]
    assert part_rows({"value": 0.7, "wdist_density": 1.0115, "novel_loose": 0.97}) == [
        {"part": "new, loose tolerances", "value": "97.0 %"},
        {"part": "Wasserstein distance, density", "value": "1.012 g/cm³"},
    ]


def test_prototypes_as_placed_stand_before_the_refined_ones():
    table = {
        "sampler": ["ode", "pc"],
        "start_time": [0.01, 0.1],
        "network_calls": [20, 20],
        "match_rate": [0.7367, 0.6567],
        "rmse": [0.0364, ""],
        "without_refinement_match_rate": 0.74,
        "without_refinement_rmse": 0.0371,
    }
    rows = refine_rows(table)
    assert [tuple(row.values()) for row in rows] == [
        ("as placed", "–", "0", "74.0 %", "0.037"),
        ("ode", "0.01", "20", "73.7 %", "0.036"),
        ("pc", "0.1", "20", "65.7 %", "–"),
    ]


def test_measured_numbers_are_named_in_words_and_those_on_test_rows_come_first():
    result = {"value": 0.513, "ci95": [0.482, 0.5439], "n": 1000, "protocol": "100 crystals, pc, 50 steps"}
    names = ["cov_recall_val", "match_rate_val_relaxed", "cov_recall_test", "note", "match_rate_test"]
    metrics = {name: result if name.startswith("cov") else {"value": 0.5} for name in names} | {
        "note": "not a number"
    }
    assert list(measured(metrics)) == [
        "cov_recall_test",
        "match_rate_test",
        "cov_recall_val",
        "match_rate_val_relaxed",
    ]
    assert metric_row("cov_recall_val", result)["metric"] == "coverage, recall (validation, 100 made)"
    assert metric_words("match_rate_val_relaxed", {}) == "match rate (validation, relaxed)"
    assert (
        metric_words("space_group_match_kldm_test", {})
        == "space group of the prompt met (refined by KLDM, test)"
    )
    assert (
        metric_words("match_rate_smact_shipped_6-10_atoms", {})
        == "match rate, charge-balanced cells only (table as shipped, cells of 6 to 10 atoms)"
    )
    assert (
        metric_words("valid_val", {}) == "both valid (validation)"
        and metric_words("some_new_number", {}) == "some new number"
    )
    for card in list_cards():
        words = [metric_words(name, metric) for name, metric in measured(card.metrics).items()]
        assert len(set(words)) == len(words) and not any(
            "_" in one or " val" in one.replace(" valid", "") for one in words
        )


def test_parts_of_several_numbers_stand_side_by_side():
    metrics = {
        "match_rate_test": {"atoms_1_to_5": 0.5, "atoms_6_to_10": 0.25, "seen_formulas": 0.3},
        "match_rate_val": {"atoms_1_to_5": 0.6, "atoms_6_to_10": 0.2},
    }
    assert parts_table(metrics) == [
        {"part": "cells of 1 to 5 atoms", "match rate (test)": "50.0 %", "match rate (validation)": "60.0 %"},
        {
            "part": "cells of 6 to 10 atoms",
            "match rate (test)": "25.0 %",
            "match rate (validation)": "20.0 %",
        },
        {"part": "formulas in the training", "match rate (test)": "30.0 %"},
    ]


def test_columns_without_a_number_are_left_out_and_a_single_gap_is_none():
    rows = filled(
        [{"no.": 1, "RMSD": None, "why": ""}, {"no.": 2, "RMSD": None, "above hull": 0.1, "why": "lone atom"}]
    )
    assert rows == [
        {"no.": 1, "why": None, "above hull": None},
        {"no.": 2, "why": "lone atom", "above hull": 0.1},
    ]


def test_every_card_can_be_shown():
    for card in list_cards():
        metrics = measured(card.metrics)
        assert sum(len(row) - 1 for row in parts_table(metrics)) == sum(
            len(part_rows(metric)) for metric in metrics.values()
        )
        assert all(isinstance(note, str) for note in sampling_notes(card.sampling))


def test_the_page_tells_what_the_cards_tell():
    at = run_page("models")
    assert not at.exception and not at.error
    cells = {str(cell) for table in at.dataframe for cell in table.value.to_numpy().ravel()}
    captions = " ".join(caption.value.replace("\\", "") for caption in at.caption)
    card = find_card("kldm-csp-mp")
    metric = card.metrics["match_rate_test"]
    assert (
        percent(metric["atoms_11_to_20"]) in cells
        and f"{percent(metric['unseen_formulas'])} of {metric['unseen_formulas_n']}" in cells
    )
    assert percent(metric["second_filter_match_rate"], metric["second_filter_ci95"]) in cells
    assert {"as placed", percent(max(card.sampling["refine_table"]["match_rate"]))} <= cells
    generated = find_card("kldm-dng-mp").metrics
    shares = {percent(generated[f"{key}_test"]["value"]) for key in ("cov_recall", "novel", "unique")}
    numbers = next(table.value for table in at.dataframe if shares <= set(table.value.get("value", ())))
    assert "RMSE" not in numbers.columns and "(test, 1,000 made)" in numbers["metric"][0]
    for text in (
        card.sampling["table"]["note"],
        card.sampling["refine_table"]["note"],
        card.sampling["tau_note"],
    ):
        assert text in captions


def test_errors_of_a_predictor_stand_with_their_unit_and_the_published_value():
    from pages._ui.property_table import property_rows

    metric = {
        "metric": "MAE",
        "value": 0.04912,
        "unit": "eV/atom",
        "ci95": [0.047, 0.0513],
        "n": 2705,
        "coverage90": 0.897,
    }
    rows = property_rows({"mae_formation_energy_per_atom_ev_test": metric, "mae_band_gap_ev_val": metric})
    # validation rows are no measure
    assert [row["property"] for row in rows] == ["Formation energy (eV/atom)"]
    assert rows[0]["value (95 % interval)"] == "0.049 (0.047–0.051)"
    assert rows[0]["90 % intervals hold"] == "90 %"
    assert rows[0]["published"] == "0.015 (CrysLDNet)" and "MEGNet split" in rows[0]["published on"]


def test_a_part_tells_how_other_ways_to_train_it_compare():
    from pages._ui.property_table import fit_rows

    entry = {
        "way": "lora",
        "share": 0.2,
        "start": "band_gap_ev",
        "metric": "MAE",
        "unit": "eV",
        "value": 0.3111,
        "ci95": [0.27, 0.35],
        "std": 0.004,
        "n": 468,
        "n_train": 538,
        "validation_mae": 0.3,
        "not_seen": 0.33,
        "n_not_seen": 270,
        "protocol": "a tenth",
    }
    (row,) = fit_rows({"mae_band_gap_hse_ev_test": {"value": 0.3}, "mae_band_gap_hse_ev_test_lora": entry})
    assert row["trained"] == "low-rank changes and heads, from those of Band gap (PBE)"
    assert (row["labels"], row["test"], row["error"]) == ("538", "0.311", "MAE (eV)")
    assert row["crystals new to the encoder"] == "0.33 (n 270)"


def test_a_small_unit_is_shown_in_one_that_people_read():
    from pages._ui.property_table import property_rows

    metric = {"metric": "MAE", "value": 4.439e-06, "unit": "1/K", "ci95": [3.5e-06, 5.5e-06], "n": 735}
    (row,) = property_rows({"mae_thermal_expansion_per_k_test": metric})
    assert row["property"] == "Thermal expansion (300 K, 10⁻⁶ K⁻¹)"
    assert row["value (95 % interval)"] == "4.4 (3.5–5.5)"


def test_an_error_is_no_share():
    metric = {"metric": "MAE", "value": 0.5591, "unit": "eV", "shuffled": 0.683, "correlation": 0.43}
    row = metric_row("band_gap_mae_generated_val", metric)
    assert row["metric"] == "distance from the target band gap (new crystals, validation)"
    assert row["value"] == "0.56 eV"
    assert [part["value"] for part in part_rows(metric)] == ["0.683", "0.430"]


def test_the_worth_of_pretraining_stands_on_the_card_with_its_seeds():
    from pages._ui.property_table import pretraining_rows

    rows = pretraining_rows(find_card("crysldnet").extra)
    (scratch,) = [
        row
        for row in rows
        if row["encoder"].startswith("PDDFormer, relative")
        and row["pretraining"] == "none"
        and row["labels"] == "3,857"
    ]
    assert scratch["error"] == "0.101 ± 0.00706" and scratch["seeds"] == 3
    assert "441 validation rows" in scratch["protocol"]


def test_texts_too_long_for_a_cell_are_lettered_and_told_once():
    protocol = {"value": 0.5, "data": "mp20", "protocol": "1000 rows, pc"}
    metrics = {"match_rate_test": protocol, "valid_test": protocol, "new_test": protocol | {"data": "mp"}}
    rows, texts = lettered(
        [metric_row(name, one) for name, one in metrics.items()], "measured as", ["measured on", "protocol"]
    )
    assert [row["measured as"] for row in rows] == ["a", "a", "b"] and "protocol" not in rows[0]
    assert texts == ["a: mp20: 1000 rows, pc", "b: mp: 1000 rows, pc"]


def test_every_protocol_of_a_card_can_be_read_in_full():
    at = run_page("models")
    protocols = {
        metric["protocol"]
        for card in list_cards()
        if card.name == "kldm-csp-mp"
        for metric in measured(card.metrics).values()
    }
    captions = words(at.caption).replace("\\", "")
    assert protocols and all(protocol in captions for protocol in protocols) and not at.exception


def test_the_property_page_tells_the_errors_of_its_model_before_any_run():
    at = run_page("property_predictor")
    (table,) = [frame.value for frame in at.dataframe]
    assert table["property"].iloc[0] == "Formation energy (eV/atom)"
    assert len(table) == len(measured(find_card("crysldnet").metrics)) and not at.exception
