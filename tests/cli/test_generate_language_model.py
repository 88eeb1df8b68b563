"""``crystal-core generate`` and ``predict-structure`` with a language model: conditions,
drafts and their refinement.
"""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.files.writers import structure_to_text


def call(*words):
    return CliRunner().invoke(build_app(), ["generate", *map(str, words)])


def small_run(name):
    return ["--model", name, "--n", 4, "--seed", 3, "--json", "--quiet"]


def of_types(name):
    return ["--model", name, "--n", 3, "--sampler", "em", "--steps", 4, "--seed", 5]


def test_a_language_model_is_told_and_its_drafts_travel(tiny_writer):
    options = [*small_run(tiny_writer()), "--band-gap", 2, "--crystal-system", "cubic", "--e-above-hull", 0]
    result = call(*options, "--formula", "SrTiO3", "--temperature", 0.8, "--top-p", 0.9)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["summary"]["n"] == 4 and data["failed_drafts"] == [] and data["rejected"] == {}
    used = data["settings"]
    assert (used["back_end_used"], used["temperature_used"], used["top_p_used"]) == ("tiny", 0.8, 0.9)
    groups = set()
    for crystal in data["crystals"]:
        draft = crystal["provenance"]["draft"]
        assert crystal["formula"] == "SrTiO3" and crystal["origin"] == "draft"
        assert "<gap> 2 . 0 0 0 <ehull> 0 . 0 0 0 <sep>" in draft["prompt"] and "\nSr\n" in draft["text"]
        groups.add(draft["prompt"].partition("<sg> ")[2][:5])
    assert groups <= {"2 2 1", "2 2 5"}
    again = json.loads(call(*options, "--formula", "SrTiO3", "--temperature", 0.8, "--top-p", 0.9).stdout)
    assert [c["cif"] for c in again["crystals"]] == [c["cif"] for c in data["crystals"]] or [
        c["frac_coords"] for c in again["crystals"]
    ] == [c["frac_coords"] for c in data["crystals"]]


def test_a_language_model_chooses_its_numbers_of_atoms_within_the_range(tiny_writer):
    data = json.loads(call(*small_run(tiny_writer()), "--elements", "Li,O", "--n-atoms", "2-3").stdout)
    assert {c["n_atoms"] for c in data["crystals"]} <= {2, 3}
    assert {z for c in data["crystals"] for z in c["atomic_numbers"]} <= {3, 8}
    data = json.loads(call(*small_run("tiny-writer"), "--elements", "Li,O", "--require-all").stdout)
    assert all(set(c["atomic_numbers"]) == {3, 8} for c in data["crystals"])
    assert "<elements> Li O" in data["crystals"][0]["provenance"]["draft"]["prompt"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--density", 5], "cannot be guided towards a density"),
        (["--steps", 5], "no sampler and no steps"),
        (["--tau", 800], "Without a refiner, tau would change nothing"),
        (["--tau", 0.5], "whole number between 1 and 1000"),
        (["--refiner", "diffcsp"], "has no refiner 'diffcsp'"),
        (["--formula", "TiO2", "--n-atoms", 4], "No number of formula units"),
        (["--space-group", 999], "no space group"),
    ],
)
def test_a_language_model_refuses_what_would_change_nothing(tiny_writer, words, reason):
    result = call("--model", tiny_writer(), "--n", 1, *words)
    assert result.exit_code == 2 and reason.lower() in result.stderr.lower(), result.stderr


def test_a_language_model_predicts_a_structure_and_shows_its_draft(tiny_writer):
    words = [
        "predict-structure",
        "NaCl",
        "--model",
        tiny_writer(),
        "--n",
        "3",
        "--start",
        "noise",
        "--z",
        "1",
    ]
    result = CliRunner().invoke(build_app(), [*words, "--seed", "1", "--temperature", "0.7", "--json"])
    assert result.exit_code == 0, result.stderr
    (item,) = json.loads(result.stdout)["results"]
    assert len(item["candidates"]) == 3
    assert all("<formula> Na 1 Cl 1" in c["provenance"]["draft"]["prompt"] for c in item["candidates"])
    refused = CliRunner().invoke(build_app(), [*words, "--steps", "5"])
    assert refused.exit_code == 2 and "no steps" in refused.stderr


def test_a_sentence_says_what_is_requested_and_options_say_more(tiny_writer):
    words = ["--wish", "Three stable oxides with a band gap near 2 eV, hard, cubic", "--band-gap", 1]
    result = call("--model", tiny_writer(), "--seed", 1, *words, "--json", "--quiet")
    assert result.exit_code == 0, result.stderr
    understood = result.stderr.splitlines()[0]
    for words in (
        "band gap 2 eV",
        "energy above hull 0 eV/atom",
        "crystal system cubic",
        "3 crystals",
        "with O",
    ):
        assert words in understood
    assert "Not understood: hard." in result.stderr
    data = json.loads(result.stdout)
    assert len(data["crystals"]) + data["n_failed"] == 3 and data["settings"]["band_gap"] == 1.0
    assert all(8 in c["atomic_numbers"] for c in data["crystals"])
    refused = call("--model", "tiny-writer", "--wish", "hello there")
    assert refused.exit_code == 2 and "Nothing in this sentence" in refused.stderr


def test_crystals_contain_what_is_requested_beside_others(tiny_writer, tiny_de_novo):
    data = json.loads(call(*small_run(tiny_writer()), "--contain", "O,Ti", "--n-atoms", "2-5").stdout)
    assert all({8, 22} <= set(c["atomic_numbers"]) for c in data["crystals"])
    data = json.loads(call(*of_types(tiny_de_novo()), "--contain", "O,Ti", "--json").stdout)
    assert all({8, 22} <= set(c["atomic_numbers"]) for c in data["crystals"])
    result = call(*of_types("tiny-masking"), "--contain", "O", "--exclude-elements", "O")
    assert result.exit_code == 2 and "O must not appear" in result.stderr


def test_drafts_are_refined_and_every_crystal_tells_its_way(tiny_pair, tmp_path):
    words = [*small_run(tiny_pair()), "--formula", "SrTiO3", "--tau", 300, "--start", "inject"]
    result = call(*words, "--out", tmp_path / "out", "--trajectory")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    used = data["settings"]
    assert (used["refiner_used"], used["start_draft_used"], used["refine_from_used"]) == (
        "tiny-refiner",
        "inject",
        300,
    )
    for crystal in data["crystals"]:
        provenance = crystal["provenance"]
        assert crystal["formula"] == "SrTiO3" and crystal["origin"] == "draft refined"
        assert sorted(provenance["draft"]["cell"]["atomic_numbers"]) == sorted(crystal["atomic_numbers"])
        assert [stage["stage"] for stage in provenance["stages"]] == ["draft", "refine"]
    total = sum(stage["network_calls"] for stage in data["crystals"][0]["provenance"]["stages"])
    assert data["network_calls"] == total
    assert len(list((tmp_path / "out").glob("*.cif"))) == len(data["crystals"])
    alone = json.loads(call(*small_run("tiny-pair"), "--formula", "SrTiO3", "--refiner", "none").stdout)
    assert [c["provenance"]["draft"]["text"] for c in alone["crystals"]] == [
        c["provenance"]["draft"]["text"] for c in data["crystals"]
    ]
    assert alone["crystals"][0]["origin"] == "draft" and alone["settings"]["refiner_used"] == "none"


def test_a_file_is_redrafted_on_the_command_line(tiny_pair, tmp_path):
    file = tmp_path / "salt.cif"
    file.write_text(
        structure_to_text(Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]), "cif")
    )
    result = call(*small_run(tiny_pair()), "--start-from", file, "--redraft-sites", "all")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert all(len(c["provenance"]["redraft"]["changes"]) == 2 for c in data["crystals"])
    bad = call("--model", "tiny-pair", "--start-from", file, "--redraft-sites", "x")
    assert bad.exit_code == 2 and "--redraft-sites takes whole numbers" in bad.stderr


def test_refined_drafts_stand_among_the_candidates_of_any_model(tiny_pair, monkeypatch):
    from crystal_core.workflows import prediction_plan

    monkeypatch.setattr(prediction_plan, "DRAFTER", tiny_pair())
    words = ["predict-structure", "NaCl", "--n", "2", "--z", "1", "--seed", "1", "--json", "--quiet"]
    result = CliRunner().invoke(build_app(), [*words, "--model", "tiny-refiner", "--start", "draft"])
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    (item,) = data["results"]
    for candidate in item["candidates"]:
        assert candidate["origin"] == "draft refined"
        draft, refine = candidate["provenance"]["stages"]
        assert (draft["model"], refine["model"]) == ("tiny-writer", "tiny-refiner")
    assert data["rejected"] == {}
    same = [*words, "--model", "tiny-pair", "--start", "renoise", "--tau", "300"]
    data = json.loads(CliRunner().invoke(build_app(), same).stdout)
    assert {c["origin"] for item in data["results"] for c in item["candidates"]} <= {
        "draft refined",
        "prototype",
        "prototype refined",
    }
    assert data["settings"]["refine_from_used"] == 300
