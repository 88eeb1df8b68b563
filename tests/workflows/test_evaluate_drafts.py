"""Drafts and refined drafts by the published protocols: the table of starts, conditions that are met, cards
that tell the way.
"""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cards import read_card
from crystal_core.cli import build_app
from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.datasets.rows import read_rows
from crystal_core.errors import RequestError
from crystal_core.paths import REPOSITORY
from crystal_core.registry.store import find_card, load_generator
from crystal_core.workflows import evaluate_conditions, evaluate_refinement
from crystal_core.workflows.evaluate_conditions import DraftSet
from crystal_core.workflows.references import read_references

CELLS = {
    "x-1": ["Sr", "Ti", "O", "O", "O"],
    "x-2": ["Ba", "Ti", "O", "O", "O"],
    "x-3": ["Pu", "Ti", "O", "O", "O"],  # the refiner of the fixture ends at 92
}
PLACES = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def perovskite(symbols):
    return Structure(Lattice.cubic(3.9), symbols, PLACES)


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
            "spacegroup_number": 221,
            "band_gap_ev": 1.5,
        }
        for name, cell, split in (
            *((name, perovskite(symbols), "val") for name, symbols in CELLS.items()),
            ("x-4", perovskite(["Ca", "Ti", "O", "O", "O"]), "train"),
        )
    ]
    path = tmp_path / "cells.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


def run(*words):
    return CliRunner().invoke(build_app(), ["evaluate", *map(str, words)])


def test_right_drafts_match_and_a_refinement_at_the_end_keeps_them(table, tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    references = read_references(table, "val", 2)
    begins = evaluate_refinement.grid(["inject"], [0.0011])
    rows = list(
        evaluate_refinement.evaluate_refinement(
            model, references, begins, source="rows", sampler="ode", steps=2, energies=True
        )
    )
    # a lattice of 3.9 Å and coordinates of hundredths are written exactly: the same cell, the same energy
    assert rows[0]["energy_above_known"] == pytest.approx(0.0, abs=1e-4) and rows[0]["n_energies"] == 2
    assert rows[1]["energy_above_known"] > 0.1  # untrained, from noise
    assert [(row["start"], row["start_time"]) for row in rows] == [
        ("draft", None),
        ("noise", None),
        ("inject", 0.0011),
    ]
    ends = [rows[0], rows[2]]
    assert all(row["match_rate"] == 1.0 and row["structure_valid"] == 1.0 for row in ends)
    assert [row["network_calls"] for row in rows] == [0, 2, 2]
    assert evaluate_refinement.best_of(rows) is rows[2]


def test_a_missing_draft_stays_missing(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    begin = evaluate_refinement.Begin(start="renoise", time=0.1)
    cells, calls = evaluate_refinement.refine_drafts(
        model, [None, perovskite(CELLS["x-1"])], begin, sampler="em", steps=3
    )
    assert cells[0] is None and cells[1].composition.reduced_formula == "SrTiO3" and calls == 3


def test_the_table_of_drafts_is_kept_with_what_it_chooses(table, tiny_pair):
    name = tiny_pair()
    words = ["refinement", "--data", table, "--model", name, "--n", 3, "--seed", 1, "--start", "renoise"]
    result = run(
        *words,
        "--start-time",
        "0.1,0.3",
        "--sampler",
        "em",
        "--steps",
        2,
        "--energies",
        "--write-card",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert {row["n"] for row in report["rows"]} == {2} and len(report["rows"]) == 4
    card = find_card(name)
    refinement = card.sampling["refinement_of_drafts_kldm"]
    assert (
        refinement["start"] == ["draft", "noise", "renoise", "renoise"] and len(refinement["match_rate"]) == 4
    )
    assert (
        "--start renoise --start-time 0.1,0.3 --source drafts --refiner kldm --sampler em"
        in refinement["command"]
    )
    assert "--refiner kldm --sampler em --steps 2 --energies --seed 1" in refinement["command"]
    assert len(refinement["energy_above_known"]) == 4
    chosen = card.sampling["refine_draft"]["kldm"]
    assert chosen == {
        "start": "renoise",
        "start_time": report["best"]["start_time"],
        "sampler": "em",
        "steps": 2,
    }
    bad = run(*words, "--start-time", "0.1,x")
    assert bad.exit_code == 2 and "--start-time takes numbers" in bad.stderr
    bad = run("refinement", "--data", table, "--model", "tiny-writer")
    assert bad.exit_code == 2 and "refines no drafts" in bad.stderr


def test_the_table_of_samplers_says_that_drafts_were_refined(table, tiny_pair):
    name = tiny_pair()
    words = ["csp-samplers", "--data", table, "--model", name, "--split", "val", "--samplers", "em"]
    result = run(*words, "--calls", "2,3", "--seed", 1, "--write-card", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    kept = find_card(name).sampling["table"]
    assert kept["protocol"].endswith("seed 1, from drafts, which its card refines")
    assert kept["budget"] == [2, 3] and min(kept["network_calls"]) > 3  # the drafts have their own


def test_conditions_are_counted_for_the_drafts_and_for_each_refiner(table, tiny_pair):
    name = tiny_pair()
    words = ["conditions", "--data", table, "--model", name, "--n", 5, "--seed", 1, "--refiner", "kldm"]
    words += ["--start", "inject", "--tau", 50]
    result = run(*words, "--write-card", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["n"] == 2 and set(report["space_group"]) == {"alone", "kldm"}
    assert report["formula"]["share"] == 0.0  # an untrained model writes no crystal without the grammar
    assert report["formula"]["by_n_atoms"]["1-5"]["n"] == 2
    metrics = find_card(name).metrics
    assert (
        metrics["space_group_match_alone_val"]["n"] == 2
        and "--start inject --tau 50.0 --refiner kldm" in metrics["formula_match_val"]["command"]
    )


def test_drafts_that_are_written_again_are_told_beside_the_first_ones(table, tiny_pair):
    name = tiny_pair()
    words = ["conditions", "--data", table, "--model", name, "--n", 5, "--seed", 1, "--refiner", "kldm"]
    result = run(*words, "--rewrites", 2, "--write-card", "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    groups = json.loads(result.stdout)["space_group"]
    assert set(groups) == {"alone", "kldm", "alone_rewritten", "kldm_rewritten"}
    metrics = find_card(name).metrics
    assert (
        metrics["space_group_match_alone_val"]["protocol"]
        != metrics["space_group_match_alone_rewritten_val"]["protocol"]
    )
    again = metrics["space_group_match_kldm_rewritten_val"]
    how = "drafts written up to 3 times, refined by kldm, crystals that miss made anew up to 2 times"
    assert how in again["protocol"]
    assert "--rewrites 2" in again["command"]
    assert "written again" in run(*words, "--rewrites", 1, "--quiet").stdout


def test_drafts_are_written_once_and_refined_by_each_refiner(table, tiny_pair, monkeypatch):
    model, written = load_generator(tiny_pair(), "cpu"), []
    write = model.drafter.sample
    monkeypatch.setattr(model.drafter, "sample", lambda request: written.append(request) or write(request))
    ways = {
        "alone": DraftOptions(refiner="none"),
        "kldm": DraftOptions(refiner="kldm"),
        "tiny-refiner": DraftOptions(refiner="tiny-refiner", start_draft="inject", refine_from=20),
    }
    prompts = [Conditions(elements=(38, 8)), Conditions(composition={22: 1, 8: 2}), Conditions()]
    cells = {one.name: one.structures for one in evaluate_conditions.make(model, prompts, 4, ways, seed=1)}
    assert len(written) == 1 and set(cells) == set(ways)
    assert set(written[0].elements) == set(range(1, 93))  # those that every refiner can place
    for alone, kldm, injected in zip(*cells.values(), strict=True):
        assert alone.composition == kldm.composition == injected.composition
        assert not np.allclose(sorted(alone.lattice.abc), sorted(kldm.lattice.abc), rtol=1e-3)


def test_space_groups_are_compared_with_those_of_the_prompts(table):
    rows = list(read_rows(table))[:2]
    right = perovskite(CELLS["x-1"])
    bent = right.copy()
    bent.translate_sites([1], [0.1, 0.04, 0.02])
    shares = evaluate_conditions.group_matches(
        rows,
        [DraftSet(name="alone", structures=[right, None]), DraftSet(name="k", structures=[right, right])],
    )
    assert (
        shares["alone"]["share"] == 0.5 and shares["k"]["share"] == 1.0 and shares["k"]["above_alone"] == 1.0
    )
    shares = evaluate_conditions.group_matches(rows, [DraftSet(name="alone", structures=[bent, bent])])
    assert shares["alone"]["share"] == 0.0


def test_a_property_is_judged_against_what_was_asked_for_and_against_another_condition():
    class Judge:
        def predict(self, crystals, properties):
            (name,) = properties
            return [
                SimpleNamespace(predictions={name: SimpleNamespace(value=float(z))})
                for z in (crystal.atomic_numbers[0] for crystal in crystals)
            ]

    drafts = DraftSet(
        name="alone", structures=[perovskite([s, *["O"] * 4]) for s in ("Li", "Be", "B", "C")] + [None]
    )
    entry = evaluate_conditions.property_errors(Judge(), "p", [3, 4, 5, 6.5, 9], [drafts])["alone"]
    assert entry["n"] == 4 and entry["mae"] == 0.125  # |6 - 6.5| / 4
    assert entry["mae_shuffled"] == pytest.approx((2 + 2.5 + 2 + 2) / 4) and entry["correlation"] > 0.99


def test_invented_crystals_are_scored_with_and_without_a_refiner(table, tiny_pair):
    name = tiny_pair()
    words = ["dng", "--data", table, "--reference-set", table, "--model", name, "--n", 3, "--seed", 1]
    reports = {}
    balanced = ("--refiner", "none", "--charge-balance")
    for options in ((), ("--refiner", "none"), ("--start", "inject", "--tau", 50), balanced):
        result = run(*words, *options, "--workers", 1, "--write-card", "--json", "--quiet")
        assert result.exit_code == 0, result.stderr
        reports[options] = json.loads(result.stdout)
    used = [report["settings"] for report in reports.values()]
    assert [u["refiner_used"] for u in used] == ["tiny-refiner", "none", "tiny-refiner", "none"]
    assert used[0]["network_calls_per_sample"] == used[1]["network_calls_per_sample"] + 4
    assert used[2]["refine_from_used"] == 50 and used[2]["start_draft_used"] == "inject"
    metrics = find_card(name).metrics
    assert (
        "--refiner none" in metrics["valid_none_val"]["command"]
        and "not refined" in metrics["valid_none_val"]["protocol"]
    )
    assert "--start inject --tau 50" in metrics["valid_val"]["command"]
    # beside the figures without the switch, not in their place
    entry = metrics["valid_none_charge_balanced_val"]
    assert "--refiner none --charge-balance --seed 1" in entry["command"]
    assert "charge-balanced by SMACT's test" in entry["protocol"]
    assert used[3]["draft"]["charge_balance"] and used[3]["charge_balance_used"]
    refused = run(*words, "--baseline", "random", "--charge-balance")
    assert refused.exit_code == 2 and "--baseline samples no model" in refused.stderr


def test_the_refiner_of_a_structure_prediction_is_named_on_the_card(table, tiny_pair):
    name = tiny_pair()
    result = run(
        "csp", "--data", table, "--model", name, "--seed", 1, "--write-card", "--json", "--workers", 1
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    # Pu is no element of the refiner: a failure, not an end
    assert report["n"] == 3 and report["n_failed"] >= 1
    assert (
        "refined by tiny-refiner (renoise at t = 0.2)"
        in find_card(name).metrics["match_rate_val"]["protocol"]
    )
    result = run("csp", "--data", table, "--model", name, "--refiner", "none", "--seed", 1, "--write-card")
    assert result.exit_code == 0, result.stderr
    metric = find_card(name).metrics["match_rate_val_none"]
    assert "--refiner none" in metric["command"] and "not refined" in metric["protocol"]


def test_a_grid_is_checked():
    with pytest.raises(RequestError, match="inject or renoise"):
        evaluate_refinement.grid(["noise"], [0.1])
    with pytest.raises(RequestError, match="lies in"):
        evaluate_refinement.grid(["inject"], [0.0])


def test_the_first_card_is_told_with_and_without_drafts(table, tiny_pair, tiny_de_novo, tmp_path):
    tiny_pair(), tiny_de_novo()
    (tmp_path / "checkpoints" / "prototype").symlink_to(REPOSITORY / "checkpoints" / "prototype")
    words = ("first-card", "--data", table, "--split", "val", "--effort", "prior", "--drafts", 2)
    output = ("--out", tmp_path / "rows.jsonl")
    report = json.loads(run(*words, "--drafter", "tiny-pair", *output, "--limit", 3, "--json").stdout)
    assert report["settings"]["sources"] == ["prototype", "draft refined"] and report["n"] == 3
    assert set(report["sampled"]) == {"gained", "lost", "shown_first", "without"}
    gain = report["match_rate"] - report["sampled"]["without"]["first card"]["match_rate"]
    assert gain * 3 == pytest.approx(report["sampled"]["gained"] - report["sampled"]["lost"], abs=1e-3)
    sources = [
        [one["evidence"]["source"] for one in row["candidates"]]
        for row in map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
        if "candidates" in row
    ]
    assert sorted(row.count("draft refined") > 0 for row in sources) == [False, True, True]  # Pu has none
    for more, sentence in (
        (["--drafter", "tiny-pair", *output, "--drafts", 3], "was begun with drafts per row 2, not 3"),
        (["--drafter", "tiny-pair", "--open-z"], "leave out --open-z, or --drafts"),
        (["--drafter", "tiny-masking"], "tiny-masking writes no drafts"),
    ):
        result = run(*words, *more)
        assert result.exit_code == 2 and sentence in result.stderr


def test_the_first_card_is_told_with_and_without_samples(table, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(REPOSITORY / "checkpoints"))
    words = ("first-card", "--data", table, "--split", "val", "--effort", "prior", "--limit", 2)
    output = ("--out", tmp_path / "rows.jsonl")
    report = json.loads(run(*words, "--samples", 1, *output, "--json").stdout)
    assert report["settings"]["sources"] == ["prototype", "noise", "prototype refined"]
    assert report["settings"]["samples_per_row"] == 1 and report["settings"]["model"] == "kldm-csp-mp"
    assert set(report["sampled"]) == {"gained", "lost", "shown_first", "without"}
    for more, sentence in (
        (["--samples", 2, *output], "was begun with samples per row 1, not 2"),
        (["--samples", 1, "--open-z"], "leave out --open-z, or --samples"),
        (["--samples", 1, "--model", "crysllmgen-mp"], "crysllmgen-mp does not sample cells from noise"),
        (["--samples", 1, "--write-card"], "leave out --write-card"),
    ):
        result = run(*words, *more)
        assert result.exit_code == 2 and sentence in result.stdout + result.stderr


def test_the_first_card_goes_on_the_card_of_the_prototypes(table, tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_CHECKPOINTS", str(tmp_path / "checkpoints"))
    folder = tmp_path / "checkpoints" / "prototype"
    shutil.copytree(REPOSITORY / "checkpoints" / "prototype", folder)
    words = ("first-card", "--data", table, "--split", "val", "--effort", "prior", "--limit", 3, "--json")
    report = json.loads(run(*words, "--write-card").stdout)
    entry = read_card(folder).metrics["first_card_prior_val"]
    assert (entry["value"], entry["ci95"], entry["n"]) == (report["match_rate"], report["ci95"], 3)
    assert entry["first_three"] == report["first_three"]["match_rate"]
    assert set(entry["rule"]) == {"first prototype", "prior"}  # the others need energies
    assert f"--data {table.name} --split val --effort prior --limit 3" in entry["command"]
    result = run(*words, "--write-card", "--first", 1)
    assert result.exit_code == 2 and "leave out --write-card, or --for-fit" in result.stdout + result.stderr
