"""Stored results: today's form stays, older forms open, newer ones are refused."""

import gzip
import json

import pytest

from crystal_core.demos import FOLDER as DEMOS
from crystal_core.earlier_results import upgrade_result
from crystal_core.errors import RequestError
from crystal_core.files.records import crystal_record, is_valid, ranked, run_files
from crystal_core.jobs.queue import JobQueue
from crystal_core.records import FORMAT, crystals_of
from tests.earlier_runs import FOLDER as EARLIER

OLD = {
    "results": [{"formula": "NaCl", "z": 1, "candidates": [{"id": "a"}], "rank_by": "energy"}],
    "seconds": 1.0,
}


def recorded(path):
    return json.loads(gzip.decompress(path.read_bytes()))["result"]


def test_an_old_result_gains_what_later_forms_have_and_is_not_changed_itself():
    before = json.dumps(OLD)
    new = upgrade_result(OLD)
    assert json.dumps(OLD) == before
    assert new["format"] == FORMAT and new["notes"] == [] and crystals_of(new) == [{"id": "a", "notes": []}]
    assert upgrade_result(new) is new


def test_crystals_of_a_generation_gain_their_notes_too():
    new = upgrade_result({"crystals": [{"id": "a"}, {"id": "b", "notes": ["Its charges do not cancel."]}]})
    assert [record["notes"] for record in new["crystals"]] == [[], ["Its charges do not cancel."]]


@pytest.mark.parametrize("damage", [{"crystals": [1]}, {"crystals": 3}, {"results": [{"z": 1}]}])
def test_a_damaged_result_is_one_sentence(damage):
    with pytest.raises(RequestError, match="damaged"):
        upgrade_result(damage)


@pytest.mark.parametrize("form", [FORMAT + 1, "two"])
def test_a_result_of_a_newer_program_is_refused_in_one_sentence(form):
    with pytest.raises(RequestError, match=f"format {form}, and this version reads up to {FORMAT}"):
        upgrade_result(OLD | {"format": form})


@pytest.mark.parametrize(
    "path",
    [path for folder in (DEMOS, EARLIER) for path in sorted(folder.glob("*.json.gz"))],
    ids=lambda path: f"{path.parent.name}-{path.name.split('.')[0]}",
)
def test_results_recorded_by_any_version_rank_and_write(path):
    result = upgrade_result(recorded(path))
    records = crystals_of(result)
    assert records and all(isinstance(is_valid(record), bool) for record in records)
    assert set(run_files(ranked(records), result)) >= {"run.json", "run.extxyz"}


def test_a_result_put_by_an_earlier_version_opens_from_the_queue(tmp_path):
    queue = JobQueue(tmp_path)
    old = recorded(EARLIER / "zinc-sulphide.json.gz")
    assert "format" not in old
    name = queue.submit("predict-structure", {"formula": "ZnS"})
    queue.update(name, result=old)
    assert queue.get(name).result == upgrade_result(old)


def test_a_result_of_a_newer_version_is_said_and_costs_no_other_run(tmp_path):
    queue = JobQueue(tmp_path)
    name = queue.submit("predict-structure", {"formula": "ZnS"})
    queue.update(name, result=recorded(EARLIER / "zinc-sulphide.json.gz") | {"format": FORMAT + 1})
    job = queue.get(name)
    assert job.result is None and job.damaged and f"format {FORMAT + 1}" in job.error


def test_a_record_keeps_the_notes_it_is_given():
    from pymatgen.core import Lattice, Structure

    salt = Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    provenance = {"model": "m", "version": "0", "settings": {}, "device": "cpu", "libraries": {}, "note": ""}
    record = crystal_record(salt, id="a", provenance=provenance, notes=["Hydrogen is missing."])
    assert record["notes"] == ["Hydrogen is missing."] and record["origin"] is None
