"""The Predict structure page: what it says of candidates and of a finished run."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from streamlit.testing.v1 import AppTest

from crystal_core.files.records import structure_from_record
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.records import crystals_of
from crystal_core.reference import known_cells
from crystal_core.requests import StructurePredictionRequest, to_json
from pages._ui.run.calls import as_command
from pages._ui.run.candidate_cards import arrangement_name, arrangement_words
from tests.earlier_runs import earlier_run
from tests.pages.opening import words
from tests.pages.prediction import finished_run, page

PLAIN_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")


@pytest.fixture(autouse=True)
def home(no_worker, monkeypatch):
    monkeypatch.setattr(known_cells, "known_cell", lambda _: None)  # as where no table is at hand


def test_a_candidate_says_whether_it_is_known_and_was_seen_in_training(monkeypatch):
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.candidates.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )
    at = page(job=finished_run())
    text = words(at.markdown)
    assert (
        "✓ known" in text
        and "[mp-10695](https://next-gen.materialsproject.org/materials/mp-10695) (ZnS, space group 216)"
        in text
        and not at.exception
        and not at.error
    )
    marks = {card["badges"][-1] for card in cards}
    assert marks == {("known", "known"), ("open", "not in the reference set")}
    # the sign of a known crystal says which one it is
    assert all(
        any(words.startswith("known crystal mp-") for _, words in card["signs"])
        == (("known", "known") in card["badges"])
        for card in cards
    )
    table = at.dataframe[-1].value
    assert set(table["known"]) == {
        "yes",
        "yes, seen in training",
        "not in the reference set",
    } and "mp-10695" in set(table["nearest"])
    # a prototype is a known arrangement that no model was trained to make
    assert not any(
        "training" in word for word in table["known"][table["origin"] == "known prototype, not generated"]
    )


def test_a_mineral_that_the_reference_set_lacks_is_not_called_new(monkeypatch):
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.candidates.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )
    at = page(job=finished_run("spinel"))
    text = words(at.markdown)
    assert (
        "· known type" in text and "It has a known arrangement of this formula, " in text and not at.exception
    )
    assert "a part of what is known" in text and "· new" not in text
    badges = {word for card in cards for _, word in card["badges"]}
    assert "known type" in badges and not any("new" in word.split() for word in badges)
    table = at.dataframe[-1].value
    assert "no" not in set(table["known"]) and set(
        table["known"][table["origin"] == "generated from noise"]
    ) <= {"yes", "not in the reference set"}


def test_energies_are_told_above_the_lowest_of_the_run_before_the_hull(monkeypatch):
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.candidates.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )
    at = page(job=finished_run())
    table = at.dataframe[-1].value
    names = [name for name in table.columns if "eV/atom" in name]
    assert names == [
        "above the lowest (meV/atom, ML estimate)",
        "energy (eV/atom)",
        "above hull (eV/atom, ML estimate)",
    ]
    relaxed = table.dropna(subset=["above the lowest (meV/atom, ML estimate)"])
    energies = relaxed["energy (eV/atom)"]
    above = relaxed["above the lowest (meV/atom, ML estimate)"]
    assert above.iloc[0] == 0 and above.tolist() == pytest.approx(
        (1000 * (energies - energies.min())).tolist(), abs=0.06
    )
    assert at.metric[0].label == "Above the lowest (meV/atom, ML estimate)" and at.metric[0].value == "0"
    bars = [card["bar"] for card in cards if "bar" in card]
    assert bars[0]["text"] == "lowest energy" and bars[0]["share"] == 0 and len(bars) > 2
    for bar in bars[1:]:
        above = float(bar["text"].removesuffix(" meV/atom"))
        assert (
            bar["share"] == pytest.approx(min(1, above / 100), abs=0.006)
            and "eV/atom from the hull" in bar["title"]
        )
    notes = [caption.help for caption in at.caption if "Ranked by energy" in caption.value]
    assert len(notes) == 1 and "more reliable than energies above the hull" in notes[0] and not at.exception


def test_of_equals_within_the_noise_the_most_symmetric_leads_and_the_page_says_so(monkeypatch):
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.candidates.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )

    at = page(job=finished_run("strontium-titanate"))  # its P4mm cell is 0.2 meV/atom lower
    assert (
        words(at.header).startswith("SrTiO₃ · cubic perovskite · Pm-3m")
        and cards[0]["name"] == "cubic perovskite"
        and cards[0]["title"].startswith("1. Pm-3m")
        and not at.exception
    )
    assert cards[0]["bar"]["text"] == "under 1 meV/atom"
    notes = [caption.help for caption in at.caption if caption.value.startswith("Ranked by")]
    assert len(notes) == 1
    # escaped marks are those of Markdown
    assert "Of equals within 2 meV/atom, the most symmetric comes first." in notes[0].replace("\\", "")
    assert "perov5-14806 (SrTiO3, space group 221)" in words(at.markdown).translate(PLAIN_DIGITS)


def test_a_known_crystal_of_another_space_group_says_which_both_are():
    def tetragonal(record):
        if record["id"] == "SrTiO3-z1-prototype-1":
            record["space_group"] = {"symbol": "P4mm", "number": 99, "symprec": 0.1}

    at = page(job=finished_run("strontium-titanate", tetragonal))
    assert words(at.header).startswith("SrTiO₃ · P4mm") and not at.exception
    text = words(at.markdown).translate(PLAIN_DIGITS)
    assert "It is perov5-14806 (SrTiO3, space group 221), within 0.1 Å as P4mm" in text


def test_an_ordering_is_told_with_the_elements_that_share_the_sites():
    template = {"label": "P4_2/mnm af, 29 known, AFLOW A2B_tP6_136_f_a", "members": 29, "distance": 1.9}
    template |= {"formula": "SbO2", "ordered": ["Sb", "Zn"]}
    record = {"space_group": {"symbol": "P-42_1m", "number": 113, "symprec": 0.1}}
    words = "the rutile arrangement of 29 known crystals with Zn and Sb in order on the same sites"
    assert arrangement_words(template, record) == words
    oxygen = [[0.305, 0.305, 0], [0.695, 0.695, 0], [0.195, 0.805, 0.5], [0.805, 0.195, 0.5]]
    record |= {
        "provenance": {"prototype": template},
        "lattice": [[4.66, 0, 0], [0, 4.66, 0], [0, 0, 3.08]],
        "atomic_numbers": [30, 51, 8, 8, 8, 8],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5], *oxygen],
    }
    assert arrangement_name([record]) == ""  # its symmetry is not that of rutile
    template.pop("ordered")
    assert arrangement_words(template, record) == ""  # it was relaxed into another one


def test_a_run_from_before_the_comparison_says_that_nobody_compared(monkeypatch):
    cards = []
    monkeypatch.setattr(
        "pages._ui.run.candidates.crystal_gallery",
        lambda items, *, key, first=0, **_: cards.extend(items) or first,
    )
    at = page(job=finished_run(change=lambda record: record.pop("novelty")))
    assert "not compared" in words(at.markdown) and not at.exception
    assert "known" not in at.dataframe[-1].value.columns
    badges = {word for card in cards for _, word in card["badges"]}
    assert cards and not badges & {"known", "new", "known type", "not in the reference set"}


def test_the_known_crystal_lies_over_the_candidate_that_matches_it_and_stands_alone_beside_another(
    monkeypatch,
):
    first = next(
        record
        for record in crystals_of(earlier_run("zinc-sulphide").result)
        if record["id"] == "ZnS-z1-prototype-1"
    )
    cell = structure_from_record(first)
    monkeypatch.setattr(known_cells, "known_cell", lambda _: cell.copy().apply_strain(0.02))
    at = page(job=finished_run(change=lambda record: record["novelty"].update(nearest_id="mp-same")))
    (ways,) = [group for group in at.button_group if str(group.key).startswith("way-")]
    assert ways.options == ["Relaxed", "Relaxed over sampled", "As sampled", "Over the known crystal"]
    ways.set_value("Over the known crystal").run()
    assert (
        "Pale, with the dashed cell: the known one." in words(at.caption)
        and not at.exception
        and not at.error
    )
    other = cell.copy().apply_strain([0.0, 0.0, 0.6])
    monkeypatch.setattr(known_cells, "known_cell", lambda _: other)
    at = page(job=finished_run(change=lambda record: record["novelty"].update(nearest_id="mp-other")))
    (ways,) = [group for group in at.button_group if str(group.key).startswith("way-")]
    assert ways.options[-1] == "Nearest known crystal"
    ways.set_value("Nearest known crystal").run()
    assert "Known crystal mp-other." in words(at.caption) and not at.exception


def test_any_finished_run_is_compared_with_a_structure_of_the_reader(monkeypatch):
    best = next(
        record
        for record in crystals_of(earlier_run("zinc-sulphide").result)
        if record["id"] == "ZnS-z1-prototype-1"
    )
    given = [structure_from_record(best).apply_strain(0.02)]
    upload = SimpleNamespace(name="known.cif", getvalue=lambda: str(CifWriter(given[0])).encode())
    monkeypatch.setattr(
        "streamlit.file_uploader", lambda label, *, key, **rest: upload if key == "reference" else None
    )
    at = page()
    # nothing to compare before there is a run
    assert not [box for box in at.expander if "Compare" in box.label]
    at = page(job=finished_run())
    assert [box.label for box in at.expander if "Compare" in box.label] == ["Compare with a known structure"]
    assert "Matches the reference (RMSD" in words(at.info) and not at.exception and not at.error
    assert {"yes", "no"} == set(at.dataframe[-1].value["matches reference"])
    (ways,) = [group for group in at.button_group if str(group.key).startswith("way-")]
    ways.set_value("Over the reference").run()
    assert "Pale, with the dashed cell: the reference." in words(at.caption) and not at.exception
    given[0] = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0] * 3, [0.5] * 3])
    at.run()
    assert "The reference is MgO, the run is of ZnS: no candidate can match it." in words(at.warning)
    assert "Does not match the reference." in words(at.info) and not at.exception


def test_what_was_noted_of_a_run_is_shown_with_its_results():
    note = "Zn2S2 is a multiple of ZnS, and Z counts ZnS."
    job, queue = finished_run(), JobQueue()
    queue.update(job, result=queue.get(job).result | {"notes": [note]})
    at = page(job=job)
    assert note in words(at.info) and "✓ Finished" in words(at.markdown) and not at.exception
    batch = queue.submit_batch("predict-structure", [to_json(StructurePredictionRequest(formula="ZnS"))])
    queue.update(queue.list_batch(batch)[0].id, state="done", result=queue.get(job).result)
    assert note not in words(page(batch=batch).info)  # nothing is selected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pages._ui.forms.batch.selected_rows", lambda _: (0,))
        at = page(batch=batch)
    assert note in words(at.info) and "✓ Finished" in words(at.markdown) and not at.exception


def test_a_language_model_predicts_from_a_formula_and_shows_its_drafts(tiny_writer):
    name = tiny_writer()
    at = page(formula="NaCl")
    assert not at.exception and not at.error
    at.button_group(key="effort").set_value("by hand").run()
    labels = [field.label for field in (*at.selectbox, *at.number_input)]
    assert at.selectbox(key="model").value == name and "Temperature" in labels
    assert "Sampler" not in labels and not any(label.startswith("Steps") for label in labels)
    at.number_input(key="n").set_value(2).run()
    relax = [toggle for toggle in at.toggle if toggle.key == "relax"]
    if relax:
        relax[0].set_value(False).run()
    at.button(key="predict").click().run()
    queue = JobQueue()
    run_job(queue, queue.take(), RUNNERS)
    (job,) = queue.list_jobs()
    job = queue.get(job.id)
    assert job.state == "done" and job.request["model"] == name, job.error
    at = page(job=job.id)
    assert "written by a language model" in words(at.caption) and not at.exception
    texts = [block.value for block in at.code]
    assert any(record["provenance"]["draft"]["text"] in texts for record in crystals_of(job.result))
    assert f"--model {name}" in as_command(job) and "--temperature" not in as_command(job)


@pytest.mark.parametrize(
    ("typed", "heading"),
    [("ZnS", "ZnS · "), ("SZn", "ZnS (typed: SZn) · "), ("Zn2S2", "ZnS (typed: Zn2S2) · ")],
)
def test_the_heading_of_a_result_names_what_was_typed_where_something_else_is_computed(typed, heading):
    at = page(job=finished_run(formula=typed))
    assert words(at.header).startswith(heading) and not at.exception


def test_results_of_a_run_under_way_stand_still_until_its_reader_wants_to_watch():
    queue, result = JobQueue(), earlier_run("zinc-sulphide").result
    job = queue.submit("predict-structure", to_json(StructurePredictionRequest(formula="ZnS")))
    queue.take()
    cell = {"lattice": np.eye(3).tolist(), "frac_coords": [[0, 0, 0]], "atomic_numbers": [30]}
    queue.update(job, stage="relaxing", step=1, n_steps=4, snapshot=cell)

    def viewers(at):
        """The pictures of single crystals by the sentence for a screen reader."""
        parts = (json.loads(part.proto.json) for part in at.get("bidi_component"))
        return [part["scene"]["sentence"] for part in parts if "scene" in part]

    at = page(job=job)
    (forming,) = viewers(at)
    assert not [toggle for toggle in at.toggle if toggle.label == "Watch"]
    queue.update(job, step=2, result=result)
    at = page(job=job)
    assert forming not in viewers(at) and len(viewers(at)) == 1
    (watch,) = (toggle for toggle in at.toggle if toggle.label == "Watch")
    watch.set_value(True).run()
    assert forming in viewers(at) and len(viewers(at)) == 2 and not at.exception
    queue.update(job, step=4)
    assert "left" not in page(job=job).get("progress")[0].proto.text


def test_a_chosen_card_stays_chosen_when_the_order_changes():
    def gallery():
        import streamlit as st

        from pages._ui.viewer import crystal_gallery

        items = [{"id": name, "scene": {}, "title": name, "caption": ""} for name in st.query_params["order"]]
        st.text(items[crystal_gallery(items, key="gallery", first=1)]["id"])

    at = AppTest.from_function(gallery)
    at.query_params["order"] = "abc"
    assert at.run().text[0].value == "b"
    at.session_state["gallery"] = {"selected": "c"}
    for order, chosen in (("abc", "c"), ("cab", "c"), ("ab", "b")):
        at.query_params["order"] = order
        assert at.run().text[0].value == chosen
    assert not at.exception
