"""Learning a property of one's own on its page: table to request, what is left out, the result
with its plot, removal.
"""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from crystal_core.cards import read_card, write_card
from crystal_core.datasets.own_table import read_own_table
from crystal_core.drawing.figures.parity import parity_figure
from crystal_core.jobs.queue import JobQueue
from crystal_core.paths import home_dir
from crystal_core.registry.property_cards import own_properties
from pages._ui.run.archive import zip_name
from pages._ui.run.calls import as_command, as_python, zip_of
from pages._ui.run.runs import link_of, summary, title_of
from tests.pages.opening import run_page, words


@pytest.fixture(autouse=True)
def home(no_worker, composition_predictor):
    """A home of its own, with a predictor."""


def page(name="property_predictor", **query):
    return run_page(name, **query)


def table(path, count=60, **columns):
    rows = pd.DataFrame(
        {
            "material_id": [f"m-{i}" for i in range(count)],
            "formula": "NaCl",
            "n_atoms": 2,
            "lattice": [(np.eye(3) * (3.5 + 0.01 * i)).ravel() for i in range(count)],
            "species": [[11, 17]] * count,
            "frac_coords": [[0.0] * 3 + [0.5] * 3] * count,
            **columns,
        }
    )
    rows.to_parquet(path)
    return path.read_bytes()


def upload(content, name="own.parquet"):
    at = page(learn="own")
    at.file_uploader(key="learn-file").upload(name, content, "application/octet-stream")
    return at.run()


def install(name, **network):
    """A card such as a learned property has, without weights."""
    folder = home_dir() / "checkpoints" / f"crysldnet-{name}"
    folder.mkdir(parents=True)
    about = {"encoder": "elements", "property": name, "title": name.title(), "unit": "GPa", **network}
    fields = {"name": folder.name, "kind": "predictor", "task": name, "method": "mixing of elements"}
    write_card(
        folder,
        {**fields, "loader": "part", "parameters": 0, "trained_on": "48 crystals of t", "network": about},
    )
    return read_card(folder)


def finished(at, **changes):
    """What the worker would write for the run that waits."""
    queue = JobQueue()
    job = queue.take()
    request, stamp = job.request, install(job.request["column"]).weights_sha256
    learned = {
        "name": f"crysldnet-{request['column']}",
        "property": {
            "name": request["column"],
            "title": request["title"],
            "unit": request["unit"],
            "method": "own data",
            "logarithmic": request["logarithmic"],
            "lowest": None,
            "decimals": 3,
        },
        "n_train": 48,
        "n_held_out": 3,
        "mae": 0.25,
        "mae_of_mean": 1.5,
        "held_out_by": "composition",
        "ids": ["m-1", "<b>m</b>", "m-3"],
        "formulas": ["NaCl"] * 3,
        "true": [1.0, 10.0, 100.0],
        "predicted": [1.2, 9.0, 120.0],
        "skipped": [{"id": f"bad-{i}", "reason": "The cell is a sliver."} for i in range(9)],
        **changes,
    }
    result = {
        "format": 2,
        "learned": learned,
        "notes": [],
        "settings": {"seed": 7, "samples": 1800},
        "provenance": {"weights_sha256": stamp},
        "seconds": 3.0,
    }
    queue.update(job.id, state="done", result=result, finished=job.created + 3)
    return queue.get(job.id)


def test_a_table_becomes_a_request_with_the_chosen_column(tmp_path):
    hardness = [float(i + 1) for i in range(55)] + [None] * 5
    at = upload(table(tmp_path / "t.parquet", hardness=hardness, few=[1.0] * 9 + [None] * 51))
    assert not at.exception and not at.error
    assert at.selectbox(key="learn-column").options == ["hardness · 55 values"]
    assert [one.label for one in at.expander] == ["5 of 60 rows left out"]
    assert "m-55: no number in hardness" in words(at.expander[0].markdown)
    at.text_input(key="learn-unit-hardness").set_value("GPa").run()
    at.toggle(key="learn-log-hardness").set_value(True).run()
    at.button(key="learn-go").click().run()
    (job,) = JobQueue().list_jobs()
    request = job.request
    assert job.kind == "learn-property" and not job.damaged and len(request["crystals"]) == 55
    assert (request["column"], request["title"], request["unit"]) == ("hardness", "hardness", "GPa")
    assert request["logarithmic"] and request["values"] == hardness[:55] and len(request["skipped"]) == 5
    assert request["table"] == "own.parquet" and request["splits"] == []
    at = page(job=job.id)
    assert any(button.key == f"cancel-{job.id}" for button in at.button) and not at.exception
    JobQueue().cancel(job.id)
    assert "before anything was finished" in words(page(job=job.id).warning)


def test_a_csv_with_a_bad_cif_names_it(tmp_path):
    cif = str(CifWriter(Structure(Lattice.cubic(3.9), ["Na", "Cl"], [[0] * 3, [0.5] * 3])))
    frame = pd.DataFrame({"cif": [cif] * 51 + ["no crystal"], "hardness": range(52)})
    at = upload(frame.to_csv(index=False).encode(), "own.csv")
    assert [one.label for one in at.expander] == ["1 of 52 rows left out"] and not at.exception
    assert "row 52" in words(at.expander[0].markdown)
    assert not at.toggle  # one value is 0
    assert at.button(key="learn-go").label == "Learn from 51 crystals"


def test_tables_that_cannot_be_learned_from_say_why(tmp_path):
    at = upload(table(tmp_path / "t.parquet", few=[1.0] * 9 + [None] * 51))
    assert "at least 50 numbers; the fullest, few, has 9" in words(at.error)
    at = upload(b"PAR1 no table")
    assert "cannot be read as Parquet" in words(at.error) and not at.exception


def test_a_name_that_the_predictor_has_is_kept_apart_and_an_own_one_is_replaced(tmp_path):
    at = upload(table(tmp_path / "t.parquet", band_gap_ev=1.5))
    assert "kept apart as band_gap_ev_own" in words(at.caption)
    install("hardness")
    at = upload(table(tmp_path / "t.parquet", hardness=1.5))
    assert "Replaces the hardness" in words(at.caption)
    assert "48 crystals of t" in words(at.markdown)


def test_the_result_shows_errors_and_leads_to_prediction_and_removal(tmp_path):
    at = upload(table(tmp_path / "t.parquet", hardness=1.5))
    at.text_input(key="learn-unit-hardness").set_value("GPa").run()
    at.button(key="learn-go").click().run()
    job = finished(at)
    at = page(job=job.id)
    assert not at.exception and not at.error and "Removed" not in words(at.caption)
    assert [(metric.label, metric.value) for metric in at.metric] == [
        ("Mean error, 3 held out", "0.25 GPa"),
        ("Always the mean", "1.5 GPa"),
        ("Learned from", "48 crystals"),
    ]
    assert "a fifth of the compositions" in words(at.caption)
    assert [one.label for one in at.expander] == ["9 of 60 rows left out"]
    link = next(link for link in at.get("page_link") if link.proto.label == "Predict with it")
    assert link.proto.query_string == "property=hardness&model=crysldnet"
    at = page(property="hardness", model="crysldnet")
    assert at.multiselect(key="property-properties").value == ["hardness"] and not at.exception
    at = page(job=job.id)
    at.button(key="remove-hardness").click().run()
    really = at.button(key="really")
    at.button(key="remove-hardness").click()  # the dialog is open only in the run that its button started
    really.click().run()
    assert own_properties("crysldnet") == {}
    assert "Removed from the predictor" in words(page(job=job.id).caption)


def test_the_history_tells_opens_and_repeats_it(tmp_path):
    at = upload(table(tmp_path / "t.parquet", hardness=1.5, split=["train"] * 60))
    at.text_input(key="learn-title-hardness").set_value("Vickers hardness").run()
    at.button(key="learn-go").click().run()
    job = finished(at)
    assert title_of(job) == "learning Vickers hardness from 60 crystals"
    assert summary(job) == "mean error 0.25; of the mean 1.5" and zip_name(job).startswith("learned-hardness")
    assert link_of(job) == ("pages/property_predictor.py", {"job": job.id})
    assert as_command(job) == (
        "crystal-core train adapter --data table.csv --target hardness --title 'Vickers hardness' "
        "--rank 8 --seed 7"
    )
    assert "OwnProperty(column='hardness', title='Vickers hardness')" in as_python(job)
    compile(as_python(job), "call", "exec")
    with zipfile.ZipFile(io.BytesIO(zip_of(job))) as archive:
        assert set(archive.namelist()) == {"table.csv", "held-out.csv", "run.json"}
        again = read_own_table("table.csv", archive.read("table.csv"))
        json.loads(archive.read("run.json"))
    assert again.columns == {"hardness": 60} and {row.split for row in again.rows} == {"train"}
    at = page("history")
    assert at.dataframe[0].value["result"][0] == summary(job) and not at.exception
    at = page()  # it has no crystals that could be predicted
    at.button_group(key="property-how").set_value("From a run").run()
    assert "No run has crystals yet" in words(at.caption) and not at.exception


def test_the_plot_has_alike_axes_and_shows_names_as_text(tmp_path):
    at = upload(table(tmp_path / "t.parquet", hardness=1.5))
    at.button(key="learn-go").click().run()
    learned = finished(at).result["learned"]
    figure = parity_figure(learned)
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    assert figure.data[1].customdata[1][0] == "&lt;b&gt;m&lt;/b&gt;"
    learned["property"] |= {"logarithmic": True, "unit": "GPa"}
    figure = parity_figure(learned)
    low, high = figure.layout.xaxis.range
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log" and low < 0 and high > 2
    assert list(figure.data[0].x) == pytest.approx([10**low, 10**high])
    assert figure.layout.xaxis.title.text == "true (GPa)"
