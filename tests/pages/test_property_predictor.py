"""The Property predictor page: files to a table, bad ones with their reason; runs gain columns;
other pages send crystals.
"""

import json

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.demos import find_demo
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.files.uploads import ParsedUpload
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.records import crystals_of
from crystal_core.requests import (
    CrystalGenerationRequest,
    PropertyPredictionRequest,
    StructurePredictionRequest,
    to_json,
)
from pages._ui.properties.sending import predicted_of
from pages._ui.run.calls import as_command, as_python, zip_of
from pages._ui.run.runs import link_of, summary, title_of
from tests.composition_predictor import NAMES
from tests.pages.opening import run_page, words

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
MIXED = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0] * 3, [0.5] * 3]
)


@pytest.fixture(autouse=True)
def home(no_worker, composition_predictor):
    """A home of its own, with a predictor."""


def page(name="property_predictor", **query):
    return run_page(name, **query)


def work():
    """What the worker would do."""
    queue = JobQueue()
    job = queue.take()
    run_job(queue, job, RUNNERS)
    return queue.get(job.id)


def submit(*structures, parent="", **settings):
    items = [{"source": f"{k}.cif", "id": f"{k}", **cell_json(s)} for k, s in enumerate(structures)]
    request = PropertyPredictionRequest(
        crystals=(*items, {"source": "bad.cif", "error": "No cell."}), **settings
    )
    return JobQueue().submit("predict-property", to_json(request), parent=parent)


def finished(demo, kind, request):
    queue = JobQueue()
    job = queue.submit(kind, to_json(request))
    queue.update(job, state="done", result=json.loads(json.dumps(find_demo(demo).result)))
    return job


def test_of_many_bad_files_the_table_itself_says_why():
    at = page()
    for name in "abcdef":
        at.file_uploader(key="property-file").upload(
            f"{name}.cif", b"data_x\n_cell_length_a 4\n", "text/plain"
        )
    at.run()
    assert all("cell" in problem for problem in at.dataframe[0].value["problem"])
    captions = words(at.caption)
    assert captions.count(".cif: ") == 5 and "1 more have no values" in captions and not at.exception


def test_files_become_a_table_in_which_bad_ones_say_why():
    at = page()
    at.file_uploader(key="property-file").upload("salt.cif", str(CifWriter(SALT)).encode(), "text/plain")
    at.file_uploader(key="property-file").upload("mixed.cif", str(CifWriter(MIXED)).encode(), "text/plain")
    at.file_uploader(key="property-file").upload("broken.cif", b"data_x\n_cell_length_a 4\n", "text/plain")
    at.run()
    table = at.dataframe[0].value
    assert set(table["crystal"]) == {"salt.cif", "mixed.cif", "broken.cif"} and not at.exception
    # in full: a cell of the table would cut them
    captions = [caption.value.replace("\\", "") for caption in at.caption]
    problems = dict(caption.split(": ", 1) for caption in captions if ".cif: " in caption)
    assert set(problems) == {"mixed.cif", "broken.cif"} and "problem" not in table
    assert "partly occupied" in problems["mixed.cif"] and "cell" in problems["broken.cif"]
    assert "Shown here" not in problems["mixed.cif"]
    at.multiselect(key="property-properties").set_value(["band_gap_ev", "bulk_modulus_gpa"]).run()
    at.button(key="property-predict").click().run()
    job = work()
    assert job.state == "done" and job.request["properties"] == ["band_gap_ev", "bulk_modulus_gpa"]
    at = page(job=job.id)
    table = at.dataframe[0].value
    assert not at.exception and not at.error and len(table) == 3
    assert "1 of 3 crystals · training range: 1 inside" in words(at.markdown)
    failed = words(at.caption)
    assert all(problems[name] in failed.replace("\\", "") for name in ("mixed.cif", "broken.cif"))
    row = table[table["crystal"] == "salt.cif"].iloc[0]
    salt = next(r for r in job.result["rows"] if r["source"] == "salt.cif")
    assert (
        row["Band gap (PBE, eV)"] == salt["predictions"]["band_gap_ev"]["value"]
        and "Formation energy (eV/atom)" not in table
    )
    assert row["training range"] == "● inside" and row["closest known"] == "NaCl (mp-22862)"
    assert "inside the training range" in words(at.markdown)
    at.button_group(key=f"columns-{job.id}").set_value(["90 % intervals", "Known values"]).run()
    table = at.dataframe[0].value
    assert " to " in table[table["crystal"] == "salt.cif"].iloc[0]["Band gap (PBE), 90 %"]
    assert table["Band gap (PBE), known"].notna().sum() == 1 and not at.exception


def test_examples_and_pasted_text_are_predicted():
    at = page()
    at.button_group(key="property-how").set_value("Example").run()
    assert at.button(key="property-predict").label == "Predict 4 crystals"
    at.button(key="property-predict").click().run()
    job = work()
    assert [row["formula"] for row in job.result["rows"]] == ["BaTiO3", "NaCl", "TiO2", "Si"]
    assert [column["name"] for column in job.result["properties"]] == list(NAMES)
    at = page()
    at.button_group(key="property-how").set_value("Paste").run()
    at.button(key="property-predict").click().run()  # a press may reach the page before the text does
    assert "No readable crystal yet" in words(at.error) and len(JobQueue().list_jobs()) == 1
    at.text_area(key="property-text").set_value(str(CifWriter(SALT))).run()
    at.button(key="property-predict").click().run()
    job = work()
    at = page(job=job.id)
    assert not at.exception and "NaCl · pasted text" in words(at.header)
    (alike,) = at.dataframe  # one crystal needs no table of its own
    assert alike.value["crystal"].tolist()[0] == "NaCl"
    assert alike.value["distance"].is_monotonic_increasing


def test_while_a_run_goes_on_it_can_be_cancelled_and_a_dead_link_says_so():
    job = submit(SALT)
    at = page(job=job)
    assert any(button.key == f"cancel-{job}" for button in at.button) and not at.exception
    JobQueue().cancel(job)
    at = page(job=job)
    assert "Stopped by you" in words(at.warning) and not at.exception
    at = page(job="0" * 32)
    assert "deleted or belongs to another computer" in words(at.warning) and not at.exception
    assert any(button.label == "Predict" for button in at.button)  # the page can still be used


def test_without_a_predictor_the_page_says_so_in_a_sentence_and_no_page_offers_it(tmp_path, monkeypatch):
    job = submit(SALT)
    work()
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "empty"))
    at = page()
    assert "No property predictor is installed" in words(at.info) and not at.button and not at.exception
    assert page(job=job).dataframe and "No property predictor" in words(page(job=job).info)
    assert not [button for button in page("viewer").button if button.key == "properties-own"]


def test_a_run_that_lacks_its_checkpoint_says_so(tmp_path, monkeypatch):
    job = submit(SALT, model="none-such")
    work()
    assert "No checkpoint named 'none-such'" in words(page(job=job).error).replace("’", "'")


def test_the_viewer_sends_its_crystal():
    at = page("viewer")
    at.button(key="properties-own").click().run()
    (job,) = JobQueue().list_jobs()
    assert (
        job.kind == "predict-property" and job.request["crystals"][0]["source"] == "BaTiO3 (cubic perovskite)"
    )
    assert not at.exception


@pytest.mark.parametrize(
    ("name", "demo", "request_"),
    [
        ("generate", "lithium-iron-oxides", CrystalGenerationRequest(n=8)),
        ("predict_structure", "zinc-sulphide", StructurePredictionRequest(formula="ZnS")),
    ],
)
def test_a_whole_run_is_predicted_by_one_click_and_its_table_gains_columns(name, demo, request_):
    kind = name.replace("_", "-")
    run = finished(demo, kind, request_)
    at = page(name, job=run)
    at.button(key="properties").click().run()
    queue = JobQueue()
    (child,) = queue.list_children(run, "predict-property")
    records = crystals_of(queue.get(run).result)
    assert {one["id"] for one in child.request["crystals"]} == {record["id"] for record in records}
    assert any(button.key == f"cancel-{child.id}" for button in at.button) and not at.exception
    work()
    at = page(name, job=run)
    if name == "generate":
        at.button_group(key="how").set_value("Table").run()
    tables = [frame.value for frame in at.dataframe]
    table = next(one for one in tables if "band gap (PBE, eV, predicted)" in one)
    assert table["band gap (PBE, eV, predicted)"].notna().all() and "training range" in table
    assert "Predicted properties" in words(at.markdown) and not at.exception
    assert not [button for button in at.button if button.key == "properties"]
    link = next(link for link in at.get("page_link") if link.proto.label == "Properties in full")
    assert link.proto.query_string == f"job={child.id}"
    at = page(job=child.id)  # and from there back
    assert any("Run" in link.proto.label for link in at.get("page_link")) and not at.exception


def test_the_targets_of_a_run_are_told_and_leave_the_other_properties_to_predict():
    run = finished("lithium-iron-oxides", "generate", CrystalGenerationRequest(n=8, band_gap=2.0))
    queue = JobQueue()
    result = queue.get(run).result
    records = [
        record | {"predictions": {"band_gap_ev": {"value": 2.1, "unit": "eV", "domain": "edge"}}}
        for record in result["crystals"]
    ]
    target = {"target": 2.0, "unit": "eV", "median": 2.1, "of": 8, "predictor": "crysldnet"}
    summary = result["summary"] | {"targets": {"band_gap_ev": target | {"error": 0.26, "n": 8}}}
    queue.update(run, result=result | {"crystals": records, "summary": summary})
    rows, columns = predicted_of(queue.get(run), records)
    assert len(rows) == len(records) and [column["unit"] for column in columns] == ["eV"]
    relaxed = [record | {"original": {}} for record in records]
    assert predicted_of(queue.get(run), relaxed) == ({}, []), "of the cell before relaxing"
    at = page("generate", job=run)
    assert "8 of 8 are within 0.26 eV of it, 2.10 eV in the median" in words(at.caption)
    assert any(button.key == "properties" for button in at.button) and not at.exception


def test_predictions_of_a_cell_that_has_changed_since_are_not_shown():
    run = finished("zinc-sulphide", "predict-structure", StructurePredictionRequest(formula="ZnS"))
    job = JobQueue().get(run)
    records = crystals_of(job.result)
    items = [{"source": r["id"], "id": r["id"], **cell_json(structure_from_record(r))} for r in records[:2]]
    for item, record in zip(items, records[:2], strict=True):
        item |= {name: record[name] for name in ("lattice", "atomic_numbers", "frac_coords")}
    request = PropertyPredictionRequest(crystals=tuple(items), properties=("band_gap_ev",))
    JobQueue().submit("predict-property", to_json(request), parent=run)
    work()
    rows, columns = predicted_of(job, records)
    assert set(rows) == {record["id"] for record in records[:2]} and len(columns) == 1
    moved = records[0] | {"lattice": (1.01 * structure_from_record(records[0]).lattice.matrix).tolist()}
    rows, _ = predicted_of(job, [moved, *records[1:]])
    assert set(rows) == {records[1]["id"]}


def test_crystals_of_a_run_of_this_machine_are_taken():
    run = finished("zinc-sulphide", "predict-structure", StructurePredictionRequest(formula="ZnS"))
    at = page()
    at.button_group(key="property-how").set_value("From a run").run()
    at.button(key="property-predict").click().run()
    (child,) = JobQueue().list_children(run, "predict-property")
    assert len(child.request["crystals"]) == len(crystals_of(JobQueue().get(run).result)) and not at.exception


def test_a_run_is_changed_from_the_history():
    job = submit(SALT, properties=("band_gap_ev",))
    work()
    at = page(fork=job)
    assert at.multiselect(key="property-properties").value == ["band_gap_ev"] and not at.exception
    at.multiselect(key="property-properties").set_value([]).run()
    at.button(key="property-predict").click().run()
    newest = JobQueue().list_jobs()[0]
    assert (
        newest.request["properties"] == []
        and newest.request["crystals"] == JobQueue().get(job).request["crystals"]
    )


def test_the_history_tells_opens_and_repeats_it():
    job = submit(SALT, Structure(Lattice.cubic(3.35), ["Po"], [[0] * 3]))
    done = work()
    assert title_of(done) == "properties of 3 crystals" and summary(done) == "1 of 3 predicted"
    assert link_of(done) == ("pages/property_predictor.py", {"job": job})
    assert as_command(done).startswith("crystal-core predict-property 0.cif 1.cif bad.cif --model crysldnet")
    assert "load_predictor('crysldnet')" in as_python(done)
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(zip_of(done))) as archive:
        assert set(archive.namelist()) == {"properties.csv", "run.json", "0.cif", "1.cif"}
    at = page("history")
    table = at.dataframe[0].value
    assert table["request"][0] == "properties of 3 crystals" and table["result"][0] == "1 of 3 predicted"
    assert table["model"][0] == "crysldnet" and not at.exception


def test_without_any_interval_the_page_says_so_once_and_one_crystal_names_its_run():
    items = ({"source": "salt.cif", **cell_json(SALT)},)
    request = PropertyPredictionRequest(crystals=items, properties=("is_metal",))
    JobQueue().submit("predict-property", to_json(request))
    done = work()
    at = page(job=done.id)
    assert [c.value for c in at.caption].count("No uncertainty available.") == 1 and not at.exception
    assert title_of(done) == "properties of salt.cif"
    submit(SALT)
    assert "No uncertainty" not in words(page(job=work().id).caption)


def test_text_of_a_file_name_stays_text():
    name = "![x](https:elsewhere.invalid)<script>"
    request = PropertyPredictionRequest(crystals=({"source": name, **cell_json(SALT)},))
    job = JobQueue().submit("predict-property", to_json(request))
    work()
    at = page(job=job)
    assert r"\!\[x\]" in at.header[0].value and r"\<script\>" in at.header[0].value


def test_what_the_reader_was_too_slow_for_is_read_again_and_nothing_else(monkeypatch):
    from pages._ui.forms import own_files

    answers = [
        [ParsedUpload(name="a", error="Too slow.", unsettled=True)],
        [ParsedUpload(name="a", error="No crystal.")],
    ]
    monkeypatch.setattr(own_files, "parse_uploads", lambda *_, **__: answers.pop(0))
    files = [("a", b"only here")]
    errors = [own_files.read_files(files)[0].error for _ in range(3)]
    assert errors == ["Too slow.", "No crystal.", "No crystal."]


@pytest.mark.parametrize("cell", [SALT, None], ids=["here", "elsewhere"])
def test_the_closest_known_crystal_is_drawn_where_its_cell_is_at_hand(cell, monkeypatch):
    asked_for = []
    monkeypatch.setattr(
        "pages._ui.properties.results.known_cell", lambda name: asked_for.append(name) or cell
    )
    submit(SALT)
    at = page(job=work().id)
    assert asked_for == []  # the tables of known cells are read by nobody who does not look
    (view,) = [group for group in at.button_group if group.options == ["This crystal", "Closest known"]]
    view.set_value("Closest known").run()
    assert asked_for == ["mp-22862"] and not at.exception
    assert ("in no table on this machine" in words(at.caption)) == (cell is None)
