"""A whole prediction: where each candidate comes from is said in full."""

import json
from dataclasses import replace

import pytest

from crystal_core.cards import sha256_of
from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import MemoryFull, RequestError
from crystal_core.records import crystals_of
from crystal_core.registry.store import find_card
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows import predict_structure, prediction_plan
from crystal_core.workflows.evaluate_csp import draw_candidates
from crystal_core.workflows.predict_structure import run
from crystal_core.workflows.prediction_plan import load_structure_generator, notes_on
from crystal_core.workflows.references import Reference

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYSTAL_HOME", str(tmp_path_factory.mktemp("home")))
        *_, last = run(
            StructurePredictionRequest(
                formula="SrTiO3", z=(1,), n_samples=2, model="kldm-csp-perov5", sampler="em", steps=10, seed=3
            )
        )
    return crystals_of(json.loads(json.dumps(last.result)))


def test_candidates_from_prototypes_name_the_table_and_the_arrangement(candidates):
    card = find_card("prototype")
    for record in candidates:
        provenance, origin = record["provenance"], record["origin"]
        assert ("prototype" in provenance) == (origin != "noise")
        if origin != "noise":
            source = provenance["prototype"]
            assert source["table"] == "prototype, shipped table"
            assert source["table_sha256"] == sha256_of(card.folder / "prototypes.npz")
            assert (
                source["distance"] >= 0 and source["repeats"] == 1 and source["label"] and source["formula"]
            )
            assert f"# prototype_label: {source['label'][:20]}" in record["cif"]
        assert provenance["model"] == ("prototype" if origin == "prototype" else "kldm-csp-perov5")
        assert ("nothing was generated" in provenance["note"]) == (origin == "prototype")
    best = next(r for r in candidates if r["origin"] == "prototype")["provenance"]["prototype"]
    assert (best["formula"], best["distance"]) == ("SrTiO3", 0)  # strontium titanate is among the members
    assert f"{best['members']} known" in best["label"]


def test_every_candidate_says_whether_it_is_known(candidates):
    assert all(
        {"known", "nearest_id", "rmsd", "reference"} <= set(record["novelty"]) for record in candidates
    )
    best = next(r for r in candidates if r["origin"] == "prototype")["novelty"]
    assert best["known"] and best["nearest_formula"] == "SrTiO3"


def test_a_refined_prototype_names_the_one_it_started_from(candidates):
    def sources(origin):
        return [
            r["provenance"]["prototype"]["prototype"]
            for r in sorted(candidates, key=lambda r: r["id"])
            if r["origin"] == origin
        ]

    assert sources("prototype") and sources("prototype refined") == sources("prototype")


@pytest.mark.parametrize(
    ("formula", "z", "n", "wanted"),
    [
        ("Al2O3", 2, 4, {"AFLOW A2B3_hR10_167_c_e"}),
        ("C", 2, 1, {"AFLOW A_cF8_227_a"}),
        ("C", 4, 1, {"AFLOW A_hP4_194_f"}),
        ("TiO2", 2, 1, {"AFLOW A2B_tP6_136_f_a", "AFLOW A2B_tI12_141_e_a"}),
    ],
)
def test_all_known_crystals_of_the_formula_are_tried_however_few_samples_are_asked_for(
    monkeypatch, tmp_path, formula, z, n, wanted
):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    *_, last = run(
        StructurePredictionRequest(
            formula=formula, z=(z,), n_samples=n, model="prototype", start="prototype", seed=0
        )
    )
    sources = [record["provenance"]["prototype"] for record in crystals_of(last.result)]
    assert wanted <= {source["label"].split(", ")[-1] for source in sources}
    known = [source["distance"] == 0 for source in sources]
    assert n < len(sources) <= prediction_plan.MOST_KNOWN
    assert sum(known) >= len(wanted)
    assert any(known[n:])  # what the few samples alone would have left out


def test_beyond_known_crystals_as_many_prototypes_are_tried_as_samples_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    for n, n_prototypes in ((3, 3), (9, prediction_plan.MOST_PROTOTYPES)):
        *_, last = run(
            StructurePredictionRequest(
                formula="SrTiO3", z=(1,), n_samples=n, model="prototype", start="prototype", seed=0
            )
        )
        assert len(crystals_of(last.result)) == n_prototypes


def build_request(**options):
    return StructurePredictionRequest(
        model="kldm-csp-perov5", sampler="em", steps=3, seed=3, start="noise", **options
    )


@pytest.mark.weights
def test_a_tuning_holds_for_the_parts_of_a_run_that_have_a_corrector(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    model = predict_structure.load_structure_generator("kldm-csp-perov5", "auto")
    sample, requests = model.sample, []
    monkeypatch.setattr(model, "sample", lambda request: requests.append(request) or sample(request))
    options_of_run = {
        "formula": "SrTiO3",
        "z": (1,),
        "n_samples": 1,
        "model": "kldm-csp-perov5",
        "steps": 2,
        "seed": 3,
    }
    # "fast": pc from noise, ode in refining
    *_, last = run(StructurePredictionRequest(**options_of_run, tau=0.3))
    assert [(request.start is None, request.tau) for request in requests] == [(True, 0.3), (False, None)]
    assert last.result["settings"]["tau"] == last.result["settings"]["tau_used"] == 0.3
    for options, sentence in (
        ({"start": "prototype", "tau": 0.3}, "kldm-csp-perov5 samples with ode here, which has no corrector"),
        ({"model": "prototype", "tuning": "published"}, "prototype has no sampler to tune, so --tuning"),
    ):
        with pytest.raises(RequestError, match=sentence):
            next(run(StructurePredictionRequest(**options_of_run | options)))


def test_many_samples_are_finished_in_batches_and_the_first_are_those_of_a_smaller_run(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    monkeypatch.setitem(predict_structure.BATCH, "cpu", 2)
    updates = list(run(build_request(formula="SrTiO3", z=(1,), n_samples=5)))
    finished = [
        len(crystals_of(update.result)) + update.result["n_failed"] for update in updates if update.result
    ]
    assert finished == [2, 4, 5, 5]  # a cancelled run keeps whole batches
    stages = list(dict.fromkeys(update.stage for update in updates))
    assert stages == [
        f"Z = 1, from noise, samples {part} of 5" for part in ("1 to 2", "3 to 4", "5 to 5")
    ] + ["done"]
    steps = [update.step for update in updates]
    assert steps == sorted(steps) and steps[-1] == updates[-1].n_steps
    *_, few = run(build_request(formula="SrTiO3", z=(1,), n_samples=2))
    cells = {record["id"]: record["lattice"] for record in crystals_of(updates[-1].result)}
    assert (
        all(record["lattice"] == cells[record["id"]] for record in crystals_of(few.result))
        and len(cells) + updates[-1].result["n_failed"] == 5
    )


def test_a_batch_that_the_memory_does_not_hold_is_sampled_in_halves_and_that_is_said(
    monkeypatch, tmp_path, limit_memory
):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    request = replace(build_request(formula="SrTiO3", z=(1,), n_samples=4), steps=20)
    model = predict_structure.load_structure_generator(request.model, "cpu")
    monkeypatch.setattr(predict_structure, "load_structure_generator", lambda *_: model)
    room = limit_memory(model, 2)
    *_, last = run(request)
    crystals = crystals_of(last.result)
    assert len(crystals) + last.result["n_failed"] == 4 and any(
        "smaller batches" in note for note in last.result["notes"]
    )
    # the halves draw their own noise
    assert len({tuple(record["frac_coords"][1]) for record in crystals}) == len(crystals) > 2
    room[0] = 1
    with pytest.raises(MemoryFull, match="fewer atoms"):
        list(run(request))
    known = Reference(id="x", atomic_numbers=(38, 22, 8, 8, 8), structure=None)
    with pytest.raises(MemoryFull, match="fewer atoms"):  # an evaluation does not halve, and says it
        draw_candidates(model, [known], samples=2, sampler="em", steps=2)


def test_multiples_of_a_formula_and_cells_beyond_the_training_are_told():
    *_, last = run(build_request(formula="Sr2Ti2O6", z=(1,), n_samples=1))
    (note,) = last.result["notes"]
    assert "Sr2Ti2O6 is a multiple of SrTiO3" in note
    options = {
        "model": "kldm-csp-mp",
        "sampler": "em",
        "steps": 1,
        "seed": 0,
        "start": "noise",
        "n_samples": 1,
    }
    *_, last = run(StructurePredictionRequest(formula="TiO2", z=(8,), **options))
    assert last.result["notes"] == [
        "kldm-csp-mp was trained on cells of up to 20 atoms; cells of 24 atoms are a guess."
    ]
    *_, last = run(StructurePredictionRequest(formula="TiO2", z=(1,), **options))
    assert last.result["notes"] == []


def test_cells_that_the_model_does_not_sample_are_named():
    request = StructurePredictionRequest(formula="LiFePO4", effort="thorough", seed=0)
    formula, model = parse_formula("LiFePO4"), load_structure_generator("kldm-csp-mp", "cpu")
    sampled, large = ({z: tuple(formula.atomic_numbers_of(z)) for z in some} for some in ((1, 2), (4,)))
    (note,) = notes_on(request, formula, sampled, model, sampled | large)
    assert note == (
        "kldm-csp-mp samples cells of 7, 14 atoms; "
        "cells of 28 atoms come from known crystals and prototypes alone."
    )
    assert notes_on(request, formula, sampled, model, sampled) == []
    alone = replace(request, model="prototype")  # what a quicker effort makes of it
    assert notes_on(alone, formula, {}, load_structure_generator("prototype", "cpu"), large) == []


def test_an_element_the_model_lacks_is_said_before_any_part_of_the_run():
    updates = run(StructurePredictionRequest(formula="RfO2", z=(1,), model="kldm-csp-mp"))
    with pytest.raises(RequestError, match="does not know Rf"):
        next(updates)
