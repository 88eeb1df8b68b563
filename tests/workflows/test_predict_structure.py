"""A whole prediction: where each candidate comes from is said in full."""

import json

import pytest

from crystal_core.errors import RequestError
from crystal_core.records import crystals_of
from crystal_core.registry.card import sha256_of
from crystal_core.registry.store import find_card
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.predict_structure import run

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYSTAL_HOME", str(tmp_path_factory.mktemp("home")))
        *_, last = run(StructurePredictionRequest(formula="SrTiO3", z=(1,), n_samples=2, model="kldm-csp-perov5", sampler="em", steps=10, seed=3))
    return crystals_of(json.loads(json.dumps(last.result)))


def test_candidates_from_prototypes_name_the_table_and_the_arrangement(candidates):
    card = find_card("prototype")
    for record in candidates:
        made, origin = record["provenance"], record["origin"]
        assert ("prototype" in made) == (origin != "noise")
        if origin != "noise":
            source = made["prototype"]
            assert source["table"] == "prototype, shipped table"
            assert source["table_sha256"] == sha256_of(card.folder / "prototypes.npz")
            assert source["distance"] >= 0 and source["repeats"] == 1 and source["label"] and source["formula"]
            assert f"# prototype_label: {source['label'][:20]}" in record["cif"]
        assert made["model"] == ("prototype" if origin == "prototype" else "kldm-csp-perov5")
        assert ("nothing was generated" in made["note"]) == (origin == "prototype")
    best = next(r for r in candidates if r["origin"] == "prototype")["provenance"]["prototype"]
    assert (best["formula"], best["distance"]) == ("SrTiO3", 0)  # strontium titanate is among the members


def test_every_candidate_says_whether_it_is_known(candidates):
    assert all({"known", "nearest_id", "rmsd", "reference"} <= set(record["novelty"]) for record in candidates)
    best = next(r for r in candidates if r["origin"] == "prototype")["novelty"]
    assert best["known"] and best["nearest_formula"] == "SrTiO3"


def test_a_refined_prototype_names_the_one_it_started_from(candidates):
    def sources(origin):
        return [r["provenance"]["prototype"]["prototype"] for r in sorted(candidates, key=lambda r: r["id"]) if r["origin"] == origin]

    assert sources("prototype") and sources("prototype refined") == sources("prototype")


def test_an_element_the_model_lacks_is_said_before_any_part_of_the_run():
    updates = run(StructurePredictionRequest(formula="RfO2", z=(1,), model="kldm-csp-mp"))
    with pytest.raises(RequestError, match="does not know Rf"):
        next(updates)
