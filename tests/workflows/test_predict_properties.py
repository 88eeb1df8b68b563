"""Predicting properties as a run: one row per crystal, one bad crystal loses no other,
chunks keep the order.
"""

import csv
import io
import json
import math

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.files import parse
from crystal_core.files.property_table import known_example, property_csv
from crystal_core.files.records import cell_json
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.properties import PROPERTIES, CrystalPredictions, Prediction
from crystal_core.registry.property_cards import declared_properties, predictor_cards, training_histograms
from crystal_core.requests import MAX_PREDICTED, PropertyPredictionRequest, to_json
from crystal_core.workflows import predict_properties as workflow
from tests.composition_predictor import NAMES, WITHOUT_MODULI

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)


def cubic(symbol, a=4.0):
    return Structure(Lattice.cubic(a), [symbol], [[0, 0, 0]])


def item(structure, source, **more):
    return {"source": source, **cell_json(structure), **more}


def last(request):
    *_, update = workflow.run(request)
    return update


def test_rows_are_in_order_with_units_intervals_domain_and_known_examples(composition_predictor):
    update = last(PropertyPredictionRequest(crystals=(item(SALT, "salt.cif", id="a"), item(RUTILE, "r.cif"))))
    result = update.result
    salt, rutile = result["rows"]
    assert (salt["source"], salt["id"], salt["formula"], salt["n_atoms"]) == ("salt.cif", "a", "NaCl", 8)
    assert "id" not in rutile and rutile["formula"] == "TiO2" and update.step == update.n_steps == 2
    assert tuple(salt["predictions"]) == NAMES == tuple(column["name"] for column in result["properties"])
    value = salt["predictions"]["bulk_modulus_gpa"]
    assert value["unit"] == "GPa" and value["low"] < value["value"] < value["high"] and value["std"] > 0
    assert value["domain"] == salt["domain"] == "inside" and "low" not in salt["predictions"]["is_metal"]
    assert salt["nearest"][0]["id"] == "mp-22862" and salt["nearest"][0]["distance"] == 0
    assert result["provenance"]["model"] == "crysldnet" and result["settings"]["properties"] == [*NAMES]
    json.dumps(result, allow_nan=False)


def test_only_the_chosen_properties_are_predicted_and_an_unknown_one_is_refused(composition_predictor):
    request = PropertyPredictionRequest(crystals=(item(SALT, "a"),), properties=("band_gap_ev",))
    (row,) = last(request).result["rows"]
    assert [*row["predictions"]] == ["band_gap_ev"] and all(
        [*near["values"]] == ["band_gap_ev"] for near in row["nearest"]
    )
    with pytest.raises(RequestError, match=r"no property hardness.*band_gap_ev"):
        last(PropertyPredictionRequest(crystals=(item(SALT, "a"),), properties=("hardness",)))


def test_one_bad_crystal_loses_no_other_wherever_it_fails(composition_predictor):
    sliver = Structure(Lattice.orthorhombic(30, 30, 0.4), ["Na"], [[0, 0, 0]])
    crystals = (
        {"source": "broken.cif", "error": "broken.cif: this is no CIF."},
        item(SALT, "salt.cif"),
        item(cubic("Cm"), "curium.cif"),  # refused by the model
        item(cubic("Po"), "polonium.cif"),  # the model breaks
        item(sliver, "sliver.cif"),
        {"source": "half.json", "lattice": [[1]], "atomic_numbers": [1], "frac_coords": []},
        item(RUTILE, "rutile.cif"),
    )
    rows = last(PropertyPredictionRequest(crystals=crystals)).result["rows"]
    assert [row["source"] for row in rows] == [one["source"] for one in crystals]
    assert [row["source"] for row in rows if "predictions" in row] == ["salt.cif", "rutile.cif"]
    errors = {row["source"]: row["error"] for row in rows if "error" in row}
    assert errors["broken.cif"] == "broken.cif: this is no CIF." and "plutonium" in errors["curium.cif"]
    assert "ZeroDivisionError" in errors["polonium.cif"] and "sliver" in errors["sliver.cif"]
    assert "no crystal" in errors["half.json"] and rows[2]["formula"] == "Cm"


def test_a_crystal_that_nobody_can_check_costs_only_its_own_row(composition_predictor, monkeypatch):
    def check(crystal, true_check=parse.checked_crystal):
        if crystal.composition == RUTILE.composition:
            raise ZeroDivisionError("as if")
        return true_check(crystal)

    monkeypatch.setattr(parse, "checked_crystal", check)
    odd, salt = last(PropertyPredictionRequest(crystals=(item(RUTILE, "odd"), item(SALT, "b")))).result[
        "rows"
    ]
    assert "ZeroDivisionError" in odd["error"] and "predictions" in salt


def test_long_runs_tell_how_far_they_are_and_keep_what_is_finished(composition_predictor, monkeypatch):
    monkeypatch.setattr(workflow, "CHUNK", 2)
    monkeypatch.setattr(workflow, "SECONDS_BETWEEN_RESULTS", 0.0)
    crystals = tuple(item(SALT, f"{k}.cif") for k in range(5))
    updates = list(workflow.run(to_json(PropertyPredictionRequest(crystals=crystals))))
    assert [update.step for update in updates] == [0, 2, 4, 5, 5] and updates[0].n_steps == 5
    assert [len(update.result["rows"]) for update in updates[1:]] == [2, 4, 5, 5]
    assert updates[2].stage == "4 of 5 crystals"
    predictor = workflow.load_property_predictor("crysldnet", "auto")
    assert predictor.calls == [2, 2, 1]


def test_values_that_are_no_numbers_are_an_error(composition_predictor):
    class Infinite:
        def predict(self, crystals, properties=(), on_progress=None):
            return [
                CrystalPredictions(predictions={"band_gap_ev": Prediction(value=math.inf)}, domain="inside")
            ]

    (row,) = workflow.property_rows([item(SALT, "a")], Infinite(), (PROPERTIES["band_gap_ev"],))
    assert row["error"] == workflow.NOT_FINITE and "predictions" not in row


def test_requests_are_checked_and_survive_json():
    request = PropertyPredictionRequest(crystals=(item(SALT, "a"),), properties=("band_gap_ev",))
    again = json.loads(json.dumps(to_json(request)))
    assert PropertyPredictionRequest(**{**again, "crystals": tuple(again["crystals"]), "properties": ("x",)})
    for crystals, words in (
        ((), "Nothing to predict"),
        (({"source": "a"},), "needs its source"),
        (({"source": "a", "error": "no"},) * (MAX_PREDICTED + 1), "too many"),
    ):
        with pytest.raises(RequestError, match=words):
            PropertyPredictionRequest(crystals=crystals)
    with pytest.raises(RequestError, match="names such as"):
        PropertyPredictionRequest(crystals=(item(SALT, "a"),), properties="band_gap_ev")


def test_a_missing_predictor_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    assert predictor_cards() == {} and declared_properties("crysldnet") == ()
    with pytest.raises(CheckpointMissing, match="crysldnet"):
        last(PropertyPredictionRequest(crystals=(item(SALT, "a"),)))


def test_cards_declare_properties_and_their_training_values(composition_predictor):
    assert list(predictor_cards()) == ["crysldnet"]
    assert tuple(spec.name for spec in declared_properties("crysldnet")) == NAMES
    histogram = training_histograms("crysldnet")["bulk_modulus_gpa"]
    assert len(histogram.edges) == 5 and sum(histogram.counts) == 6
    shares = [histogram.share_below(edge) for edge in histogram.edges]
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)


def test_the_worker_runs_it_and_the_store_gives_it_back(composition_predictor, tmp_path):
    queue = JobQueue(tmp_path / "home")
    request = PropertyPredictionRequest(crystals=(item(SALT, "a"), {"source": "b", "error": "No."}))
    job = queue.submit("predict-property", to_json(request))
    run_job(queue, queue.take(), RUNNERS)
    done = queue.get(job)
    assert done.state == "done" and not done.damaged, done.error
    assert done.result["rows"][1] == {"source": "b", "error": "No."} and done.step == done.n_steps == 2


def test_the_table_has_a_column_per_number_and_names_no_formula_of_a_spreadsheet(composition_predictor):
    crystals = (item(SALT, "=cmd()"), {"source": "b.cif", "error": "-no"}, item(cubic("Ba", 5.0), "ba.cif"))
    result = last(
        PropertyPredictionRequest(crystals=crystals, properties=("band_gap_ev", "bulk_modulus_gpa"))
    ).result
    text = property_csv(result["rows"], result["properties"])
    salt, bad, barium = csv.DictReader(io.StringIO(text))
    assert text.splitlines()[0].startswith("source,formula,n_atoms,domain,band_gap_ev,band_gap_ev_low")
    assert text.splitlines()[0].endswith(",error") and salt["source"] == "'=cmd()" and bad["error"] == "'-no"
    assert float(salt["band_gap_ev"]) == result["rows"][0]["predictions"]["band_gap_ev"]["value"]
    assert bad["band_gap_ev"] == "" and salt["bulk_modulus_gpa_known_id"] == "mp-22862"
    # the closest example has no modulus, so the next one that has is named
    assert barium["band_gap_ev_known_id"] == WITHOUT_MODULI != barium["bulk_modulus_gpa_known_id"] != ""
    assert known_example(result["rows"][2], "hardness") is None
    # somebody's own property
    own = [column | {"name": f"={column['name']}"} for column in result["properties"]]
    assert "=" not in {name[:1] for name in property_csv(result["rows"], own).splitlines()[0].split(",")}
