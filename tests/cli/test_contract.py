"""The command line's contract: JSON keys, exit codes, one bad item loses no other. Runs the
smallest shipped checkpoint.
"""

import json
import shutil

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import CheckpointMissing
from crystal_core.paths import checkpoints_dir
from crystal_core.registry.store import list_cards

PEROV = [
    "--model",
    "kldm-csp-perov5",
    "--n",
    "2",
    "--sampler",
    "pc",
    "--steps",
    "25",
    "--seed",
    "5",
    "--start",
    "noise",
]


def call(*words):
    return CliRunner().invoke(build_app(), [*words])


@pytest.mark.weights
def test_predict_structure_answers_with_candidates_and_repeats(tmp_path):
    first = call("predict-structure", "SrTiO3", *PEROV, "--json", "--out", str(tmp_path / "out"))
    assert first.exit_code == 0, first.stderr
    data = json.loads(first.stdout)
    keys = {"format", "results", "ranking", "n_failed", "notes", "settings", "seconds", "network_calls"}
    assert set(data) == keys
    (item,) = data["results"]
    assert (item["formula"], item["z"], item["rank_by"], len(item["candidates"])) == (
        "SrTiO3",
        1,
        "consensus",
        2,
    )
    assert data["ranking"] == [candidate["id"] for candidate in item["candidates"]]
    crystal = item["candidates"][0]
    assert {
        "id",
        "lattice",
        "atomic_numbers",
        "frac_coords",
        "cif",
        "space_group",
        "density",
        "validity",
        "provenance",
        "origin",
    } <= set(crystal)
    assert sorted(crystal["atomic_numbers"]) == [8, 8, 8, 22, 38]
    assert all(0 <= x < 1 for row in crystal["frac_coords"] for x in row)
    assert len(list((tmp_path / "out").glob("*.cif"))) == 2 and (tmp_path / "out" / "run.extxyz").is_file()
    again = json.loads(call("predict-structure", "SrTiO3", *PEROV, "--json").stdout)
    assert [c["frac_coords"] for c in again["results"][0]["candidates"]] == [
        c["frac_coords"] for c in item["candidates"]
    ]


@pytest.mark.weights
def test_one_bad_formula_does_not_lose_the_others():
    data = json.loads(call("predict-structure", "Xx2", "BaTiO3", *PEROV, "--json").stdout)
    assert "Did you mean" in data["results"][0]["error"] and data["results"][1]["candidates"]
    assert data["ranking"][0] == [] and len(data["ranking"][1]) == len(data["results"][1]["candidates"])


@pytest.mark.weights
def test_several_formulas_share_one_seed_which_is_reported():
    options = [*PEROV[:4], "--sampler", "pc", "--steps", "25", "--start", "prototype"]
    data = json.loads(call("predict-structure", "SrTiO3", "BaTiO3", *options, "--json").stdout)
    seeds = {crystal["provenance"]["seed"] for item in data["results"] for crystal in item["candidates"]}
    assert len(data["results"]) == 2 and seeds == {data["settings"]["seed"]}
    assert data["settings"]["formula"] == ["SrTiO3", "BaTiO3"]


@pytest.mark.weights
def test_two_spellings_of_a_formula_get_files_of_their_own(tmp_path):
    result = call(
        "predict-structure", "SrTiO3", "SrTiO3", *PEROV[:-1], "prototype", "--json", "--out", str(tmp_path)
    )
    assert result.exit_code == 0, result.stderr
    names = [crystal["id"] for item in json.loads(result.stdout)["results"] for crystal in item["candidates"]]
    assert len(set(names)) == len(names) and {path.stem for path in tmp_path.glob("*.cif")} == set(names)
    first, second = json.loads(result.stdout)["ranking"]
    assert first and second and {*first, *second} == set(names)


@pytest.mark.weights
def test_what_goes_wrong_inside_one_formula_loses_no_other(monkeypatch):
    from crystal_core.workflows import predict_structure as workflow

    true_run = workflow.run

    def run(request):
        if request.formula == "BaTiO3":
            raise ZeroDivisionError("as if")
        return true_run(request)

    monkeypatch.setattr(workflow, "run", run)
    data = json.loads(call("predict-structure", "BaTiO3", "SrTiO3", *PEROV, "--json").stdout)
    assert "ZeroDivisionError" in data["results"][0]["error"] and data["results"][1]["candidates"]


def fails_after(monkeypatch, formula, last):
    """Predictions of ``formula`` end with ``last`` raised after their first finished part; others go
    on to their end.
    """
    from crystal_core.workflows import predict_structure as workflow

    true_run = workflow.run

    def run(request):
        for update in true_run(request):
            yield update
            if request.formula == formula and update.result:
                raise last

    monkeypatch.setattr(workflow, "run", run)


PARTS = ["--model", "prototype", "--seed", "5", "--json"]


@pytest.mark.weights
def test_finished_parts_are_kept_whatever_ends_the_next_one(tmp_path, monkeypatch):
    fails_after(monkeypatch, "BaTiO3", MemoryError())
    result = call("predict-structure", "BaTiO3", *PARTS, "--out", str(tmp_path))
    assert result.exit_code == 1 and json.loads(result.stdout)["results"][0]["candidates"]
    assert (tmp_path / "run.json").is_file() and "MemoryError" in result.stderr
    first, failed, second = json.loads(
        call("predict-structure", "BaTiO3", "SrTiO3", "--z", "1", *PARTS).stdout
    )["results"]
    assert (
        first["candidates"]
        and second["candidates"]
        and failed["formula"] == "BaTiO3"
        and "MemoryError" in failed["error"]
    )


@pytest.mark.weights
def test_what_is_missing_for_a_later_formula_loses_no_earlier_one(monkeypatch):
    fails_after(monkeypatch, "BaTiO3", CheckpointMissing("It is gone."))
    result = call("predict-structure", "SrTiO3", "BaTiO3", "--z", "1", *PARTS)
    data = json.loads(result.stdout)
    assert result.exit_code == 3 and [item["formula"] for item in data["results"]] == ["SrTiO3", "BaTiO3"]
    assert data["settings"]["formula"] == ["SrTiO3", "BaTiO3"]


@pytest.mark.weights
def test_a_formula_without_any_candidate_says_so(monkeypatch):
    from crystal_core import structures

    monkeypatch.setattr(structures, "to_structures", lambda batch: [None] * len(batch))
    alone = call("predict-structure", "SrTiO3", "--z", "1", "--n", "2", *PARTS)
    assert (alone.exit_code, alone.stdout) == (2, "") and "No known arrangement makes a cell" in alone.stderr
    data = json.loads(call("predict-structure", "SrTiO3", "BaTiO3", "--z", "1", "--n", "2", *PARTS).stdout)
    # four arrangements of BaTiO3 are known
    assert all("makes a cell" in item["error"] for item in data["results"]) and data["n_failed"] == 6


@pytest.mark.weights
def test_the_largest_seed_works_for_every_part():
    result = call(
        "predict-structure",
        "SrTiO3",
        *PEROV[:4],
        "--sampler",
        "em",
        "--steps",
        "3",
        "--seed",
        str(2**31 - 1),
        "--json",
    )
    assert result.exit_code == 0, result.stderr


@pytest.mark.weights
def test_quiet_means_silent():
    assert call("predict-structure", "SrTiO3", *PEROV, "--json", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["predict-structure", "Xx2", *PEROV], 2, "unknown symbol"),
        (["predict-structure", "MgAl2O4", *PEROV], 2, "fits kldm-csp-perov5"),
        (["predict-structure", "SrTiO3", *PEROV, "--z", "2"], 2, "makes 10"),
        (["predict-structure", "SrTiO3", "--sampler", "euler"], 2, "choose one of"),
        (["predict-structure", "SrTiO3", "--model", "nothing"], 3, "No checkpoint named"),
        (["predict-structure", "SrTiO3", "BaTiO3", "--model", "nothing"], 3, "No checkpoint named"),
        (["predict-structure", "SrTiO3", "BaTiO3", "--rank", "beauty"], 2, "choose one of"),
        (["predict-structure", "SrTiO3", "--z", "1,x"], 2, "whole numbers"),
        (["predict-structure", "SrTiO3", "--n", "0"], 2, "between 1 and"),
        (["predict-structure", "SrTiO3", "--device", "abacus"], 2, "Unknown device"),
        (["models", "show", "nothing"], 3, "Installed are"),
        (["data", "describe", "nowhere.parquet"], 2, "no file"),
    ],
)
def test_mistakes_end_with_one_sentence_and_the_right_code(words, code, part):
    result = call(*words)
    assert result.exit_code == code
    assert (
        part in result.stderr
        and "Traceback" not in result.stderr
        and len(result.stderr.strip().splitlines()) <= 2
    )


def test_a_damaged_checkpoint_is_named_and_nothing_else_is_said(tmp_path, monkeypatch):
    shutil.copytree(checkpoints_dir() / "kldm-csp-perov5", tmp_path / "kldm-csp-perov5")
    (tmp_path / "kldm-csp-perov5" / "lattice.json").write_text("{}")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    result = call("models", "verify", "--json")
    (row,) = json.loads(result.stdout)["models"]
    assert (result.exit_code, row["ok"], result.stderr) == (1, False, "")
    assert "SHA-256" in row["problem"]


def test_every_shipped_checkpoint_has_its_hashes():
    data = json.loads(call("models", "list", "--json").stdout)
    assert {row["name"] for row in data["models"]} == {card.name for card in list_cards()}
    assert data["models"] and all(row["sha256_ok"] for row in data["models"])
