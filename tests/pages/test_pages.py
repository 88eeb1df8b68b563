"""Every page by itself: it runs, explains mistakes, and shows no trace."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import streamlit as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from streamlit.testing.v1 import AppTest

from crystal_core.demos import find_demo, list_demos
from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, WARM_UP, expect_run, run_job
from crystal_core.records import crystals_of
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest, to_json
from pages._ui.run.calls import as_command, as_python
from pages._ui.run.progress import _live
from pages._ui.text import duration
from tests.pages.opening import run_page as page

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(no_worker):
    """A home of its own."""


@pytest.mark.parametrize("name", ["home", "generate", "predict_structure", "viewer", "history", "models"])
def test_page_runs(name):
    at = page(name)
    assert not at.exception and not at.error
    assert at.title


@pytest.mark.parametrize("name", ["home", "generate", "predict_structure", "history"])
def test_pages_that_can_ask_for_a_prediction_have_a_worker_warm_up(name, monkeypatch):
    started = []
    monkeypatch.setattr("crystal_core.jobs.worker.expect_run", expect_run)
    monkeypatch.setattr(
        "crystal_core.jobs.worker.ensure_worker", lambda *_, warm_up="": started.append(warm_up)
    )
    app = page("history")
    started.clear()
    app.switch_page(f"pages/{name}.py").run()
    assert started == ([] if name == "history" else [WARM_UP])


def test_home_leads_with_a_run_whose_headline_is_the_textbooks(monkeypatch):
    cards = []
    monkeypatch.setattr("pages._ui.run.demos.crystal_links", lambda items, **_: cards.append(items))
    assert not page("home").exception
    assert cards[-1][0]["title"] == "ZnS · zinc blende" and len(cards[-1]) == len(list_demos())


def test_home_leads_to_every_page_that_makes_compares_or_shows_crystals():
    targets = {link.proto.page for link in page("home").get("page_link")}
    assert {"generate", "predict_structure", "property_predictor", "compare", "viewer"} <= targets


def test_a_wrong_formula_explains_itself():
    at = page("predict_structure")
    at.text_input(key="formula").set_value("Xx2O3").run()
    assert "Did you mean" in at.error[0].value and not at.exception


def test_a_bad_structure_text_explains_itself():
    at = page("viewer")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value("this is no crystal </script>").run()
    assert at.error and not at.exception


def test_a_trajectory_is_played_with_its_energies(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "pages._ui.crystal.path.crystal_viewer", lambda scene, *, frames, **_: drawn.extend(frames)
    )
    cell = 'Lattice="4.2 0 0 0 4.2 0 0 0 4.2" Properties=species:S:1:pos:R:3:forces:R:3'
    frame = f"2\n{cell} energy={{}}\nCs 0 0 0 0 0 1\nBr 2.1 2.1 {{}} 0 0 2\n"
    at = page("viewer")
    at.button_group(key="how").set_value("Paste").run()
    at.text_area(key="text").set_value("".join(frame.format(-k, 2.1 + k / 10) for k in range(4))).run()
    assert not at.exception and not at.error
    assert len(drawn) == 4 and [round(one["sites"][1]["f"][2], 2) for one in drawn] == [0.5, 0.52, 0.55, 0.57]
    assert at.slider(key="viewer-frame").value == 4
    charts = (json.loads(one.proto.spec) for one in at.get("plotly_chart"))
    (chart,) = (one for one in charts if "energy (eV)" in str(one["layout"].get("yaxis")))
    assert chart["data"][0]["y"] == [0, -1, -2, -3]
    assert "tozero" not in str(chart["layout"])  # total energies are far from zero and close to each other
    assert "Colour: Force" in at.selectbox(key="viewer-path-colour").options
    assert any("Frame 4 of 4" in box.value for box in at.caption), [box.value for box in at.caption]


def test_a_process_that_a_computation_spawns_does_not_open_a_page(monkeypatch):
    """Spawned processes run the file of their parent's main module again, under this name."""

    def navigation(*_, **__):
        raise AssertionError

    monkeypatch.setattr(st, "navigation", navigation)
    runpy.run_path(str(ROOT / "app.py"), run_name="__mp_main__")
    with pytest.raises(AssertionError):
        runpy.run_path(str(ROOT / "app.py"), run_name="__main__")


def test_a_link_fills_the_form_and_typing_afterwards_stays():
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.query_params["formula"] = "SrTiO3"
    at.switch_page("pages/predict_structure.py").run()
    assert at.text_input(key="formula").value == "SrTiO3"
    at.text_input(key="formula").set_value("NaCl").run()
    assert at.text_input(key="formula").value == "NaCl" and not at.exception


def test_a_run_of_the_history_fills_the_form_it_came_from():
    request = StructurePredictionRequest(
        formula="MgO", z=(1, 4), n_samples=7, model="kldm-csp-perov5", sampler="em", start="noise"
    )
    job = JobQueue().submit("predict-structure", to_json(request))
    JobQueue().cancel(job)
    at = page("history")
    assert "MgO" in at.dataframe[0].value["request"].tolist() and not at.exception
    at.query_params["fork"] = job
    at.switch_page("pages/predict_structure.py").run()
    assert (
        at.text_input(key="formula").value,
        at.selectbox(key="model").value,
        at.selectbox(key="sampler").value,
    ) == (
        "MgO",
        "kldm-csp-perov5",
        "em",
    )
    assert at.number_input(key="n").value == 7


def test_the_calls_shown_for_a_run_are_the_run():
    request = StructurePredictionRequest(formula="Ca3(PO4)2", z=(1,), n_samples=2, seed=5)
    job = JobQueue().get(JobQueue().submit("predict-structure", to_json(request)))
    assert "'Ca3(PO4)2'" in as_command(job) and "--seed 5" in as_command(job)
    scope = {}
    exec(as_python(job).split("\n\n")[0], scope)
    call = as_python(job).split("run(")[1].rsplit(")\n", 2)[0]
    assert eval(call, scope) == request


def test_a_recorded_run_opens_at_once_and_says_what_it_is():
    candidates = len(crystals_of(find_demo("titanium-dioxide").result))
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.query_params["job"] = at.query_params["fork"] = "demo-titanium-dioxide"
    at.switch_page("pages/predict_structure.py").run()
    assert not at.exception and not at.error
    assert (
        "Recorded run, not one of yours] :small[kldm" in at.markdown[0].value.replace("\\", "")
        and "seed 0" in at.markdown[0].value
    )
    assert f":green-badge[✓ Finished] :small[{candidates} candidates" in at.markdown[1].value
    assert (
        at.selectbox(key="model").value,
        at.text_input(key="seed").value,
        at.number_input(key="n").value,
    ) == ("kldm-csp-mp", "0", 4)
    assert not JobQueue().list_jobs()  # nor does the history take it for one
    at.query_params["job"] = "demo-nonsense"
    at.run()
    assert "deleted" in at.warning[0].value and not at.exception


def test_new_energies_of_a_running_job_are_seen(monkeypatch):
    seen = []
    monkeypatch.setattr("pages._ui.run.progress.ensure_worker", lambda: None)
    monkeypatch.setattr("pages._ui.run.progress.has_changed", lambda _, value: seen.append(str(value)))
    queue = JobQueue()
    job = queue.submit("predict-structure", to_json(StructurePredictionRequest(formula="ZnS")))
    result = json.loads(json.dumps(find_demo("zinc-sulphide").result))
    record = crystals_of(result)[0]
    record.pop("energies", None)
    for more in ({}, {"relaxation": {"error": "Too dense."}}, {"energies": {}, "relaxation": {}}):
        record.pop("relaxation", None)
        record.update(more)
        queue.update(job, state="running", result=result)
        _live.__wrapped__(job, lambda _: None)
    assert len(set(seen)) == 3


def test_an_entry_that_no_run_can_hold_refuses_nothing_else():
    at = page("predict_structure")
    at.toggle(key="several").set_value(True).run()
    at.text_area(key="formulas").set_value("![x](http://elsewhere.invalid/a.png)").run()
    assert "elsewhere" in at.error[0].value and "![" not in at.error[0].value and not at.exception
    at.text_area(key="formulas").set_value(",".join(f"Si{n}O{n + 1}" for n in range(1, 30))).run()
    assert "29 formulas" in at.error[0].value and not at.exception


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_relaxing_is_the_recommended_path_and_its_results_say_what_ranks_them():
    request = StructurePredictionRequest(
        formula="NaCl",
        z=(1,),
        n_samples=2,
        model="prototype",
        start="prototype",
        seed=5,
        rank="energy",
        relax=True,
        device="cpu",
    )
    queue = JobQueue()
    queue.submit("predict-structure", to_json(request))
    job = queue.take()
    run_job(queue, job, RUNNERS)
    at = page("predict_structure")
    at.button_group(key="effort").set_value("by hand").run()
    assert at.toggle(key="relax").value is True
    at.query_params["job"] = job.id
    at.run()
    assert not at.exception
    assert any("Ranked by energy (CHGNet" in caption.value for caption in at.caption)
    assert {"Energy (eV/atom, ML estimate)", "Above the hull (eV/atom, ML estimate)", "Atoms moved (Å)"} <= {
        metric.label for metric in at.metric
    }
    (ways,) = [group for group in at.button_group if str(group.key).startswith("way-")]
    ways.set_value("As sampled").run()
    assert not at.exception
    table = at.dataframe[-1].value
    assert (
        "above hull (eV/atom, ML estimate)" in table.columns
        and table["energy (eV/atom)"].is_monotonic_increasing
    )
    assert (
        "--relax --rank energy" in as_command(job)
        and "rank='energy'" in as_python(job)
        and "relax=True" in as_python(job)
    )
    assert "relax" not in as_command(
        JobQueue().get(
            JobQueue().submit("predict-structure", {**to_json(request), "relax": False, "rank": "consensus"})
        )
    )


def test_a_crystal_can_be_copied_in_words():
    words = page("viewer").code[0].value
    assert words.startswith("BaTiO3, 5 atoms, a = 4.010 Å") and "Space group Pm-3m within 0.1 Å." in words
    assert "Ti to 6 O at 2.005 Å" in words and "Ba to" not in words


@pytest.mark.parametrize("made_by_a_model", [True, False])
def test_the_pattern_of_a_models_crystal_is_that_of_the_idealised_cell_unless_asked_for_as_it_is(
    made_by_a_model, monkeypatch
):
    def script():
        import streamlit as st
        from pymatgen.core import Lattice, Structure

        from pages._ui.crystal.detail import show_structure

        cell = Structure(
            Lattice.from_parameters(3.9, 3.93, 3.88, 90.2, 90, 89.9),
            ["Sr", "Ti", "O", "O", "O"],
            [[0.004, 0, 0], [0.5, 0.503, 0.5], [0.5, 0.5, 0.003], [0.5, 0.004, 0.5], [0, 0.5, 0.5]],
        )
        show_structure(cell, key="a", provenance={"model": "m"} if st.session_state["made"] else None)

    patterns = []
    st.cache_data.clear()  # a figure that was drawn before is not made again
    monkeypatch.setattr(
        "pages._ui.crystal.diffraction.xrd_figure",
        lambda sticks, *rest, **scale: patterns.append(sticks) or xrd_figure(sticks, *rest, **scale),
    )
    at = AppTest.from_function(script, default_timeout=90)
    at.session_state["made"] = made_by_a_model
    at.run()
    assert not at.exception
    if made_by_a_model:
        heights = dict(zip(patterns[-1].hkl, patterns[-1].intensity, strict=True))
        assert heights["(1 1 0) ×12"] == pytest.approx(100) and heights["(2 0 0) ×6"] == pytest.approx(
            40, abs=3
        )
        at.toggle(key="a-as-given").set_value(True).run()
    else:
        assert not [toggle for toggle in at.toggle if toggle.key == "a-as-given"]
    assert not at.exception and not any("×12" in hkl for hkl in patterns[-1].hkl)


def test_a_crystal_without_a_diffraction_pattern_keeps_its_other_tabs():
    def script():
        from pymatgen.core import Lattice, Structure

        from pages._ui.crystal.detail import show_structure

        show_structure(Structure(Lattice.cubic(4.0), ["Es"], [[0, 0, 0]]), key="a")

    at = AppTest.from_function(script, default_timeout=90).run()
    assert not at.exception and not at.error and "Es is not tabulated" in at.info[0].value
    assert at.get("download_button") and at.caption[-1].value.startswith("Read from a file")


def test_the_form_is_filled_again_after_another_page_was_shown():
    at = page("predict_structure")
    assert at.text_input(key="formula").value == "TiO2"
    at.switch_page("pages/models.py").run()
    at.switch_page("pages/predict_structure.py").run()
    assert at.text_input(key="formula").value == "TiO2" and not at.error and not at.exception


def test_models_trained_to_compare_with_stand_behind_the_one_they_are_named_after():
    at = (
        AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run().switch_page("pages/models.py").run()
    )
    headings = lambda: [heading.value.replace("\\", "") for heading in at.header]
    assert (
        "kldm-csp-perov5" in headings()
        and "kldm-dng-perov5" in headings()
        and "kldm-csp-perov5-brownian" not in headings()
    )
    at.toggle(key="variants-kldm-csp-perov5").set_value(True).run()
    assert (
        headings().index("kldm-csp-perov5-brownian") > headings().index("kldm-csp-perov5")
        and not at.exception
    )


def test_an_uploaded_powder_pattern_ranks_the_candidates_and_a_bad_one_explains_itself(monkeypatch):
    class Upload:
        name = "scan.xy"
        content = "\n".join(f"{10 + 0.05 * i:.2f} {20 + 80 * (i % 97 < 3)}" for i in range(1200)).encode()

        def getvalue(self):
            return self.content

    requests, upload = [], Upload()
    monkeypatch.setattr(
        "crystal_core.jobs.estimate.estimate_seconds", lambda request, known: requests.append(request)
    )
    # AppTest hands no value to widgets of a form on a page of st.navigation
    monkeypatch.setattr(
        "streamlit.file_uploader", lambda label, *, key, **rest: upload if key == "pattern" else None
    )
    at = page("predict_structure")
    assert not at.exception and not at.error
    assert (
        requests[-1]["rank"] == "pattern"
        and requests[-1]["pattern"]["wavelength"] == "CuKa"
        and len(requests[-1]["pattern"]["intensity"]) == 1200
    )
    job = JobQueue().get(JobQueue().submit("predict-structure", requests[-1]))
    assert "--rank pattern --pattern" in as_command(job) and len(as_python(job)) < 1000
    upload.content = b"no pattern"
    at = at.run()
    assert "holds no line of two numbers" in at.error[0].value and not at.exception


def test_a_comparison_that_takes_too_long_is_no_difference(monkeypatch):
    upload = SimpleNamespace(
        name="known.cif",
        getvalue=lambda: str(
            CifWriter(Structure(Lattice.cubic(4.1), ["Zn", "S"], [[0] * 3, [0.5] * 3]))
        ).encode(),
    )
    monkeypatch.setattr(
        "streamlit.file_uploader", lambda label, *, key, **rest: upload if key == "reference" else None
    )
    monkeypatch.setattr("pages._ui.crystal.reference.compared", lambda *_: {"matches": None, "rmsd": None})
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    at.query_params["job"] = "demo-zinc-sulphide"
    at.switch_page("pages/predict_structure.py").run()
    assert "took too long" in at.info[-1].value and "match" not in at.info[-1].value and not at.exception
    assert set(at.dataframe[-1].value["matches reference"]) == {"not compared"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (119.4, "119 s"), (120, "2 min"), (1740, "29 min"), (3600, "1 h"), (3929, "1 h 5 min")],
)
def test_a_duration_reads_as_people_say_it(seconds, words):
    assert duration(seconds) == words
