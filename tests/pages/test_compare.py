"""The Compare page: a form that becomes a request, results that are what was measured,
links that keep everything.
"""

import io
import json
import zipfile
from dataclasses import replace
from functools import partial

import pytest

from crystal_core.demos.comparisons import READY, ready_comparisons
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.records import crystals_of
from crystal_core.registry.store import find_card
from crystal_core.requests import from_json, to_json
from crystal_core.workflows.compare.request import ComparisonRequest
from crystal_core.workflows.compare.run import run as run_comparison
from pages._ui.compare.panes import _by_place, _panes
from pages._ui.run.calls import as_command, as_python, zip_of
from pages._ui.run.runs import find_job, link_of, summary, title_of
from tests.pages.opening import run_page, words

page = partial(run_page, "compare")

pytestmark = pytest.mark.usefixtures("no_worker")
SMALL = ComparisonRequest(
    columns=(
        {"model": "kldm-csp-perov5", "sampler": "em", "steps": 6},
        {"model": "kldm-csp-perov5", "sampler": "ode", "steps": 6},
    ),
    formulas=("SrTiO3",),
    n=2,
    seed=1,
    properties=(),
)


def finished(request=SMALL):
    queue = JobQueue()
    job = queue.submit("compare", to_json(request))
    run_job(queue, queue.take(), RUNNERS)
    return queue.get(job)


def submitted():
    (job,) = JobQueue().list_jobs()
    return from_json(ComparisonRequest, job.request)


def test_the_form_becomes_a_request_and_says_what_is_wrong():
    at = page()
    at.text_input(key="cmp-formula").set_value("TiO2, Xx3").run()
    assert "Xx" in words(at.error) and at.button(key="compare").disabled
    at.text_input(key="cmp-formula").set_value("TiO2, SrTiO3").run()
    at.number_input(key="cmp-n").set_value(3).run()
    at.text_input(key="cmp-seed").set_value("7").run()
    at.selectbox(key="cmp-1-sampler").set_value("ode").run()
    at.number_input(key="cmp-1-steps").set_value(20).run()
    assert "em · 100 steps | B: ode · 20 steps" in words(at.caption)
    at.button(key="compare").click().run()
    request = submitted()
    assert (request.formulas, request.n, request.seed, request.names) == (
        ("TiO2", "SrTiO3"),
        3,
        7,
        ["em · 100 steps", "ode · 20 steps"],
    )
    assert at.query_params["job"] and not at.exception


@pytest.mark.weights
def test_a_finished_comparison_shows_its_numbers_and_can_be_changed():
    job = finished()
    at = page(job=job.id)
    assert not at.exception and not at.error
    (table,) = [m.value.replace("\\", "") for m in at.markdown if "plausible distances" in m.value]
    first = job.result["columns"][0]
    assert "A · em" in table and "B · ode" in table and "| network calls per crystal | 6 | 6 |" in table
    assert f"| valid | {100 * first['metrics']['valid']['value']:.1f} %" in table
    assert "SrTiO₃ · 2 samples · seed 1" in words(at.caption)
    (paired,) = [t.value for t in at.dataframe if "pairs" in t.value]
    assert set(paired["columns"]) == {"B less A"} and (paired["pairs"] <= 2).all()
    at = page(fork=job.id)
    assert (
        at.text_input(key="cmp-formula").value == "SrTiO3"
        and at.selectbox(key="cmp-1-sampler").value == "ode"
    )
    assert at.number_input(key="cmp-n").value == 2 and at.text_input(key="cmp-seed").value == "1"


@pytest.mark.weights
def test_a_running_comparison_says_of_every_column_how_far_it_is(monkeypatch):
    monkeypatch.setattr(JobQueue, "interrupt_orphans", lambda *_: 0)  # no worker runs it
    stages = [update.stage for update in run_comparison(SMALL)]
    queue = JobQueue()
    job = queue.submit("compare", to_json(SMALL))
    queue.take()
    at = page(job=job)
    column = lambda letter: next(m.value for m in at.markdown if f"**{letter}**" in m.value)
    assert "waiting" in column("A") and "waiting" in column("B")
    seen = []
    for stage in dict.fromkeys(stages[:-1]):
        queue.update(job, stage=stage)
        at.run()
        assert not at.exception
        seen.append((column("A").split(": ", 1)[1], column("B").split(": ", 1)[1]))
    assert "waiting" not in {a for a, _ in seen}
    begins = next(k for k, (_, b) in enumerate(seen) if b != "waiting")
    assert {a for a, _ in seen[begins:]} == {"finished"} and "waiting" not in {b for _, b in seen[begins:]}
    assert {"crystals 1 to 2 of 2", "measuring"} <= {a for a, _ in seen} & {b for _, b in seen}


def test_what_the_form_has_no_field_for_stays_while_its_column_does():
    first = {"model": "kldm-csp-perov5", "sampler": "pc", "steps": 9, "tau": 0.3, "name": "mine"}
    job = JobQueue().submit("compare", to_json(replace(SMALL, columns=(first, SMALL.columns[1]))))
    at = page(fork=job)
    assert "Also: tau 0.3" in words(at.caption) and "A: mine" in words(at.caption)
    at.number_input(key="cmp-0-steps").set_value(12).run()
    assert "Also: tau 0.3" in words(at.caption) and "mine" not in words(at.caption)
    at.selectbox(key="cmp-0-sampler").set_value("em").run()
    assert "Also" not in words(at.caption) and not at.error


def test_drafts_are_compared_as_they_are_and_with_a_refiner(tiny_pair):
    pair = tiny_pair()
    draft = {"model": pair, "refiner": "none", "name": "draft"}
    refined = {"model": pair, "start_draft": "inject", "refine_from": 300}
    at = page(fork=JobQueue().submit("compare", to_json(replace(SMALL, columns=(draft, refined)))))
    assert [at.selectbox(key=f"cmp-{i}-refiner").value for i in (0, 1)] == ["none", "the model's own"]
    assert "A: draft" in words(at.caption) and "start draft inject" in words(at.caption) and not at.error
    # without a refiner these would change nothing
    at.selectbox(key="cmp-1-refiner").set_value("none").run()
    assert "start draft" not in words(at.caption) and not at.error
    at.selectbox(key="cmp-0-refiner").set_value("kldm").run()
    at.button(key="compare").click().run()
    columns = from_json(ComparisonRequest, JobQueue().list_jobs()[0].request).typed_columns
    assert [column.refiner for column in columns] == ["kldm", "none"] and not at.exception


def test_a_recorded_comparison_can_be_run_again_as_it_was():
    at = page(fork="demo-samplers")
    at.button(key="compare").click().run()
    request = next(one.request for one in READY if one.name == "samplers")
    repeated = submitted()
    assert repeated.typed_columns == request.typed_columns
    assert replace(repeated, columns=request.columns) == request


@pytest.mark.weights
def test_history_names_it_and_its_files_and_call_make_it_again():
    job = finished()
    assert (title_of(job), summary(job)) == ("SrTiO₃: 2 columns compared", "A: em · B: ode")
    assert link_of(job) == ("pages/compare.py", {"job": job.id})
    call = as_command(job)
    assert call.startswith("crystal-core compare --column model=kldm-csp-perov5,sampler=em,steps=6 --column ")
    assert "--formula SrTiO3 --n 2" in call and call.endswith("--properties none --seed 1")
    archive = zipfile.ZipFile(io.BytesIO(zip_of(job)))
    assert {"comparison.csv", "comparison.html", "request.json", "run.json", "run.extxyz"} <= set(
        archive.namelist()
    )
    assert from_json(ComparisonRequest, json.loads(archive.read("request.json"))).seed == 1
    assert "request.json" in as_python(job)


@pytest.mark.weights
def test_panes_are_one_sample_of_every_column_with_paths_of_equal_ends():
    job = finished()
    panes = _panes(job.id, job.result_stamp, (0, 1), paths=True, aligned=True)
    assert [pane["letter"] for pane in panes["panes"]] == ["A", "B"] and not panes["missing"]
    volumes, ways = panes["traces"]
    for pane, volume, way in zip(panes["panes"], volumes["lines"], ways["lines"], strict=True):
        assert len(pane["frames"]) == len(volume) == len(way) and way[-1] == 0
        assert pane["frames"][-1] == pane["scene"] and len(pane["scene"]["sites"]) == 5
        a, _, c = pane["scene"]["lattice"]
        assert c[0] == c[1] == 0 and a[1] == 0  # c along z, a in the plane of x and z
    cells = _panes(job.id, job.result_stamp, (0, 1), paths=False, aligned=False)
    records = {r["id"]: r for r in crystals_of(job.result)}
    for pane, column in zip(cells["panes"], job.result["columns"], strict=True):
        record = records[_by_place(column)[0, 1]]
        assert pane["scene"]["lattice"][0] == pytest.approx(record["lattice"][0], abs=1e-4)
        assert pane["frames"] is None


@pytest.mark.weights
def test_a_run_stands_beside_a_model_and_is_counted_as_given():
    job = find_job("demo-strontium-titanate")
    at = page(run=job.id)
    assert not at.exception and at.text_input(key="cmp-formula").value == "SrTiO3"
    assert at.selectbox(key="cmp-0-run").value == job.id
    at.button(key="compare").click().run()
    request = submitted()
    given, model = request.columns
    assert given["source"] == "run" and len(given["crystals"]) == len(crystals_of(job.result))
    assert all("energies" in c for c in given["crystals"][:1]) and model["model"] == "kldm-csp-mp"


def test_ready_comparisons_are_only_what_can_be_run_here(monkeypatch):
    ready = ready_comparisons()
    assert {"samplers", "noise-or-prototype", "ablations"} <= {one.name for one in ready}
    for one in ready:
        assert all(find_card(model) for model in one.models)
    monkeypatch.setattr(
        "crystal_core.demos.comparisons.runnable_cards", lambda _kind: [find_card("prototype")]
    )
    assert ready_comparisons() == []


@pytest.mark.parametrize("name", [one.name for one in READY if one.recorded])
def test_a_recorded_comparison_opens_and_is_what_its_request_asks_for(name):
    one = next(one for one in READY if one.name == name)
    demo = one.recorded
    assert from_json(ComparisonRequest, demo.request) == replace(one.request, seed=demo.seed)
    assert [c["name"] for c in demo.result["columns"]] == one.request.names
    assert all(c["n"] == one.request.n * len(one.request.formulas) for c in demo.result["columns"])
    at = page(job=f"demo-{name}")
    assert not at.exception and not at.error and "recorded" in words(at.caption)


def test_a_recording_is_small():
    from crystal_core.demos import COMPARISONS

    sizes = [path.stat().st_size for path in COMPARISONS.glob("*.json.gz")]
    assert len(sizes) >= 3 and max(sizes) <= 150_000


def test_the_sampler_lab_draws_every_table_of_the_cards():
    from crystal_core.drawing.figures.comparison import sampler_lab_figure

    tables = {name: find_card(name).sampling["table"] for name in ("kldm-csp-mp", "kldm-csp-perov5")}
    figure = sampler_lab_figure(tables)
    rates, errors = ([line for line in figure.data if line.yaxis == axis] for axis in ("y", "y2"))
    for lines, column, scale in ((rates, "match_rate", 100), (errors, "rmse", 1)):
        drawn = sorted(y for line in lines for y in line.y if y is not None)
        assert drawn == sorted(scale * y for table in tables.values() for y in table[column] if y is not None)
    assert len(rates) == sum(len(set(table["sampler"])) for table in tables.values())


def test_the_pretraining_lab_draws_every_error_and_names_each_pretraining_once():
    from crystal_core.drawing.figures.pretraining import pretraining_figure

    study = {
        "metric": "MAE",
        "pretraining": ["scratch", "scratch", "vae", "vae"],
        "labels": [400, 80, 400, 80],
    }
    studies = [
        {
            **study,
            "encoder": "pddformer, share weights, 9 parameters",
            "mae": [4, 5, 2, 3],
            "std": [1, 1, 1, 1],
        },
        {**study, "encoder": "matformer, 7 parameters", "mae": [8, 9, 6, 7], "std": ["", "", "", ""]},
    ]
    figure = pretraining_figure(studies, {"scratch": "none"})
    assert [(line.name, line.showlegend, list(line.x), list(line.y)) for line in figure.data] == [
        ("none", True, [80, 400], [5, 4]),
        ("vae", True, [80, 400], [3, 2]),
        ("none", False, [80, 400], [9, 8]),
        ("vae", False, [80, 400], [7, 6]),
    ]
    assert [title.text for title in figure.layout.annotations] == ["pddformer, share weights", "matformer"]
    assert list(figure.data[0].error_y.array) == [1, 1] and list(figure.data[2].error_y.array) == [0, 0]
    # one below the other, each as wide as the page, on one scale that holds every bar
    assert {tuple(axis.domain) for axis in figure.select_xaxes()} == {(0.0, 1.0)}
    assert len({tuple(axis.domain) for axis in figure.select_yaxes()}) == len(studies)
    (scale,) = {tuple(axis.range) for axis in figure.select_yaxes()}
    assert scale[0] < 2 - 1 and scale[1] > 9


def test_a_link_to_nothing_says_so():
    assert "deleted" in words(page(job="none-such").warning)


def shown_as(**link):
    """The view with which the crystals of a recorded comparison open."""
    at = page(job="demo-samplers", **link)
    assert not at.exception
    (viewer,) = (part for part in at.get("bidi_component") if "panes" in part.proto.json)
    return json.loads(viewer.proto.json)["look"]


def test_the_view_of_a_link_is_what_it_can_be():
    look = shown_as(linked="0", camera="A:1,2,3,50,0,0,0,1~C:1,2,3,60,1,0,0,0", hidden="B:O,Ti~C:Sr")
    assert look["cameras"] == {"A": [1, 2, 3, 50, 0, 0, 0, 1], "C": [1, 2, 3, 60, 1, 0, 0, 0]}
    assert look["hidden"] == {"B": ["O", "Ti"], "C": ["Sr"]} and not look["linked"]
    assert shown_as(camera="120,0,0,0.6,0.8")["cameras"] == {"": [120, 0, 0, 0.6, 0.8]}  # as links once were
    junk = shown_as(camera="A:1,2~B:nan,0,0,0,1~Z:9,0,0,0,1", hidden="AB:O~A:<b>,1~C", at="x", style="no")
    assert junk == {"at": 1, "linked": True, "style": "ball", "polyhedra": True, "cameras": {}, "hidden": {}}
