"""``crystal-core compare`` keeps to the contract: keys, exit codes, files, folders and runs beside models."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.files.records import cell_json, crystal_record, write_run
from crystal_core.jobs.queue import JobQueue

EM = ["--column", "model=kldm-csp-perov5,sampler=em,steps=8"]
PC = ["--column", "model=kldm-csp-perov5,sampler=pc,steps=4,name=few steps"]
USUAL = ["--formula", "SrTiO3", "--n", "2", "--seed", "1", "--properties", "none", "--quiet"]


MADE_BY = {
    "model": "kldm-csp-mp",
    "version": "1",
    "settings": {},
    "device": "cpu",
    "libraries": {},
    "note": "",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))


def compare(*options):
    return CliRunner().invoke(build_app(), ["compare", *map(str, options)])


@pytest.mark.weights
def test_two_samplers_answer_with_the_keys_of_the_contract(tmp_path):
    files = ["--html", tmp_path / "c.html", "--csv", tmp_path / "c.csv", "--out", tmp_path / "out"]
    result = compare(*EM, *PC, *USUAL, "--json", *files)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert {"columns", "paired", "differing_settings"} <= set(data)
    assert [c["name"] for c in data["columns"]] == ["em · 8 steps", "few steps"]
    for column in data["columns"]:
        assert {"name", "settings", "metrics"} <= set(column)
        assert all({"value", "ci95"} <= set(metric) for metric in column["metrics"].values())
        assert column["settings"]["model"] == "kldm-csp-perov5"
    assert all({"a", "b", "metric", "difference", "ci95"} <= set(pair) for pair in data["paired"])
    assert data["differing_settings"]["sampler"] == ["em", "pc"]
    assert data["differing_settings"]["steps"] == [8, 4] and "model" not in data["differing_settings"]
    assert data["settings"]["seed"] == 1
    assert (
        "few steps" in (tmp_path / "c.html").read_text() and (tmp_path / "c.csv").read_text().count("\n") > 10
    )
    assert len(list((tmp_path / "out").glob("*.cif"))) == sum(len(c["crystals"]) for c in data["columns"])


@pytest.mark.weights
def test_a_bad_formula_among_several_is_named_and_loses_no_other():
    formulas = ["--formula", "Ba0.5TiO3", "--formula", "KF", "--formula", "Qy2O3"]
    result = compare(*EM, *PC, *formulas, *USUAL, "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    reasons = {one["formula"]: one["error"] for one in data["refused"]}
    assert "fractional counts" in reasons["Ba0.5TiO3"] and "unknown symbol 'Qy'" in reasons["Qy2O3"]
    assert "cells of 5 atoms, not of 2" in reasons["KF"] and len(reasons) == 3
    assert [target["label"] for target in data["targets"]] == ["SrTiO3"]
    assert [(c["n"], {row["target"] for row in c["samples"]}) for c in data["columns"]] == [(2, {0})] * 2
    lines = result.stderr.splitlines()
    assert all(any(line.startswith(f"{name} is left out: ") for line in lines) for name in reasons)


@pytest.mark.weights
def test_formulas_that_are_all_bad_end_the_call_in_one_sentence():
    result = compare(*EM, *EM, "--formula", "Qy2O3", "--formula", "KF", "--quiet")
    assert result.exit_code == 2 and "Qy" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.weights
def test_a_folder_and_a_run_stand_beside_a_model(tmp_path):
    sites = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    cell = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], sites)
    (tmp_path / "mine").mkdir()
    cell.to(filename=str(tmp_path / "mine" / "a.cif"))
    (tmp_path / "mine" / "bad.cif").write_text("data_x\n")
    jobs = JobQueue()
    job = jobs.submit("predict-structure", {"formula": "SrTiO3"})
    jobs.update(job, state="done", result=predicted(cell))
    result = compare(
        *EM, "--column", f"folder={tmp_path / 'mine'}", "--column", f"run={job}", *USUAL, "--json"
    )
    assert result.exit_code == 0, result.stderr
    _, folder, run = json.loads(result.stdout)["columns"]
    assert "bad.cif" in result.stderr
    assert (folder["source"], folder["name"], folder["n"]) == ("files", "mine", 1)
    assert (run["source"], run["name"], run["settings"]["model"]) == ("run", "SrTiO3", "kldm-csp-mp")
    assert run["metrics"]["valid"]["value"] == 1.0


def test_notes_on_files_stand_in_the_comparison(tmp_path):
    cell = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3])
    text = cell.to(fmt="cif").replace("'Cs1 Cl1'", "'Cs1 Br1'")
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        for k in range(12 if name == "theirs" else 1):
            (tmp_path / name / f"{name}{k}.cif").write_text(text)
    (tmp_path / "mine" / "bad.cif").write_text("data_x\n")
    (tmp_path / "known.cif").write_text(text)
    folders = [word for name in ("mine", "theirs") for word in ("--column", f"folder={tmp_path / name}")]
    options = ["--formula", "CsCl", "--properties", "none", "--reference", tmp_path / "known.cif"]
    result = compare(*folders, *options, "--quiet", "--json")
    assert result.exit_code == 0, result.stderr
    notes = json.loads(result.stdout)["notes"]
    assert [note.split(":")[0] for note in notes[:3]] == ["known.cif", "bad.cif", "mine0.cif"]
    assert "Cs Br, but the atoms" in notes[0] and "Cs Br, but the atoms" in notes[2]
    assert notes[-1] == "There are 2 more notes on files like the last one."
    assert len(notes) == 1 + 2 + 10 + 1 and result.stderr.splitlines() == notes


def test_a_folder_of_a_run_counts_each_of_its_crystals_once(tmp_path):
    """Its XYZ files repeat them, or hold how they formed and what they were before relaxing."""
    cells = [Structure(Lattice.cubic(a), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]) for a in (4.0, 4.4)]
    records = [
        crystal_record(one, id=f"a-{k}", provenance=MADE_BY, origin="noise", group=k)
        for k, one in enumerate(cells)
    ]
    records[0]["original"] = cell_json(cells[1])
    path = {"frames": [cell_json(one) for one in cells], "label": "forming"}
    write_run(records, tmp_path / "ours", {"crystals": records}, [path])
    (tmp_path / "others").mkdir()
    for name in ("run.extxyz", "trajectory-1.extxyz"):
        (tmp_path / "others" / name).write_text((tmp_path / "ours" / name).read_text())
    (tmp_path / "ours" / "bad.cif").write_text("data_x\n")
    columns = ["--column", f"folder={tmp_path / 'ours'}", "--column", f"folder={tmp_path / 'others'}"]
    result = compare(*columns, "--properties", "none", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    ours, others = json.loads(result.stdout)["columns"]
    assert ours["n"] == 2 and others["n"] == 4
    assert result.stderr.count("bad.cif") == 1


def test_folders_of_out_are_runs_with_their_settings_and_a_file_is_a_column(tmp_path):
    cells = [Structure(Lattice.cubic(a), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]) for a in (4.0, 4.2, 4.4)]
    records = [
        crystal_record(one, id=f"a-{k}", provenance=MADE_BY, origin="noise", group=k)
        for k, one in enumerate(cells)
    ]
    settings = {"model": "kldm-dng-mp", "steps_used": 7}
    write_run(records, tmp_path / "made", {"format": 2, "crystals": records, "settings": settings})
    write_run(records[:2], tmp_path / "relaxed", {"rows": [{"crystal": one} for one in records[:2]]})
    (tmp_path / "one.cif").write_text(records[0]["cif"])
    columns = [
        f"run={tmp_path / 'made'}",
        f"run={tmp_path / 'relaxed'},name=after",
        f"folder={tmp_path / 'one.cif'}",
    ]
    options = [option for column in columns for option in ("--column", column)]
    result = compare(*options, "--properties", "none", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert [(c["name"], c["n"]) for c in data["columns"]] == [("made", 3), ("after", 2), ("one.cif", 1)]
    assert data["differing_settings"]["steps"] == [7, None, None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "folder=DIR"),
        ("{", "folder=DIR"),
        ('{"rows": [1]}', "folder=DIR"),
        ('{"results": [1]}', "is damaged"),
        ('{"format": 99}', "has format 99"),
        ('{"crystals": []}', "no crystals to compare"),
    ],
)
def test_a_json_that_is_of_no_run_is_refused_in_a_sentence(tmp_path, text, says):
    (tmp_path / "run.json").write_text(text)
    result = compare("--column", f"run={tmp_path}", "--column", f"run={tmp_path}")
    assert result.exit_code == 2 and result.stderr.count("\n") == 1 and result.stdout == ""
    assert says in result.stderr


def test_a_run_that_does_not_exist_says_what_a_run_is(tmp_path):
    result = compare("--column", "run=absent", "--column", f"folder={tmp_path / 'absent'}")
    assert result.exit_code == 2 and "folder of --out" in result.stderr
    result = compare(*[f"--column=folder={tmp_path / 'absent'}"] * 2)
    assert result.exit_code == 2 and "no folder absent" in result.stderr


def predicted(cell):
    """The result of a prediction that found one crystal."""
    record = crystal_record(cell, id="SrTiO3-1", provenance=MADE_BY, origin="noise", group=0)
    record |= {"z": 1, "score": {"name": "consensus", "value": 1, "unit": "candidates alike"}, "n_alike": 1}
    item = {"formula": "SrTiO3", "z": 1, "candidates": [record], "rank_by": "consensus"}
    return {
        "format": 2,
        "results": [item],
        "notes": [],
        "settings": {"seed": 1, "model": "kldm-csp-mp"},
        "seconds": 1.0,
    }


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (EM, 2, "2 to 4 columns"),
        ([*EM, "--column", "em"], 2, "is written model="),
        ([*EM, "--column", "model=kldm-csp-perov5,steps=many"], 2, "steps takes a number"),
        ([*EM, "--column", "model=none-such"], 3, "No checkpoint named"),
        ([*EM, "--column", "run=none-such"], 2, "no run none-such"),
        ([*EM, "--column", "folder=/none/such"], 2, "no folder such"),
        ([*EM, *EM, "--limit", "3"], 2, "no --data is given"),
        ([*EM, *EM, "--html", "/none/such/c.html"], 2, "no folder"),
    ],
)
def test_a_wrong_call_is_one_sentence(options, code, words):
    result = compare(*options, "--formula", "SrTiO3", "--quiet")
    assert result.exit_code == code and words in result.stderr and result.stderr.count("\n") == 1
