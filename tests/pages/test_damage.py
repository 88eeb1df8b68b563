"""Pages over a damaged store: one sentence for the run concerned, and everything else as ever."""

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from crystal_core.demos import find_demo
from crystal_core.demos.comparisons import READY
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.store import BlobStore
from crystal_core.requests import (
    CrystalGenerationRequest,
    RelaxationRequest,
    StructurePredictionRequest,
    to_json,
)
from tests.pages.opening import words

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_worker")
BAD_REQUESTS = ["{", "[]", '{"formula": 7, "elements": 7, "crystals": 7}']


def page(name, **query):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=90).run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{name}.py").run() if name != "home" else app


def links(at):
    return [link.proto.label.replace("\\", "") for link in at.get("page_link")]


def finished(demo, kind, request):
    """A finished run with the result of a recorded one."""
    queue = JobQueue()
    job = queue.submit(kind, to_json(request))
    queue.update(job, state="done", result=json.loads(json.dumps(find_demo(demo).result)))
    return job


@pytest.fixture
def runs():
    """A finished prediction and a finished generation."""
    return {
        "predict_structure": finished(
            "zinc-sulphide", "predict-structure", StructurePredictionRequest(formula="ZnS")
        ),
        "generate": finished("lithium-iron-oxides", "generate", CrystalGenerationRequest(n=8)),
    }


def sql(command, *values):
    with sqlite3.connect(JobQueue().home / "jobs.sqlite3") as db:
        rows = db.execute(command, values).fetchall()
    db.close()
    return rows


def break_result(job, content=b""):
    ((name,),) = sql("select result from jobs where id = ?", job)
    path = JobQueue().blobs.folder / name[:2] / f"{name}.json.gz"
    path.write_bytes(content or path.read_bytes()[:-100])


def table(at):
    return dict(zip(at.dataframe[0].value["request"], at.dataframe[0].value["state"], strict=True))


def test_home_and_history_show_the_others_beside_a_damaged_result(runs):
    break_result(runs["generate"])
    at = page("home")
    assert not at.exception and not at.error
    assert "8 new crystals · damaged" in links(at) and any("ZnS · done · " in label for label in links(at))
    at = page("history")
    assert not at.exception and not at.error
    assert table(at) == {"8 new crystals": "damaged", "ZnS": "done"}


@pytest.mark.parametrize("name", ["home", "history"])
def test_lists_of_runs_read_a_result_once_and_see_when_its_file_changes(runs, name, monkeypatch):
    read, get = [], BlobStore.get
    monkeypatch.setattr(BlobStore, "get", lambda store, key: read.append(key) or get(store, key))
    page("home"), page("history")
    assert len([key for key in read if key]) == 2
    read.clear()
    assert "damaged" not in listed(name) and not [key for key in read if key]
    result = JobQueue().get(runs["generate"]).result
    break_result(runs["generate"])
    assert listed(name).count("damaged") == 1
    JobQueue().update(runs["generate"], result=result)  # put again, the file is whole again
    assert "damaged" not in listed(name) and "8 crystals" in listed(name)


def listed(name):
    """What a page says of the runs in its list."""
    at = page(name)
    assert not at.exception and not at.error
    return " ".join(links(at)) if name == "home" else at.dataframe[0].value.to_string()


@pytest.mark.parametrize("name", ["generate", "predict_structure"])
@pytest.mark.parametrize("content", [b"", b"junk"])
def test_a_page_whose_run_is_damaged_says_so_in_one_sentence(runs, name, content, request):
    if name == "generate":
        request.getfixturevalue("tiny_de_novo")()
    break_result(runs[name], content)
    for query in ({"job": runs[name]}, {"fork": runs[name], "job": runs[name]}):
        at = page(name, **query)
        assert not at.exception and len(at.error) == 1, words(at.error)
        assert "damaged or missing" in words(at.error) and "log" not in words(at.error)


@pytest.mark.parametrize("request_text", BAD_REQUESTS)
@pytest.mark.parametrize("state", ["queued", "done"])
def test_a_damaged_entry_breaks_no_page_and_can_be_deleted(
    runs, request_text, state, tiny_de_novo, monkeypatch
):
    tiny_de_novo()
    job = runs["generate"]
    child = JobQueue().submit("relax", to_json(RelaxationRequest(crystals=(CELL,))), parent="")
    sql("update jobs set request = ?, state = ? where id in (?, ?)", request_text, state, job, child)
    assert not page("home").exception
    for name, query in (("generate", {"job": job}), ("generate", {"fork": job}), ("viewer", {"job": child})):
        at = page(name, **query)
        assert not at.exception and "log" not in words(at.error)
    # the two damaged ones share a title
    assert sorted(table(page("history")).values()) == [
        "damaged",
        "done",
    ]
    for name in (job, child):
        at = selected(monkeypatch, name)
        assert "damaged" in words(at.error) and not at.exception
        at.button(key="delete").click().run()
        really = at.button(key="really")
        at.button(key="delete").click()  # AppTest runs the whole page again, never a dialog alone
        really.click().run()
        assert not at.exception
    assert [left.id for left in JobQueue().list_jobs()] == [runs["predict_structure"]]


CELL = {
    "id": "a",
    "lattice": [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]],
    "atomic_numbers": [26],
    "frac_coords": [[0.0, 0.0, 0.0]],
    "origin": None,
    "provenance": {},
}


@pytest.mark.parametrize(
    ("kind", "request_text"),
    [
        ("infill", json.dumps({"crystal": CELL, "sites": [7]})),
        ("infill", json.dumps({"crystal": CELL | {"atomic_numbers": [10**40]}, "sites": [0]})),
        ("predict-structure", '{"formula": "\\ud800", "model": ["\\udfff"]}'),
        ("generate", '{"n": 1e999, "elements": ["Li"], "model": {"a": NaN}}'),
        ("no such kind", '{"formula": {"\\ud800": []}}'),
    ],
)
def test_an_entry_of_the_right_shape_with_impossible_content_costs_no_list(runs, kind, request_text):
    sql(
        "insert into jobs (id, kind, request, state, created) values (?, ?, ?, 'done', 1)",
        "f" * 32,
        kind,
        request_text,
    )
    home, history = page("home"), page("history")
    for at in (home, history):
        assert not at.exception and not at.error, words(at.error)
    assert any("ZnS" in label for label in links(home)) and len(history.dataframe[0].value) == len(runs) + 1


def selected(monkeypatch, job):
    """The history with a run selected, which AppTest itself cannot do."""
    row = [other.id for other in JobQueue().list_jobs()].index(job)
    chosen = SimpleNamespace(selection=SimpleNamespace(rows=[row]))
    monkeypatch.setattr("streamlit.dataframe", lambda *_, **__: chosen)
    return page("history")


def test_a_damaged_relaxation_costs_neither_its_run_nor_the_other_relaxations(runs):
    queue = JobQueue()
    for k in range(2):
        child = queue.submit(
            "relax", to_json(RelaxationRequest(crystals=(CELL | {"id": f"a{k}"},))), parent=runs["generate"]
        )
        queue.update(child, state="done", result={"crystals": [], "seconds": float(k)})
        if k == 0:
            break_result(child, b"junk")
    at = page("generate", job=runs["generate"])
    assert "1 earlier relaxation of this run is damaged" in words(at.warning)
    assert any("✓ Finished" in line.value for line in at.markdown) and not at.exception and not at.error


def test_a_list_of_runs_says_which_part_of_it_is_damaged():
    queue = JobQueue()
    requests = [to_json(StructurePredictionRequest(formula=formula)) for formula in ("ZnS", "MgO")]
    batch = queue.submit_batch("predict-structure", requests)
    sql("update jobs set request = '{' where id = ?", queue.list_batch(batch)[1].id)
    at = page("predict_structure", batch=batch)
    assert "1 run of this list is damaged" in words(at.warning)
    assert at.dataframe[0].value["state"].tolist() == ["waiting"] and not at.exception and not at.error


def test_a_run_that_does_not_record_all_its_settings_still_opens_in_the_history(monkeypatch):
    at = selected(monkeypatch, JobQueue().submit("predict-structure", {"formula": "MgO"}))
    assert "does not record its setting 'model'" in words(at.caption) and not at.exception and not at.error


def test_a_damaged_page_of_the_database_is_damaged_lines_beside_the_other_runs(runs):
    for n in range(12):
        JobQueue().submit("predict-structure", {"formula": "MgO", "name": "x" * 900, "n": n})
    sql("pragma wal_checkpoint(truncate)")
    path = JobQueue().home / "jobs.sqlite3"
    whole, size = path.read_bytes(), 4096
    start = whole.index(runs["generate"].encode() + b"generate") // size * size
    path.write_bytes(whole[:start] + bytes(size) + whole[start + size :])
    at = page("history")
    assert not at.exception and not at.error
    states = list(at.dataframe[0].value["state"])
    assert len(states) == 14 and 1 <= states.count("damaged") <= 5
    assert not page("home").error


@pytest.mark.parametrize("name", ["home", "history", "models"])
def test_a_folder_of_runs_that_is_none_is_one_sentence_where_runs_are_shown(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "file"))
    at = page(name)
    assert not at.exception and [e.value.count("is not a folder") for e in at.error] == [1] * (
        name != "models"
    )


@pytest.mark.parametrize("name", ["predict_structure", "generate"])
def test_below_the_warning_of_a_dead_link_the_page_offers_what_an_empty_one_does(name):
    empty, dead = page(name), page(name, job="0" * 32)
    assert any("deleted or belongs to another computer" in warning.value for warning in dead.warning)
    offered = set(links(empty))
    assert offered and offered <= set(links(dead)) and not dead.exception


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("viewer", {}),
        ("predict_structure", {"job": "demo-strontium-titanate"}),
        ("generate", {"job": "demo-cubic-oxides"}),
        ("compare", {"job": f"demo-{READY[0].name}"}),
    ],
)
def test_a_download_does_not_draw_the_page_anew_under_the_next_one(name, query):
    """A page drawn anew forgets the files that its buttons name: a second one would then bring nothing."""
    buttons = page(name, **query).get("download_button")
    assert buttons and all(button.proto.ignore_rerun for button in buttons)
