"""Measuring invented crystals: from files, a baseline and a model, against a table made here."""

import json

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.cli._dng_card import keep_report
from crystal_core.errors import RequestError
from crystal_core.evaluation import generation_references
from crystal_core.paths import checkpoints_dir
from crystal_core.registry.store import find_card
from crystal_core.requests import SamplerTuning
from crystal_core.workflows import evaluate_dng, known_sets, naive_baselines
from crystal_core.workflows.documents import generators as documents

KEYS = (
    "structure_valid composition_valid valid cov_recall cov_precision wdist_density wdist_n_elements "
    "unique novel".split()
)


def perovskite(a, symbol):
    return Structure(
        Lattice.cubic(a),
        [symbol, "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )


def salt(a):
    return Structure(Lattice.cubic(a), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


CELLS = {
    "x-1": (perovskite(3.9, "Sr"), "val"),
    "x-2": (salt(4.1), "val"),
    "x-3": (perovskite(4.0, "Ba"), "train"),
    "x-4": (salt(4.15), "train"),
}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    rows = [
        {
            "material_id": name,
            "formula": cell.composition.reduced_formula,
            "n_atoms": len(cell),
            "lattice": cell.lattice.matrix.ravel(),
            "species": np.array([s.specie.Z for s in cell]),
            "frac_coords": cell.frac_coords.ravel(),
            "split": split,
        }
        for name, (cell, split) in CELLS.items()
    ]
    path = tmp_path / "cells.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def evaluate(*arguments):
    result = CliRunner().invoke(build_app(), ["evaluate", "dng", *map(str, arguments)])
    return result.exit_code, result


@pytest.fixture
def folder(tmp_path):
    """The two validation rows, one of them twice, and a file that is no crystal."""
    cifs = tmp_path / "cifs"
    cifs.mkdir()
    for name, cell in {"a": CELLS["x-1"][0], "b": CELLS["x-2"][0], "c": CELLS["x-2"][0]}.items():
        cell.to(filename=str(cifs / f"{name}.cif"))
    (cifs / "d.cif").write_text("data_nothing")
    return cifs


def test_files_are_scored_by_hand_countable_shares(table, folder):
    """CsCl is known from training, at another lattice constant; SrTiO3 is new."""
    code, result = evaluate("--data", table, "--structures", folder, "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and set(KEYS) <= set(report)
    assert (report["n"], report["n_failed"], report["n_known"]) == (4, 1, 2)
    assert (report["structure_valid"], report["composition_valid"], report["valid"]) == (0.75, 0.75, 0.75)
    assert (report["cov_recall"], report["cov_precision"]) == (1.0, 0.75)
    assert (report["unique"], report["novel"]) == (0.5, 0.25)
    assert report["novel_means"] == {"name": "rows of cells.parquet outside validation and test", "rows": 2}
    assert report["wdist_n_elements"] == pytest.approx(1 / 6, abs=1e-4)  # 3, 2, 2 against 3, 2
    assert "stable" not in report


def test_files_are_read_whatever_the_case_of_their_suffix_and_others_are_counted(folder, caplog):
    n = len(evaluate_dng.read_folder(folder))
    assert not caplog.records
    (folder / "a.cif").rename(folder / "A.CIF")
    (folder / "notes.txt").write_text("data_nothing")
    (folder / "POSCAR").write_text("no CIF")
    (folder / ".hidden").write_text("")
    (folder / "more.cif").mkdir()
    assert len(evaluate_dng.read_folder(folder)) == n
    assert [record.getMessage() for record in caplog.records] == [
        f"Files of {folder.name} that do not end in .cif, left out: 2."
    ]
    told = []
    assert evaluate_dng.read_folder(folder, tell=told.append).count(None) == 1 and len(told) == 1
    assert told[0].startswith(f"{folder.name}: 1 file is counted as failed; d.cif: This text has no CIF")
    for nothing in (folder / "POSCAR", folder / "absent"):
        with pytest.raises(RequestError, match="no readable CIF"):
            evaluate_dng.read_folder(nothing)


def test_fingerprints_of_known_crystals_are_computed_once(table, monkeypatch):
    first = known_sets.read_known(table, "val", None)
    monkeypatch.setattr(evaluate_dng, "judge", None)  # a second computation would fail
    again = known_sets.read_known(table, "val", None)
    assert np.array_equal(first.fingerprints.structure, again.fingerprints.structure) and np.array_equal(
        first.density, again.density
    )


def test_kept_fingerprints_belong_to_content_split_and_limit(table):
    paths = {known_sets.cache_path(table, split, limit) for split in ("val", "train") for limit in (None, 1)}
    table.write_bytes(table.read_bytes() + b" ")
    paths.add(known_sets.cache_path(table, "val", None))
    assert len(paths) == 5


def test_damaged_fingerprints_are_computed_anew(table):
    known_sets.read_known(table, "val", 1)
    path = known_sets.cache_path(table, "val", 1)
    path.write_bytes(path.read_bytes()[:100])
    assert len(known_sets.read_known(table, "val", 1).density) == 1


def test_a_prepared_file_tells_what_is_known(table, tmp_path):
    out = tmp_path / "cells.safetensors"
    code = (
        CliRunner()
        .invoke(build_app(), ["data", "prepare", "--input", str(table), "--output", str(out)])
        .exit_code
    )
    known = known_sets.read_reference_set(out)
    assert code == 0 and len(known) == 2
    (cell,) = known.by_formula({"BaTiO3"})["BaTiO3"]
    assert cell.matches(CELLS["x-3"][0])


def test_a_table_without_training_rows_asks_for_a_reference_set(table):
    held_out = pd.read_parquet(table).query("split == 'val'")
    held_out.to_parquet(table)
    with pytest.raises(RequestError, match="--reference-set"):
        known_sets.read_reference_set(table)


def test_substituted_crystals_are_scored(table):
    code, result = evaluate("--data", table, "--baseline", "substitution", "--n", 4, "--seed", 0, "--quiet")
    assert code == 0 and "structure_valid" in result.stdout and "4 crystals" in result.stdout


def test_the_documents_take_the_row_of_a_baseline_from_the_report_stored_by_its_command(
    table, tmp_path, monkeypatch
):
    stored = tmp_path / "baselines.json"
    monkeypatch.setattr(generation_references, "BASELINES", stored)
    options = ("--data", table, "--baseline", "training", "--n", 50, "--seed", 7, "--quiet", "--json")
    assert evaluate(*options)[0] == 0
    assert not stored.exists() and "--baseline" not in documents.de_novo()
    report = json.loads(evaluate(*options, "--write-card")[1].stdout)
    entry = json.loads(stored.read_text())["baselines"]["training"]
    assert entry["valid"] == {"value": report["valid"], "ci95": report["ci95"]["valid"]}
    assert entry["command"].startswith(f"crystal-core evaluate dng --data {table.name} --baseline training ")
    row = next(line for line in documents.de_novo().splitlines() if line.startswith("| training rows |"))
    assert f"{report['n_known']} of" in row and documents.measured(entry["plausible"]) in row
    assert f"    {entry['command']}\n" in documents.de_novo()


def test_training_rows_are_scored_as_they_are_and_none_is_new(table):
    code, result = evaluate(
        "--data", table, "--baseline", "training", "--n", 50, "--seed", 0, "--quiet", "--json"
    )
    report = json.loads(result.stdout)
    rows = len(known_sets.read_reference_set(table))
    assert code == 0 and report["n"] == rows and report["novel"] == 0
    assert report["structure_valid"] == report["unique"] == 1


def test_an_untrained_model_is_scored_and_keeps_its_card(table, tiny_de_novo):
    name = tiny_de_novo()
    options = ("--data", table, "--model", name, "--n", 3, "--sampler", "em", "--steps", 2, "--seed", 1)
    code, result = evaluate(*options, "--write-card", "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and report["n"] == 3 and report["settings"]["network_calls_per_sample"] == 2
    metrics = find_card(name).metrics
    assert metrics["valid_val"]["value"] == report["valid"] and metrics["cov_recall_val"]["n"] == 2
    assert (
        "--sampler em --steps 2 --seed 1" in metrics["valid_val"]["command"]
        and "2 network calls" in metrics["unique_val"]["protocol"]
    )


def written_by(report, back_end):
    """The report with drafts of another language model."""
    draft = {"back_end_used": back_end, "temperature_used": 1.0, "top_p_used": 0.9, "refiner_used": "none"}
    used = {key: value for key, value in report["settings"].items() if key != "relax"}
    return report | {
        "cutoffs": report["cutoffs"] | {"of": "mp-20"},
        "settings": used | draft | {"draft": {"back_end": back_end}},
    }


def test_the_card_tells_all_that_the_numbers_depend_on(tiny_de_novo):
    name = tiny_de_novo()
    used = {
        "data": "mine.parquet",
        "split": "val",
        "limit": None,
        "seed": 1,
        "oxidation_states": "smact",
        "reference_set": "mine.parquet",
        "sampler_used": "pc",
        "steps_used": 2,
        "tau_used": 0.5,
        "network_calls_per_sample": 4,
        "relax": True,
        "relax_seconds": 9.0,
        "potential": "CHGNet",
    }
    keys = (*KEYS, "plausible", "stable", "metastable", "sun", "msun")
    report = dict.fromkeys(keys, 0.5) | {
        "ci95": dict.fromkeys(keys, (0.4, 0.6)),
        "ci95_means": "95 % intervals: by bootstrap",
        "n": 3,
        "n_failed": 0,
        "n_known": 2,
        "loose": {"unique": 1.0, "novel": 1.0},
        "settings": used,
        "cutoffs": {"of": "perov-5", "structure": 0.2, "composition": 4.0},
        "novel_means": {"name": "rows", "rows": 2},
        "relaxation": {"e_above_hull_bias_ev": -0.037},
    }
    keep_report(name, report, SamplerTuning(tau=0.5))
    metrics = find_card(name).metrics
    commands = {key: metrics[f"{key}_val"].get("command") for key in keys if not key.startswith("wdist")}
    assert "--cutoffs perov-5 --relax --relax-seconds 9" in commands["valid"] and commands["unique"] is None
    assert "--sampler pc --steps 2 --tau 0.5" in commands["valid"]
    assert {commands[key] for key in ("stable", "metastable", "sun", "msun")} == {commands["valid"]}
    assert "2 steps, corrector strength 0.5, 4 network calls" in metrics["sun_val"]["protocol"]
    assert "95 % intervals: by bootstrap; relaxed with CHGNet" in metrics["cov_recall_val"]["protocol"]
    assert (
        "CHGNet, whose energy above the hull is 0.037 eV/atom too low on average"
        in metrics["sun_val"]["protocol"]
    )
    report |= dict.fromkeys(("stable", "metastable", "sun", "msun"))
    keep_report(
        name,
        report
        | {
            "cutoffs": report["cutoffs"] | {"of": "mp-20"},
            "settings": used | {"sampler_used": "em", "relax": False},
        },
        SamplerTuning(),
    )
    keep_report(name, written_by(report, "smollm2"), SamplerTuning())
    metrics = find_card(name).metrics
    # beside the figures of the card's own language model, not in their place
    assert "--back-end smollm2" in metrics["valid_smollm2_val"]["command"]
    assert "--back-end" not in metrics["valid_val"]["command"]
    assert metrics["sun_val"]["command"] == commands["valid"]  # the report without relaxing leaves it
    assert (
        "--cutoffs" not in metrics["valid_val"]["command"]
        and "corrector" not in metrics["valid_val"]["protocol"]
    )


def test_a_tuning_is_sampled_with_and_reported_and_refused_where_nothing_is_sampled(
    table, tiny_de_novo, folder
):
    options = ("--data", table, "--model", tiny_de_novo(), "--n", 2, "--steps", 2, "--seed", 1, "--json")
    code, result = evaluate(*options, "--sampler", "pc", "--tau", 0.3, "--remasking", 7, "--quiet")
    used = json.loads(result.stdout)["settings"]
    assert code == 0 and (used["tuning"], used["tau_used"], used["remasking_used"]) == ("card", 0.3, 7)
    for words, sentence in (
        (("--sampler", "em", "--tau", 0.3), "has no corrector"),
        (
            ("--structures", folder, "--tuning", "published"),
            "so --steps, --tuning and --n would change nothing",
        ),
        (
            ("--baseline", "random", "--noise-scale", 0.5),
            "--baseline samples no model, so --steps and --noise-scale",
        ),
    ):
        code, result = evaluate(*options, *words)
        assert code == 2 and sentence in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_what_is_sampled_is_kept_batch_by_batch_and_scored_later(table, tiny_de_novo, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_dng, "CHUNK", 2)
    name, out = tiny_de_novo(), tmp_path / "kept"
    options = (
        "--data",
        table,
        "--model",
        name,
        "--n",
        5,
        "--sampler",
        "em",
        "--steps",
        4,
        "--seed",
        5,
        "--out",
        out,
        "--json",
        "--quiet",
    )
    with monkeypatch.context() as interrupted:
        interrupted.setattr(known_sets, "read_known", lambda *_, **__: None)
        interrupted.setattr(
            evaluate_dng, "evaluate", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert evaluate(*options)[0] == 130
    assert [path.name for path in sorted(out.iterdir())] == [f"{name}-5-{k:05}.cif" for k in range(1, 6)]
    later = json.loads(evaluate("--data", table, "--structures", out, "--json", "--quiet")[1].stdout)
    now = json.loads(evaluate(*options)[1].stdout)
    assert later["n"] == 5 and all(
        later[key] == now[key] for key in ("valid", "unique", "novel", "wdist_n_elements", "n_failed")
    )
    code, result = evaluate("--data", table, "--structures", out, "--out", out)
    assert code == 2 and "leave one of them out" in result.stderr
    code, result = evaluate("--data", table, "--structures", out, "--write-card")
    assert code == 2 and "--write-card stores the result of a model or a baseline" in result.stderr


def test_wrong_inputs_are_told_before_anything_is_sampled(table, tiny_de_novo, monkeypatch):
    monkeypatch.setattr(evaluate_dng, "draw_crystals", None)  # sampling would fail
    name = tiny_de_novo()
    for words, part in ((("--split", "nosuch"), "nosuch"), (("--sampler", "euler"), "choose one of")):
        code, result = evaluate("--data", table, "--model", name, "--quiet", *words)
        assert code == 2 and part in result.stderr


def test_a_model_that_needs_formulas_is_refused(table):
    code, result = evaluate("--data", table, "--model", "kldm-csp-perov5", "--n", 1, "--quiet")
    assert checkpoints_dir().is_dir() and code == 2 and "needs a formula" in result.stderr


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--baseline", "guess"), "guess"),
        (("--cutoffs", "mine"), "mine"),
        (("--baseline", "random", "--structures", "."), "one of them"),
    ],
)
def test_a_wrong_choice_is_one_sentence(table, options, word):
    code, result = evaluate("--data", table, "--quiet", *options)
    assert code == 2 and word in result.stderr and "Traceback" not in result.stderr


def test_a_baseline_without_its_package_is_told_before_anything_is_read(table, monkeypatch):
    monkeypatch.setattr(naive_baselines, "find_spec", lambda _: None)
    monkeypatch.setattr(known_sets, "read_reference_set", None)  # reading would fail
    code, result = evaluate("--data", table, "--baseline", "random")
    assert code == 3 and "PyXtal" in result.stderr


def test_cut_offs_follow_the_data(tmp_path):
    names = {
        name: evaluate_dng.cutoffs_named(None, tmp_path / name)
        for name in ("perov5.parquet", "carbon24.parquet", "mp20.csv")
    }
    assert list(names.values()) == ["perov-5", "carbon-24", "mp-20"]


def test_stability_is_told_after_relaxing(table, folder):
    """CsCl and SrTiO3 are near the hull by CHGNet too; the files keep their places in the count."""
    code, result = evaluate("--data", table, "--structures", folder, "--relax", "--json", "--quiet")
    report = json.loads(result.stdout)
    assert code == 0 and report["relaxation"]["n"] == 3
    assert report["metastable"] == 0.75 and report["msun"] == 0.25 and report["stable"] <= 0.75
    assert 0 <= report["rmsd_relaxed"] < 0.2 and report["relaxation"]["e_above_hull_error_ev"] > 0
