"""Row by row, what the command line promises: options, defaults, JSON keys, exit codes. Extend the
tables, do not rename.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app

MODEL_KEYS = {
    "name",
    "kind",
    "task",
    "method",
    "parameters",
    "size_mb",
    "trained_on",
    "metrics",
    "licence",
    "limits",
    "sha256_ok",
}
CRYSTAL_KEYS = {
    "id",
    "formula",
    "n_atoms",
    "lattice",
    "atomic_numbers",
    "frac_coords",
    "cif",
    "space_group",
    "density",
    "validity",
    "provenance",
}
SPEED_KEYS = {"seconds_per_network_call", "crystals_per_second", "peak_memory_mb", "device", "threads"}
NACL = Structure(
    Lattice([[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)


def call(*words):
    return CliRunner().invoke(build_app(), [str(word) for word in words])


def answer(*words):
    result = call(*words, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1  # exactly one object on one line
    return json.loads(result.stdout)


@pytest.fixture
def table(tmp_path):
    rows = [
        {
            "material_id": f"x-{i}",
            "formula": cell.composition.reduced_formula,
            "n_atoms": len(cell),
            "lattice": cell.lattice.matrix.ravel(),
            "species": np.array([s.specie.Z for s in cell]),
            "frac_coords": cell.frac_coords.ravel(),
            "split": split,
        }
        for i, (cell, split) in enumerate([(PEROVSKITE, "train"), (PEROVSKITE, "val"), (PEROVSKITE, "val")])
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "cells.parquet")
    return tmp_path / "cells.parquet"


def test_models_in_every_form(tmp_path, monkeypatch):
    models = answer("models", "list")["models"]
    assert models and all(set(model) >= MODEL_KEYS for model in models)
    for kind in ("generator", "predictor"):
        of_kind = answer("models", "list", "--kind", kind)["models"]
        assert [m["name"] for m in of_kind] == [m["name"] for m in models if m["kind"] == kind]
    (entry,) = answer("models", "show", "prototype")["models"]
    assert set(entry) >= MODEL_KEYS and entry["sha256_ok"] is True
    assert all(
        set(row) == {"name", "ok", "problem"} and row["ok"]
        for row in answer("models", "verify", "prototype")["models"]
    )


def test_a_card_that_cannot_be_read_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    (tmp_path / "checkpoints" / "broken").mkdir(parents=True)
    (tmp_path / "checkpoints" / "broken" / "card.toml").write_text("name = ")
    assert "broken" not in {row["name"] for row in answer("models", "list")["models"]}
    result = call("models", "verify", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["models"]}
    assert result.exit_code == 1 and "cannot be read" in rows["broken"]["problem"] and rows["prototype"]["ok"]


@pytest.mark.weights
def test_a_candidate_has_every_key_and_the_files_are_the_answer(tmp_path):
    out = tmp_path / "run"
    options = [
        "--model",
        "kldm-csp-perov5",
        "--n",
        "1",
        "--steps",
        "3",
        "--sampler",
        "em",
        "--quiet",
        "--out",
        out,
    ]
    data = answer("predict-structure", "SrTiO3", *options)
    assert set(data) >= {"results", "settings", "seconds", "network_calls"}
    assert isinstance(data["settings"]["seed"], int)  # drawn, because none was given
    for item in data["results"]:
        assert set(item) >= {"formula", "z", "candidates", "rank_by"}
        for crystal in item["candidates"]:
            assert set(crystal) >= CRYSTAL_KEYS
            assert set(crystal["validity"]) >= {"structure", "composition", "plausible", "reasons"}
            assert set(crystal["score"]) == {"name", "value", "unit"}
            assert np.array(crystal["lattice"]).shape == (3, 3) and crystal["n_atoms"] == len(
                crystal["frac_coords"]
            )
            assert (out / f"{crystal['id']}.cif").read_text() == crystal["cif"]
            assert crystal["space_group"] is None or set(crystal["space_group"]) == {
                "symbol",
                "number",
                "symprec",
            }
    assert json.loads((out / "run.json").read_text()) == data and (out / "run.extxyz").is_file()


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    result = call("predict-structure", "SrTiO3", "--model", "kldm-csp-perov5", "--out", tmp_path / "file")
    assert result.exit_code == 2 and "--out file" in result.stderr and len(result.stderr.splitlines()) == 1


def test_an_unexpected_end_of_one_file_loses_no_other(tmp_path, monkeypatch):
    from crystal_core.cli import analyse

    NACL.to(filename=str(tmp_path / "a.cif"))
    PEROVSKITE.to(filename=str(tmp_path / "b.cif"))
    true_describe = analyse.describe

    def describe(structure, *rest):
        if len(structure) == 2:
            raise ZeroDivisionError("as if")
        return true_describe(structure, *rest)

    monkeypatch.setattr(analyse, "describe", describe)
    first, second = answer("analyse", tmp_path / "a.cif", tmp_path / "b.cif")["rows"]
    assert "ZeroDivisionError" in first["error"] and second["formula"] == "SrTiO3"
    assert call("analyse", tmp_path / "a.cif").exit_code == 1


@pytest.mark.weights
def test_the_report_of_structure_prediction_has_every_key(table):
    report = answer(
        "evaluate",
        "csp",
        "--data",
        table,
        "--model",
        "kldm-csp-perov5",
        "--limit",
        1,
        "--sampler",
        "em",
        "--steps",
        2,
        "--quiet",
    )
    keys = {
        "match_rate",
        "rmse",
        "n",
        "n_failed",
        "filter",
        "ci95",
        "by_n_atoms",
        "by_seen_formula",
        "seconds",
    }
    assert set(report) >= keys and report["n"] == 1
    assert all(set(report["filter"][name]) >= {"match_rate", "rmse"} for name in ("structural", "smact"))
    assert report["filter"]["structural"]["match_rate"] == report["match_rate"]
    assert report["by_seen_formula"] is None  # which formulas it saw is not known without --seen
    assert isinstance(report["settings"]["seed"], int)


@pytest.mark.weights
def test_seen_and_unseen_formulas_are_counted_apart(table, tmp_path):
    answer("data", "prepare", "--input", table, "--output", tmp_path / "x.safetensors", "--quiet")
    options = ["--data", table, "--seen", tmp_path / "x.safetensors", "--model", "prototype", "--quiet"]
    report = answer("evaluate", "csp", *options)
    assert {name: part["n"] for name, part in report["by_seen_formula"].items()} == {"seen": 2}


@pytest.mark.weights
@pytest.mark.parametrize("which", ["sampling", "train"])
def test_speed_has_every_key(which):
    small = ["--model", "kldm-csp-perov5", "--batch", 2, "--n-atoms", 3, "--repeats", 1]
    report = answer("benchmark", which, *small)
    assert set(report) >= SPEED_KEYS and report["seconds_per_network_call"] > 0
    if which == "sampling":
        many = answer("benchmark", which, *small, "--steps", 20)
        assert many["crystals_per_second"] == pytest.approx(
            2 / 20 / many["seconds_per_network_call"], rel=0.01
        )
    both = call("benchmark", which, *small, "--size", "cpu")
    assert both.exit_code == 2 and "not both" in both.stderr
    assert call("benchmark", which, "--model", "prototype").exit_code == 2


def test_speed_of_graphs_and_encoders_has_every_key():
    small = ["--batch", 2, "--n-atoms", 3, "--repeats", 1]
    report = answer("benchmark", "graph", *small)
    assert report["milliseconds_per_crystal"] > 0 and report["milliseconds_plain_form"] > 0
    report = answer("benchmark", "encoder", "--encoder", "small", "--device", "cpu", *small)
    assert report["seconds_forward"] > 0 and report["seconds_training_step"] > 0
    assert call("benchmark", "encoder", "--encoder", "nothing").exit_code == 2


def test_data_rows(table, tmp_path):
    assert set(answer("data", "describe", table)) >= {"rows", "splits", "skipped"}
    report = answer("data", "prepare", "--input", table, "--output", tmp_path / "x.safetensors", "--quiet")
    assert (report["rows"], report["splits"], report["skipped"]) == (3, {"train": 1, "val": 2}, [])


def test_a_place_that_cannot_be_written_is_refused_before_the_work(table, tmp_path):
    for place, words in ((tmp_path, "is a folder"), (tmp_path / "no" / "x.safetensors", "no folder")):
        result = call("data", "prepare", "--input", table, "--output", place, "--quiet")
        assert result.exit_code == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_table_without_splits_and_a_folder_of_cifs_are_evaluated_whole(table, tmp_path):
    (tmp_path / "known").mkdir()
    NACL.to(filename=str(tmp_path / "known" / "salt.cif"))
    PEROVSKITE.to(filename=str(tmp_path / "known" / "sto.cif"))
    report = answer(
        "evaluate", "csp", "--data", tmp_path / "known", "--structures", tmp_path / "known", "--quiet"
    )
    assert (report["n"], report["match_rate"], report["settings"]["split"]) == (2, 1.0, "all")
    bare = pd.read_parquet(table).drop(columns="split")
    bare.to_parquet(tmp_path / "bare.parquet")
    (tmp_path / "found").mkdir()
    PEROVSKITE.to(filename=str(tmp_path / "found" / "x-0.cif"))
    assert (
        answer(
            "evaluate",
            "csp",
            "--data",
            tmp_path / "bare.parquet",
            "--structures",
            tmp_path / "found",
            "--quiet",
        )["n"]
        == 3
    )
    wrong = call("evaluate", "csp", "--data", table, "--split", "test", "--structures", tmp_path / "found")
    assert wrong.exit_code == 2 and "train, val, all" in wrong.stderr


def test_raw_data_sets_are_found_by_name(table, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_DATA", str(table.parent))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert answer("data", "describe", table.name)["rows"] == 3
    assert (
        answer("data", "prepare", "--input", table.name, "--output", "x.safetensors", "--quiet")["rows"] == 3
    )
    (tmp_path / "cifs").mkdir()
    PEROVSKITE.to(filename=str(tmp_path / "cifs" / "x-1.cif"))
    rows = answer(
        "evaluate", "csp", "--data", table.name, "--structures", tmp_path / "cifs", "--seen", "x.safetensors"
    )
    assert rows["settings"]["data"] == table.name and rows["settings"]["seen"] == "x.safetensors"
    (tmp_path / "elsewhere" / table.name).write_text("a file here comes first")
    assert call("data", "describe", table.name).exit_code == 2


def test_rows_that_hold_no_crystal_are_listed_and_alone_are_one_sentence(tmp_path):
    path = tmp_path / "cells.csv"
    pd.DataFrame({"material_id": ["a", "b"], "cif": [NACL.to(fmt="cif"), "no crystal"]}).to_csv(
        path, index=False
    )
    report = answer("data", "describe", path)
    assert (report["rows"], [row["id"] for row in report["skipped"]]) == (
        1,
        ["b"],
    ) and "This is none of CIF" in report["skipped"][0]["reason"]
    for text, part in (
        ("material_id,cif\nb,no crystal\n", "holds no crystal; b: This is none of CIF"),
        ("", "cannot be read as CSV"),
    ):
        path.write_text(text)
        result = call("data", "describe", path)
        assert (
            result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1
        )
    path.rename(tmp_path / "val.csv")
    assert (
        call(
            "data", "prepare", "--input", tmp_path / "val.csv", "--output", tmp_path / "x.safetensors"
        ).exit_code
        == 2
    )


@pytest.mark.parametrize(
    "words",
    [
        ["analyse", "{file}"],
        ["generate", "--fix", "{file}"],
        ["evaluate", "csp", "--data", "{table}", "--structures", "{folder}"],
    ],
)
def test_a_file_that_may_not_be_read_is_one_sentence(table, tmp_path, monkeypatch, words):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x-1.cif").write_text("")
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    result = call(*[word.format(file=tmp_path / "x-1.cif", table=table, folder=tmp_path) for word in words])
    assert (result.exit_code, result.stderr) == (2, "x-1.cif cannot be read (Permission denied).\n")


def test_the_last_line_of_training_is_its_result(table, tmp_path):
    answer("data", "prepare", "--input", table, "--output", tmp_path / "x.safetensors", "--quiet")
    config = tmp_path / "tiny.toml"
    config.write_text(
        'name = "tiny"\n[network]\nhidden_dim = 8\nn_layers = 1\nn_frequencies = 2\ntime_dim = 4\n'
        "[fit]\nplanned_samples = 2\n"
    )
    result = call(
        "train", config, "--data", tmp_path / "x.safetensors", "--out", tmp_path / "run", "--device", "cpu"
    )
    assert result.exit_code == 0, result.stderr
    assert set(json.loads(result.stdout.splitlines()[-1])) >= {
        "step",
        "epoch",
        "loss",
        "validation",
        "seconds",
    }
    (tmp_path / "noise").write_bytes(b"no tensors at all")
    bad = call("train", config, "--data", tmp_path / "noise", "--out", tmp_path / "run2")
    assert bad.exit_code == 2 and "not a prepared file" in bad.stderr
    snapshot = (tmp_path / "run" / "snapshot.pt").read_bytes()
    again = call("train", config, "--data", tmp_path / "x.safetensors", "--out", tmp_path / "run")
    assert (
        again.exit_code == 2
        and "--resume" in again.stderr
        and (tmp_path / "run" / "snapshot.pt").read_bytes() == snapshot
    )
    assert answer(
        "train", config, "--data", tmp_path / "x.safetensors", "--resume", tmp_path / "run", "--quiet"
    ) == json.loads(result.stdout)


def test_a_bad_file_among_others_is_named_once(tmp_path):
    good, bad = tmp_path / "good.cif", tmp_path / "bad.cif"
    NACL.to(filename=str(good))
    bad.write_text("")
    for words in (["analyse"], ["predict-property"], ["relax", "--steps", "0"]):
        result = call(*words, good, bad, "--quiet")
        (line,) = [line for line in result.stdout.splitlines() if "empty" in line]
        assert result.exit_code == 0 and line.startswith("bad.cif: The file is empty")


def test_the_option_that_names_no_folder_is_the_one_that_was_given(tmp_path):
    file = tmp_path / "cell.cif"
    NACL.to(filename=str(file))
    for words in (["analyse", file, "--orderings", file], ["relax", file, "--out", file]):
        result = call(*words)
        assert result.exit_code == 2 and result.stderr.startswith(
            f"{words[2]} cell.cif cannot be made a folder"
        )
