"""Measuring structure prediction: candidates from a model, from prototypes and from files, on
a table made here.
"""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.cli import evaluate_csp as commands
from crystal_core.errors import RequestError
from crystal_core.paths import REPOSITORY, checkpoints_dir
from crystal_core.registry.store import find_card, load_generator
from crystal_core.workflows import evaluate_csp, references

CELLS = {
    "x-1": Structure(
        Lattice.cubic(3.9),
        ["Sr", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    ),
    "x-2": Structure(
        Lattice.cubic(4.0),
        ["Ba", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    ),
}


@pytest.fixture
def table(tmp_path):
    rows = [
        {
            "material_id": name,
            "formula": cell.composition.reduced_formula,
            "n_atoms": len(cell),
            "lattice": cell.lattice.matrix.ravel(),
            "species": np.array([s.specie.Z for s in cell]),
            "frac_coords": cell.frac_coords.ravel(),
            "split": "val",
        }
        for name, cell in CELLS.items()
    ]
    path = tmp_path / "cells.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def evaluate(*arguments):
    result = CliRunner().invoke(build_app(), ["evaluate", *map(str, arguments)])
    return result.exit_code, result


def test_perfect_files_match_and_a_broken_one_fails(table, tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    CELLS["x-1"].to(filename=str(folder / "x-1.cif"))
    (folder / "x-2.cif").write_text("data_nothing")
    code, result = evaluate("csp", "--data", table, "--structures", folder, "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and (report["match_rate"], report["rmse"], report["n_failed"]) == (0.5, 0.0, 1)
    assert report["filter"]["smact"]["match_rate"] == 0.5
    assert "cifs: 1 file is counted as failed; x-2.cif: " in result.stderr


def test_files_under_other_names_are_refused(table, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"x-[12]\.cif"):
        references.read_candidates(tmp_path / "empty", references.read_references(table, "val", None))


def test_candidates_keep_the_composition_and_the_seed(table):
    model = load_generator("kldm-csp-perov5", "cpu")
    rows = references.read_references(table, "val", None)
    first, again = (
        evaluate_csp.draw_candidates(model, rows, samples=2, sampler="em", steps=30) for _ in range(2)
    )
    assert [len(part) for part in first.candidates] == [2, 2] and first.calls_per_sample == 30
    for reference, part, repeated in zip(rows, first.candidates, again.candidates, strict=True):
        for structure, twin in zip(part, repeated, strict=True):
            assert structure.composition == reference.structure.composition
            assert np.allclose(structure.frac_coords, twin.frac_coords)


def test_a_short_refinement_of_a_prototype_stays_near_it(table):
    model = load_generator("kldm-csp-perov5", "cpu")
    rows = references.read_references(table, "val", None)
    drawn = evaluate_csp.draw_candidates(model, rows, sampler="ode", steps=2, start_time=0.002)
    for reference, (structure,) in zip(rows, drawn.candidates, strict=True):
        # both are cubic perovskites, and so is their nearest prototype
        assert reference.structure.matches(structure)


def test_samplers_are_compared_at_equal_network_calls(table):
    code, result = evaluate(
        "csp-samplers",
        "--data",
        table,
        "--model",
        "kldm-csp-perov5",
        "--samplers",
        "em,pc",
        "--calls",
        "4,8",
        "--json",
        "--quiet",
    )
    report = json.loads(result.stdout)
    assert code == 0
    assert [(row["sampler"], row["network_calls"], row["steps"]) for row in report["rows"]] == [
        ("em", 4, 4),
        ("em", 8, 8),
        ("pc", 4, 2),
        ("pc", 8, 4),
    ]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--calls", "ten"], "ten"),
        (["--samplers", "em,euler", "--calls", "4"], "no sampler 'euler'"),
        (["--calls", "4,10000"], "between 1 and 5000"),
    ],
)
def test_a_comparison_that_cannot_be_finished_is_not_begun(table, monkeypatch, words, part):
    monkeypatch.setattr(evaluate_csp, "draw_candidates", None)  # a measurement would fail
    code, result = evaluate("csp-samplers", "--data", table, "--model", "kldm-csp-perov5", *words)
    assert code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["csp", "--model", "prototype", "--start", "prototype"], "leave out --start prototype"),
        (["csp-samplers", "--model", "prototype", "--start-time", "0.3"], "refines none"),
        (["csp-samplers", "--model", "kldm-csp-perov5-full", "--confirm"], "no table to confirm"),
        (["csp", "--model", "kldm-dng-mp"], "takes no formula"),
    ],
)
def test_models_that_cannot_do_it_are_one_sentence(table, words, part):
    code, result = evaluate(*words, "--data", table)
    assert code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_the_command_on_the_card_repeats_what_relaxing_was_given(table, tmp_path, monkeypatch):
    shutil.copytree(checkpoints_dir() / "prototype", tmp_path / "checkpoints" / "prototype")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setattr(commands, "loaded_potential", lambda _: SimpleNamespace(label="none", name="chgnet"))
    relaxed = evaluate_csp.Relaxed(
        candidates=[[None], [None]],
        energies=[[None], [None]],
        n_converged=0,
        n_not_relaxed=2,
        n_steps=0,
        seconds=0.0,
    )
    monkeypatch.setattr(evaluate_csp, "relax_candidates", lambda *_, **__: relaxed)
    code, _ = evaluate(
        "csp",
        "--data",
        table,
        "--model",
        "prototype",
        "--relax",
        "--relax-seconds",
        "7",
        "--seed",
        "1",
        "--write-card",
        "--quiet",
    )
    assert code == 0 and find_card("prototype").metrics["match_rate_val_relaxed"]["command"].endswith(
        "--relax --relax-seconds 7 --seed 1"
    )


def test_a_result_is_kept_on_the_card_with_the_command_that_made_it(table, tmp_path, monkeypatch):
    for name in ("kldm-csp-perov5", "prototype"):
        shutil.copytree(checkpoints_dir() / name, tmp_path / "checkpoints" / name)
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    options = ("--data", table, "--model", "kldm-csp-perov5", "--quiet", "--json", "--write-card")
    code, result = evaluate("csp", *options, "--sampler", "em", "--steps", "5", "--seed", "0")
    metric = find_card("kldm-csp-perov5").metrics["match_rate_val"]
    assert code == 0 and metric["value"] == json.loads(result.stdout)["match_rate"] and metric["n"] == 2
    assert "--sampler em --steps 5 --seed 0" in metric["command"] and "5 network calls" in metric["protocol"]
    code, _ = evaluate(
        "csp-samplers",
        *options,
        "--samplers",
        "em, ode",
        "--calls",
        "2, 4",
        "--limit",
        "2",
        "--start-time",
        "0.1",
        "--seed",
        "3",
    )
    command = find_card("kldm-csp-perov5").sampling["table"]["command"]
    assert command == (
        "crystal-core evaluate csp-samplers --data cells.parquet --model kldm-csp-perov5 --split val --limit "
        "2 --samplers em,ode --calls 2,4 --start-time 0.1 --seed 3"
    )
    assert code == 0 and find_card("kldm-csp-perov5").sampling["table"]["network_calls"] == [2, 4, 2, 4]
    code, result = evaluate("csp-samplers", *options, "--confirm", "--limit", "1", "--seed", "4")
    table, confirmed = (find_card("kldm-csp-perov5").sampling[key] for key in ("table", "confirmed"))
    best = sorted(
        zip(table["match_rate"], table["sampler"], table["budget"], strict=True), key=lambda row: -row[0]
    )[:3]
    assert code == 0 and list(zip(confirmed["sampler"], confirmed["budget"], strict=True)) == [
        row[1:] for row in best
    ]
    assert confirmed["command"].endswith("--limit 1 --confirm --seed 4") and len(table["sampler"]) == 4
    assert find_card("kldm-csp-perov5").sampling["fast"]  # what people set stays


def test_a_tuning_is_sampled_with_and_kept_with_the_command(table, tmp_path, monkeypatch):
    shutil.copytree(checkpoints_dir() / "kldm-csp-perov5", tmp_path / "checkpoints" / "kldm-csp-perov5")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    options = (
        "--data",
        table,
        "--model",
        "kldm-csp-perov5",
        "--quiet",
        "--json",
        "--steps",
        "2",
        "--seed",
        "0",
    )
    words = ("--tuning", "published", "--noise-scale", "0.6")
    code, result = evaluate("csp", *options, *words, "--sampler", "pc", "--write-card")
    used = json.loads(result.stdout)["settings"]
    assert code == 0 and (used["tuning"], used["tau"], used["noise_scale"]) == ("published", 0.25, 0.6)
    metric = find_card("kldm-csp-perov5").metrics["match_rate_val"]
    assert "--sampler pc --steps 2 --tuning published --noise-scale 0.6 --seed 0" in metric["command"]
    for words, sentence in (
        (("--remasking", "3"), "remasking would change nothing"),
        (("--start", "prototype", "--tau", "0.3"), "samples with ode here, which has no corrector"),
        (
            ("--structures", tmp_path, "--tau", "0.3"),
            "samples nothing, so --steps and --tau would change nothing",
        ),
    ):
        shutil.copytree(
            REPOSITORY / "checkpoints" / "prototype",
            tmp_path / "checkpoints" / "prototype",
            dirs_exist_ok=True,
        )
        code, result = evaluate("csp", *options, *words)
        assert code == 2 and sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1
    code, result = evaluate("csp", "--data", table, "--model", "prototype", "--tau", "0.3")
    assert code == 2 and "prototype has no sampler to tune, so --tau would change nothing" in result.stderr


def test_a_table_that_was_interrupted_goes_on_with_what_it_lacks(table, tmp_path, monkeypatch):
    shutil.copytree(checkpoints_dir() / "kldm-csp-perov5", tmp_path / "checkpoints" / "kldm-csp-perov5")
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    options = (
        "csp-samplers",
        "--data",
        table,
        "--model",
        "kldm-csp-perov5",
        "--quiet",
        "--json",
        "--write-card",
        "--limit",
        "2",
    )
    draw, left = evaluate_csp.draw_candidates, 1

    def interrupted(*args, **kwargs):
        nonlocal left
        left -= 1
        return draw(*args, **kwargs) if left >= 0 else (_ for _ in ()).throw(KeyboardInterrupt)

    monkeypatch.setattr(evaluate_csp, "draw_candidates", interrupted)
    code, _ = evaluate(*options, "--samplers", "em", "--calls", "2,4", "--seed", "3")
    first = find_card("kldm-csp-perov5").sampling["table"]
    assert code != 0 and first["network_calls"] == [2]
    monkeypatch.setattr(evaluate_csp, "draw_candidates", draw)
    code, result = evaluate(*options, "--samplers", "em,pc-pf", "--calls", "2,4", "--seed", "3", "--resume")
    whole = find_card("kldm-csp-perov5").sampling["table"]
    assert code == 0 and [row["budget"] for row in json.loads(result.stdout)["rows"]] == [4, 2, 4]
    assert (whole["sampler"], whole["budget"]) == (["em", "em", "pc-pf", "pc-pf"], [2, 4, 2, 4])
    assert whole["network_calls"] == [2, 4, 1, 3] and whole["match_rate"][0] == first["match_rate"][0]
    assert "--samplers em,pc-pf --calls 2,4 --seed 3" in whole["command"]
    for words, part in ((("--seed", "4"), "another seed"), ((), "--seed of that table")):
        code, result = evaluate(*options, "--samplers", "em", "--calls", "2", "--resume", *words)
        assert code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1
