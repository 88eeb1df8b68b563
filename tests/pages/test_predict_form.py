"""The form of the Predict structure page: what it may be asked, and what a link carries into it."""

from types import SimpleNamespace

import pytest

from crystal_core.demos import find_demo
from crystal_core.jobs.queue import JobQueue
from crystal_core.reference import known_cells
from crystal_core.requests import StructurePredictionRequest, to_json
from tests.pages.opening import words
from tests.pages.prediction import finished_run, page, scan


@pytest.fixture(autouse=True)
def home(no_worker, monkeypatch):
    monkeypatch.setattr(known_cells, "known_cell", lambda _: None)  # as where no table is at hand


def test_the_form_answers_while_it_is_filled(monkeypatch):
    requests = []
    monkeypatch.setattr(
        "crystal_core.jobs.estimate.estimate_seconds",
        lambda request, known: requests.append(request) or 7.0 * request["n_samples"],
    )
    at = page(formula="SrTiO3")
    assert "About 28 s on this machine." in words(at.caption) and requests[-1]["formula"] == "SrTiO3"
    assert not [box for box in at.number_input if box.key == "n"]  # the effort decides on it
    at.button_group(key="effort").set_value("by hand").run()
    at.number_input(key="n").set_value(9).run()
    assert "About 63 s on this machine." in words(at.caption) and requests[-1]["n_samples"] == 9
    at.text_input(key="seed").set_value("abc").run()
    assert (
        "whole number" in words(at.error) and at.button(key="predict").disabled and not JobQueue().list_jobs()
    )
    at.text_input(key="seed").set_value("3").run()
    at.text_input(key="formula").set_value("SrTi3Xx").run()
    assert "unknown symbol" in words(at.error) and at.button(key="predict").disabled
    at.text_input(key="formula").set_value("KMgF3").run()
    # a slip of the pen costs no setting
    assert at.number_input(key="n").value == 9 and at.text_input(key="seed").value == "3"
    at.button(key="predict").click().run()
    (job,) = JobQueue().list_jobs()
    assert (job.request["formula"], job.request["n_samples"], job.request["seed"]) == ("KMgF3", 9, 3)
    assert at.query_params["job"] in (job.id, [job.id]) and not at.exception


@pytest.mark.parametrize(
    ("key", "message"),
    [("n", "Samples per Z must be a whole number between 1 and 50"), ("steps", "between 1 and 5000")],
)
def test_a_number_out_of_range_reaches_the_page_and_is_refused_there(key, message):
    at = page()
    at.button_group(key="effort").set_value("by hand").run()
    field = at.number_input(key=key)
    # what is beyond a field's own limits never leaves the browser
    assert field.max is None and field.min is None
    for number in (9999, -1):
        at.number_input(key=key).set_value(number).run()
        assert (
            message in words(at.error)
            and f"not {number}" in words(at.error)
            and at.button(key="predict").disabled
        )
        assert [box.label for box in at.expander if box.label == "Powder pattern"] and not at.exception
    at.number_input(key=key).set_value(3).run()
    assert not at.error and not at.button(key="predict").disabled
    at.number_input(key=key).set_value(9999).run()
    at.number_input(key="steps").set_value(0).run()
    at.button_group(key="effort").set_value("quick").run()
    assert not at.error and not at.button(key="predict").disabled  # a hidden field has no say


def test_the_number_of_samples_says_that_it_counts_the_prototypes_too():
    at = page()
    at.button_group(key="effort").set_value("by hand").run()
    assert "known crystals of the formula are always tried" in at.number_input(key="n").help


def test_the_folded_parts_of_the_form_stay_open_while_their_fields_change():
    at = page()
    folded = {"Advanced": "advanced", "Powder pattern": "pattern-shown"}
    assert not any(box.proto.expanded for box in at.expander)
    for key in folded.values():
        at.session_state[key] = True  # as the reader's click sets it
    at.run()
    at.number_input(key="steps").set_value(12).run()
    at.text_input(key="seed").set_value("blue").run()
    at.toggle(key="several").set_value(True).run()
    assert {box.label for box in at.expander if box.proto.expanded} == set(folded) and not at.exception
    at = page(
        fork=JobQueue().submit(
            "predict-structure",
            to_json(StructurePredictionRequest(formula="TiO2", pattern=scan(), rank="pattern")),
        )
    )
    assert {box.label for box in at.expander if box.proto.expanded} == {"Powder pattern"}
    at.button(key="forget-pattern").click().run()
    assert {box.label for box in at.expander if box.proto.expanded} == {"Powder pattern"}


def test_a_list_is_sent_as_runs_of_their_own(monkeypatch):
    monkeypatch.setattr("pages._ui.forms.batch.ensure_worker", lambda: None)
    at = page()
    at.toggle(key="several").set_value(True).run()
    at.text_area(key="formulas").set_value("ZnS, Xx2O3, MgO").run()
    at.button(key="predict").click().run()
    assert (
        sorted(job.request["formula"] for job in JobQueue().list_jobs()) == ["MgO", "ZnS"]
        and not at.exception
    )


@pytest.mark.parametrize("state", ["queued", "done"])
def test_a_run_opened_by_its_link_fills_the_form_with_what_it_was_made_with(state):
    request = {
        "formula": "SrTiO3",
        "z": (2, 10),
        "n_samples": 7,
        "model": "kldm-csp-perov5",
        "sampler": "em",
        "steps": 33,
        "start": "noise",
        "seed": 41,
        "relax": True,
        "rank": "pattern",
        "pattern": scan(),
    }
    job = (
        finished_run(**request)
        if state == "done"
        else JobQueue().submit("predict-structure", to_json(StructurePredictionRequest(**request)))
    )
    if state == "done":
        result = JobQueue().get(job).result
        JobQueue().update(job, result=result | {"settings": result["settings"] | {"seed": 41}})
    at = page(job=job)
    assert not at.exception and not at.error
    assert (
        at.text_input(key="formula").value,
        at.number_input(key="n").value,
        at.button_group(key="z-SrTiO3-kldm-csp-perov5").value,
    ) == (
        "SrTiO3",
        7,
        [2, 10],
    )
    assert [at.selectbox(key=key).value for key in ("model", "sampler", "start")] == [
        "kldm-csp-perov5",
        "em",
        "noise",
    ]
    assert at.number_input(key="steps").value == 33 and at.text_input(key="seed").value == "41"
    assert at.toggle(key="rank-pattern").value and "of the run is used" in words(at.caption)
    at.number_input(key="n").set_value(3).run()
    assert at.number_input(key="n").value == 3  # what is typed afterwards stays


def test_a_model_of_one_size_is_asked_for_that_size_alone():
    at = page(job="demo-strontium-titanate", fork="demo-strontium-titanate")
    at.selectbox(key="model").set_value("kldm-csp-perov5").run()
    at.text_input(key="formula").set_value("KMgF3").run()
    assert at.button_group(key="z-KMgF3-kldm-csp-perov5").value == [1] and not at.exception
    at.selectbox(key="model").set_value("kldm-csp-mp").run()
    assert at.button_group(key="z-KMgF3").value == [1, 2, 4]


def test_a_drawn_seed_is_shown_with_its_run_and_drawn_anew_for_a_changed_one():
    job = finished_run()
    seed = str(JobQueue().get(job).result["settings"]["seed"])
    assert (
        page(job=job).text_input(key="seed").value == seed
        and page(fork=job).text_input(key="seed").value == ""
    )


def test_a_run_begun_from_a_recorded_one_leaves_nothing_of_it():
    at = page(job="demo-strontium-titanate", fork="demo-strontium-titanate")
    assert "Recorded run, not one of yours" in words(at.markdown)
    at.text_input(key="formula").set_value("KMgF3").run()
    at.text_input(key="seed").set_value("").run()
    at.number_input(key="n").set_value(2).run()
    at.button(key="predict").click().run()
    queue = JobQueue()
    (job,) = queue.list_jobs()
    assert list(at.query_params) == ["job"] and job.id in at.query_params["job"]
    for _ in range(2):  # while it waits, and with its results
        assert "Recorded run" not in words(at.markdown) and not at.exception
        assert (
            at.text_input(key="formula").value,
            at.number_input(key="n").value,
            at.text_input(key="seed").value,
        ) == ("KMgF3", 2, "")
        queue.update(job.id, state="done", result=dict(find_demo("zinc-sulphide").result))
        at.run()
    assert "✓ Finished" in words(at.markdown)
    # a link of an earlier version: the run it shows comes first
    at = page(job=job.id, fork="demo-strontium-titanate")
    assert (
        "Recorded run" not in words(at.markdown)
        and at.text_input(key="formula").value == "KMgF3"
        and not at.exception
    )


def test_a_run_with_a_wrong_formula_still_opens():
    job = JobQueue().submit("predict-structure", to_json(StructurePredictionRequest(formula="Xx2O3")))
    JobQueue().update(job, state="failed", error="Formula 'Xx2O3' has an unknown symbol 'Xx'.")
    at = page(job=job)
    assert (
        "unknown symbol" in words(at.error)
        and at.title
        and at.text_input(key="formula").value == "Xx2O3"
        and not at.exception
    )


def test_a_run_that_is_changed_keeps_its_pattern_until_the_reader_drops_it(monkeypatch):
    requests = []
    monkeypatch.setattr(
        "crystal_core.jobs.estimate.estimate_seconds", lambda request, known: requests.append(request)
    )
    request = StructurePredictionRequest(
        formula="TiO2", pattern=scan() | {"name": "anatase.xy"}, rank="pattern", guide=True, relax=True
    )
    run = JobQueue().submit("predict-structure", to_json(request))
    at = page(fork=run, formula="TiO2")
    assert (
        "Pattern anatase.xy (10–69.95° 2θ, Mo Kα, 0.7107 Å) of the run is used." in words(at.caption)
        and not at.exception
        and not at.error
    )
    assert (
        requests[-1]["pattern"] == request.pattern
        and requests[-1]["rank"] == "pattern"
        and requests[-1]["guide"] is True
    )
    at.toggle(key="rank-pattern").set_value(False).run()
    assert requests[-1]["pattern"] == request.pattern and requests[-1]["rank"] == "evidence"
    at.button(key="forget-pattern").click().run()
    assert (
        requests[-1]["pattern"] is None
        and requests[-1]["guide"] is False
        and "of the run is used" not in words(at.caption)
    )
    at = page(fork=run, formula="TiO2")
    at.query_params["fork"] = ""  # another link: a new request
    at.run()
    assert requests[-1]["pattern"] is None and not requests[-1]["guide"] and not at.exception and not at.error


def test_a_run_ranked_by_energy_beside_its_pattern_stays_so(monkeypatch):
    requests = []
    monkeypatch.setattr(
        "crystal_core.jobs.estimate.estimate_seconds", lambda request, known: requests.append(request)
    )
    request = StructurePredictionRequest(
        formula="TiO2", pattern=scan() | {"wavelength": 1.2}, rank="energy", relax=True
    )
    at = page(fork=JobQueue().submit("predict-structure", to_json(request)))
    assert (requests[-1]["rank"], requests[-1]["guide"], requests[-1]["pattern"]["wavelength"]) == (
        "energy",
        False,
        1.2,
    )
    assert "1.2 Å" in words(at.caption) and not at.exception


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_uploaded_pattern_can_guide(monkeypatch, encoding):
    requests = []
    text = "\n".join(
        f"{x} {y}" for x, y in zip(scan()["two_theta"], scan()["intensity"], strict=True)
    ).encode(encoding)
    upload = [None]
    monkeypatch.setattr(
        "crystal_core.jobs.estimate.estimate_seconds", lambda request, known: requests.append(request)
    )
    monkeypatch.setattr(
        "streamlit.file_uploader", lambda label, *, key, **rest: upload[0] if key == "pattern" else None
    )
    at = page()
    assert (
        at.toggle(key="guide").disabled
        and at.toggle(key="guide").label == "Let the pattern guide sampling (experimental)"
    )
    upload[0] = SimpleNamespace(name="x/scan.xy", getvalue=lambda: text)
    at.run()
    assert (
        requests[-1]["rank"] == "pattern"
        and requests[-1]["guide"] is False
        and requests[-1]["pattern"]["name"] == "scan.xy"
    )
    at.toggle(key="guide").set_value(True).run()
    assert requests[-1]["guide"] is True and not at.exception


def test_a_changed_run_keeps_what_the_form_has_no_field_for():
    options = {"sampler": "pc", "noise_scale": 0.5, "relax_seconds": 60}
    options |= {"rank": "evidence", "relax": True}
    request = StructurePredictionRequest(formula="NaCl", n_samples=2, start="noise", **options)
    at = page(fork=JobQueue().submit("predict-structure", to_json(request)))
    assert "Also: relax seconds 60, noise scale 0.5" in words(at.caption)
    at.button(key="predict").click().run()
    sent = JobQueue().list_jobs()[0].request
    assert {name: sent[name] for name in options} == options and not at.exception


def test_candidates_by_hand_are_ranked_by_all_evidence_unless_the_run_was_by_energy(monkeypatch):
    requests = []
    monkeypatch.setattr(
        "crystal_core.jobs.estimate.estimate_seconds", lambda request, known: requests.append(request)
    )
    at = page(fork="demo-titanium-dioxide")
    assert find_demo("titanium-dioxide").request["rank"] == requests[-1]["rank"] == "evidence"
    assert "Also: rank" not in words(at.caption) and not at.exception
    at = page()
    at.button_group(key="effort").set_value("by hand").run()
    assert requests[-1]["rank"] == "evidence" and "Also:" not in words(at.caption)
    request = StructurePredictionRequest(formula="TiO2", rank="energy", relax=True)
    at = page(fork=JobQueue().submit("predict-structure", to_json(request)))
    assert requests[-1]["rank"] == "energy" and "Also: rank energy" in words(at.caption)
