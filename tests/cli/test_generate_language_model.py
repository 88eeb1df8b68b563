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
    assert data["summary"]["n"] == 4 and data["failed_drafts"] == []
    used = data["settings"]
    # an untrained model hits the space group by chance: each draft is written up to four times
    assert set(data["rejected"]) <= {"without the requested space group"} and used["rewrites_used"] == 3
    assert sum(data["rejected"].values()) <= 12
    once = json.loads(call(*options, "--formula", "SrTiO3", "--rewrites", 0).stdout)
    assert once["rejected"] == {} and once["settings"]["rewrites_used"] == 0
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
        (["--guidance", 2, "--band-gap", 2], "guidance would change nothing"),
        (["--rewrites", 2, "--formula", "TiO2"], "the request names none; leave rewrites out"),
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


def test_cells_that_no_draft_can_fill_are_refused_before_the_work(tiny_pair):
    words = ["predict-structure", "C60", "--cell", "--model", tiny_pair(), "--n", "1", "--json"]
    result = CliRunner().invoke(build_app(), words)
    assert result.exit_code == 2 and result.stdout == "", result.stderr
    assert "writes cells of up to 59 atoms, not of 60" in result.stderr and result.stderr.count("\n") == 1


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


def test_an_element_of_the_formula_cannot_be_excluded(tiny_writer):
    options = ["--model", tiny_writer(), "--n", 1, "--formula", "LiO"]
    result = call(*options, "--exclude", "O,Ti")
    assert result.exit_code == 2 and result.stderr == (
        "O must not appear, but the formula LiO holds it; allow it or choose another formula.\n"
    )
    assert call(*options, "--exclude", "Ti", "--n-atoms", "2").exit_code == 0


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


def test_crystals_contain_at_least_one_of_each_list(tiny_writer, tiny_de_novo):
    lists = ["--any-of", "Li,O", "--any-of", "Sr,Ti"]
    for options in (small_run(tiny_writer()), [*of_types(tiny_de_novo()), "--json"]):
        result = call(*options, *lists, "--contain", "Fe", "--n-atoms", "3-5")
        assert result.exit_code == 0, result.stderr
        data = json.loads(result.stdout)
        assert data["settings"]["any_of"] == [["Li", "O"], ["Sr", "Ti"]] and data["crystals"]
        held = [set(crystal["atomic_numbers"]) for crystal in data["crystals"]]
        assert all(26 in one and one & {3, 8} and one & {38, 22} for one in held)
        again = json.loads(call(*options, *lists, "--contain", "Fe", "--n-atoms", "3-5").stdout)
        assert [c["cif"] for c in again["crystals"]] == [c["cif"] for c in data["crystals"]]
    said = call(*small_run("tiny-writer"), "--wish", "a halide of Fe or Co", "--exclude", "Cl,Br,I")
    assert all(9 in c["atomic_numbers"] for c in json.loads(said.stdout)["crystals"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["--any-of", "Li,O", "--exclude", "Li,O"],
            "must hold Li or O, and the lists of elements allow none",
        ),
        (["--any-of", "Li,O", "--elements", "Ti"], "must hold Li or O, and the lists of elements allow none"),
        (["--any-of", "Am,Cm"], "not trained on Am or Cm"),
        (["--any-of", "F,Xx"], "'Xx' is not an element"),
        (["--any-of", ","], "--any-of names no element"),
        (["--any-of", "F", "--formula", "NaF"], "formula already says the elements"),
        (["--any-of", "F", "--elements", "Na,F", "--require-all"], "already says what is contained"),
        (["--any-of", "Li,O", "--any-of", "Sr,Ti", "--n-atoms", "1"], "needs at least 2 atoms"),
        (["--any-of", "F"] * 7, "up to 6 lists, not of 7"),
    ],
)
def test_lists_that_no_crystal_can_meet_are_refused(tiny_writer, tiny_de_novo, words, reason):
    for name in (tiny_writer(), tiny_de_novo()):
        result = call("--model", name, "--n", 1, *words)
        assert result.exit_code == 2 and reason in result.stderr and result.stderr.count("\n") == 1


def test_an_alternative_beyond_the_training_is_named(tiny_writer):
    result = call(*small_run(tiny_writer()), "--any-of", "Am,F", "--n-atoms", "1")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert all(crystal["atomic_numbers"] == [9] for crystal in data["crystals"])
    assert "not trained on Am, so no crystal holds it" in data["notes"][0]


def test_what_was_not_met_or_not_computed_is_told(tiny_writer):
    options = [*small_run(tiny_writer())[:-2], "--crystal-system", "cubic", "--band-gap", 2]
    data = json.loads(call(*options, "--json", "--quiet").stdout)
    found = sum((c["space_group"] or {"number": 0})["number"] >= 195 for c in data["crystals"])
    symmetry = {"name": "cubic", "n": found, "of": len(data["crystals"]), "symprec": 0.1}
    assert data["summary"]["symmetry"] == symmetry and data["summary"]["unchecked"] == ["band_gap"]
    assert "targets" not in data["summary"], "the fixture's folder holds no predictor"
    shown = call(*options, "--quiet").stdout
    assert f"{found} of {len(data['crystals'])} {'is' if found == 1 else 'are'} cubic within 0.1 Å" in shown
    assert "not computed for these crystals: band gap" in shown
    plain = json.loads(call(*small_run("tiny-writer")).stdout)["summary"]
    assert not {"symmetry", "unchecked", "note"} & set(plain)
    group = json.loads(call(*small_run("tiny-writer"), "--space-group", "Pm-3m").stdout)["summary"]
    assert group["symmetry"]["name"] == "Pm-3m (221)"
    multiple = json.loads(call(*small_run("tiny-writer"), "--formula", "H2O2").stdout)
    assert multiple["notes"] == ["H2O2 is a multiple of HO; a cell holds units of HO."]
    labelled = json.loads(call(*small_run("tiny-writer"), "--formula", "17OH").stdout)
    assert labelled["notes"][0].startswith("'17OH' is read as 17 times OH. If 17O is meant as an isotope")


def test_what_a_file_holds_beyond_the_crystal_is_told(tiny_pair, tmp_path):
    frame = '2\nLattice="4 0 0 0 4 0 0 0 4" pbc="T T F" Properties=species:S:1:pos:R:3\nNa 0 0 0\nCl 2 2 2\n'
    file = tmp_path / "two.extxyz"
    file.write_text(frame * 2)
    result = call(*small_run(tiny_pair()), "--start-from", file)
    assert result.exit_code == 0, result.stderr
    slab, first = result.stderr.splitlines()
    assert slab.startswith("two.extxyz: The file is not periodic along every axis")
    assert first == "two.extxyz: The file holds 2 crystals; the first one is used."
    json.loads(result.stdout)


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
