"""Damaged files and rows of the store: each costs one run its result and nothing else."""

import gzip
import json
import os
import sqlite3
from pathlib import Path

import pytest

from crystal_core.demos import find_demo
from crystal_core.jobs.job import ENTRY_DAMAGED, RESULT_DAMAGED
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.shapes import is_request, is_result
from crystal_core.jobs.store import BlobStore
from crystal_core.jobs.worker import run_job
from crystal_core.records import crystals_of

DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "junk": lambda path: path.write_bytes(b"junk"),
    "no JSON": lambda path: path.write_bytes(gzip.compress(b"{")),
    "another shape": lambda path: path.write_bytes(gzip.compress(b'{"crystals": [1]}')),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: instead(path, lambda: path.mkdir()),
    "a folder of files": lambda path: instead(path, lambda: (path.mkdir(), (path / "a").write_text("a"))),
    "a link to nothing": lambda path: instead(path, lambda: path.symlink_to("nothing")),
    "a link to itself": lambda path: instead(path, lambda: path.symlink_to(path.name)),
    "a link without end": lambda path: instead(path, lambda: path.symlink_to("/dev/zero")),
    "a pipe": lambda path: instead(path, lambda: os.mkfifo(path)),
}


def instead(path, make):
    path.unlink()
    make()


def sql(home, command, *values):
    with sqlite3.connect(home / "jobs.sqlite3") as db:
        db.execute(command, values)
    db.close()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_result_costs_its_own_run_only(tmp_path, damage):
    queue = JobQueue(tmp_path)
    good, bad = queue.submit("count", {"n": 1}), queue.submit("count", {"n": 2})
    for job, value in ((good, {"finished": 1}), (bad, {"finished": list(range(100))})):
        queue.update(job, state="done", result=value)
    (path,) = [p for p in queue.blobs.folder.glob("*/*") if b"99" in gzip.decompress(p.read_bytes())]
    DAMAGE[damage](path)
    first, second = queue.list_jobs()
    assert (first.id, first.result, first.error, first.damaged) == (bad, None, RESULT_DAMAGED, True)
    assert (second.result["finished"], second.error, second.damaged) == (1, None, False)
    queue.delete(bad)
    assert [job.id for job in queue.list_jobs()] == [good]


@pytest.mark.parametrize("damage", DAMAGE)
def test_putting_a_value_again_heals_its_file(tmp_path, damage):
    store = BlobStore(tmp_path)
    name = store.put({"crystals": [1, 2]})
    (path,) = tmp_path.glob("*/*")
    DAMAGE[damage](path)
    assert store.get(name) is None
    assert store.put({"crystals": [1, 2]}) == name and store.get(name) == {"crystals": [1, 2]}
    assert path.is_file() and not path.is_symlink()
    # kept, for it may hold something
    assert all(other.is_dir() for other in tmp_path.glob("*/*") if other != path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_sweep_goes_on_past_whatever_lies_in_the_store(tmp_path, damage):
    store = BlobStore(tmp_path)
    names = [store.put({"crystals": k}) for k in range(6)]
    for path in sorted(tmp_path.glob("*/*"))[:3]:
        DAMAGE[damage](path)
    store.sweep({names[5]}, older_than=-1)
    left = [path for path in tmp_path.glob("*/*") if not path.is_dir()]
    assert len(left) <= 1 and store.sweep([], older_than=-1) == len(left)


@pytest.mark.parametrize("damage", ["a folder", "a link without end", "a pipe", "truncated"])
def test_a_run_goes_on_over_a_result_that_something_else_lies_on(tmp_path, monkeypatch, damage):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    queue = JobQueue(tmp_path)
    first, second = queue.submit("count", {"n": 2}), queue.submit("count", {"n": 2})
    run_job(queue, queue.take(), {"count": "slow_runner:count"})
    for path in list(queue.blobs.folder.glob("*/*")):
        DAMAGE[damage](path)
    assert queue.get(first).error == RESULT_DAMAGED
    run_job(queue, queue.take(), {"count": "slow_runner:count"})
    ended = queue.get(second)
    assert (ended.state, ended.result["finished"], ended.error) == ("done", 2, None)


def test_what_is_put_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    store, steps, sync, replace = BlobStore(tmp_path), [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: steps.append("sync") or sync(handle))
    monkeypatch.setattr(os, "replace", lambda *names: steps.append("name") or replace(*names))
    store.put({"crystals": 1})
    assert steps == ["sync", "name", "sync"]  # the file, its name, the folder that holds the name


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    store = BlobStore(tmp_path)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put({"crystals": 1})
    assert not list(tmp_path.glob("*/*"))


def test_a_name_that_is_none_reads_no_file(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "secret.json.gz").write_bytes(gzip.compress(b"{}"))
    store = BlobStore(tmp_path / "store")
    assert store.get("../secret") is None and store.get("ab") is None and store.get(7) is None


def test_damaged_paths_are_counted_and_cost_no_others(tmp_path):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})
    for k in range(3):
        queue.update(job, trajectory={"label": f"sample {k}", "frames": []})
    next(queue.blobs.folder.glob("*/*")).write_bytes(b"")
    paths = queue.get(job).trajectories
    assert len(paths) == 2 and paths.n_lost == 1


ROWS = {
    "request": ["", "{", "null", "[1]", "7", b"\xff\xfe", "[" * 100_000],
    "created": ["yesterday", 1e300, -1.0, float("inf"), b"\x00"],
    "kind": [b"\x00\x01"],
}
HARMLESS = {
    "snapshot": ["{", "[]", b"\xff"],
    "trajectories": ["{", "null", "[7]", b"\xff"],
    "started": ["soon", 1e300],
    "finished": [b"x"],
    "step": ["many"],
    "n_steps": [1.5],
    "note": [b"\xff\xfe"],
    "exit_code": ["none"],
    "worker": ["../../x", ""],
}


@pytest.mark.parametrize(("column", "value"), [(name, v) for name, some in ROWS.items() for v in some])
def test_a_damaged_row_is_one_entry_and_never_stops_the_worker(tmp_path, monkeypatch, column, value):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    queue = JobQueue(tmp_path)
    bad, good = queue.submit("count", {}), queue.submit("count", {"n": 1})
    sql(tmp_path, f"update jobs set {column} = ? where id = ?", value, bad)
    jobs = {job.id: job for job in queue.list_jobs()}
    assert jobs[bad].damaged and jobs[bad].error == ENTRY_DAMAGED and jobs[bad].request == {}
    assert not jobs[good].damaged
    run_job(queue, queue.take(), {"count": "slow_runner:count"})
    assert queue.take() is None
    assert [queue.get(job).state for job in (bad, good)] == ["failed", "done"]
    assert queue.get(bad).error == ENTRY_DAMAGED
    assert queue.sweep(older_than=-1) == 0
    queue.delete(bad)
    assert [job.id for job in queue.list_jobs()] == [good]


@pytest.mark.parametrize(("column", "value"), [(name, v) for name, some in HARMLESS.items() for v in some])
def test_a_damaged_detail_of_a_row_does_not_keep_it_from_running(tmp_path, monkeypatch, column, value):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {"n": 1})
    sql(tmp_path, f"update jobs set {column} = ? where id = ?", value, job)
    assert not queue.get(job).damaged and queue.workers_wanted() == ["cpu"]
    queue.update(job, trajectory={"label": "a"})
    assert [path["label"] for path in queue.get(job).trajectories] == ["a"]
    run_job(queue, queue.take("cpu"), {"count": "slow_runner:count"})
    assert queue.get(job).state == "done" and queue.sweep(older_than=-1) == 0


def test_a_damaged_list_of_paths_still_keeps_their_files(tmp_path):
    queue = JobQueue(tmp_path)
    job = queue.submit("count", {})
    queue.update(job, trajectory={"label": "a"})
    text = json.dumps(queue.get(job).trajectories.names)
    sql(tmp_path, "update jobs set trajectories = ? where id = ?", text[:-1], job)
    assert queue.sweep(older_than=-1) == 0 and list(queue.get(job).trajectories) == [{"label": "a"}]


def test_a_batch_leaves_out_what_cannot_be_read_and_counts_it(tmp_path):
    queue = JobQueue(tmp_path)
    batch = queue.submit_batch("count", [{"n": n} for n in (1, 2, 3)])
    sql(tmp_path, "update jobs set request = '{' where id = ?", queue.list_batch(batch)[1].id)
    assert [job.request["n"] for job in queue.list_batch(batch)] == [1, 3]
    assert queue.unreadable_in_batch(batch) == 1


def changed(value, *path):
    """A copy of a result with what lies at a path taken out."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copy


@pytest.mark.parametrize("demo", ["zinc-sulphide", "spinel", "lithium-iron-oxides"])
def test_recorded_runs_have_the_shape_that_pages_need_and_others_do_not(demo):
    run = find_demo(demo)
    result, key = json.loads(json.dumps(run.result)), "results" if "results" in run.result else "crystals"
    assert is_request(run.kind, json.loads(json.dumps(run.request))) and is_result(run.kind, result)
    for wrong in (None, [], 7, "x", {}, {key: 3}, result | {key: [1]}, {**result, key: None}):
        assert not is_result(run.kind, wrong)
    assert not is_result(run.kind, changed(result, "settings", "seed"))
    record = (key, 0) if key == "crystals" else (key, 0, "candidates", 0)
    for name in ("id", "validity", "lattice", "provenance", "group"):
        assert not is_result(run.kind, changed(result, *record, name))
    assert is_result(run.kind, changed(result, *record, "cif"))


def test_a_stored_result_of_the_wrong_shape_is_damage(tmp_path):
    queue = JobQueue(tmp_path)
    job = queue.submit("predict-structure", {"formula": "ZnS"})
    result = json.loads(json.dumps(find_demo("zinc-sulphide").result))
    queue.update(job, state="done", result=result)
    assert queue.get(job).result == result and not queue.get(job).damaged
    crystals_of(result)[0]["lattice"] = "cubic"
    queue.update(job, result=result)
    assert queue.get(job).result is None and queue.get(job).error == RESULT_DAMAGED
