"""``generate``: the contract's JSON, elements and atom counts, exit codes, the queue. Runs an untrained toy of the true classes."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import TrainingDiverged
from crystal_core.files.writers import structure_to_text
from crystal_core.paths import REPOSITORY
from crystal_core.registry.store import list_cards

CRYSTAL = {
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


def call(*words):
    return CliRunner().invoke(build_app(), ["generate", *map(str, words)])


def small(name):
    return ["--model", name, "--n", 3, "--sampler", "em", "--steps", 4, "--seed", 5]


def test_generate_answers_with_crystals_and_repeats(tiny_de_novo, tmp_path):
    options = small(tiny_de_novo())
    result = call(*options, "--json", "--quiet", "--trajectory", "--out", tmp_path / "out")
    assert result.exit_code == 0 and result.stderr == "", result.stderr
    data = json.loads(result.stdout)
    assert {"crystals", "settings", "seconds", "network_calls", "summary"} <= set(data)
    assert (
        data["summary"]["n"] == 3 == len(data["crystals"]) + data["n_failed"] and data["network_calls"] == 4
    )
    assert all(set(crystal) >= CRYSTAL and crystal["n_atoms"] in (2, 5) for crystal in data["crystals"])
    assert data["settings"]["seed"] == 5 and (tmp_path / "out" / "trajectory-1.extxyz").is_file()
    assert {path.stem for path in (tmp_path / "out").glob("*.cif")} == {
        crystal["id"] for crystal in data["crystals"]
    }
    again = json.loads(call(*options, "--json").stdout)
    assert [c["frac_coords"] for c in again["crystals"]] == [c["frac_coords"] for c in data["crystals"]]


def test_a_tuning_is_sampled_with_and_told_with_every_crystal(tiny_de_novo):
    options = ["--model", tiny_de_novo(), "--n", 2, "--steps", 3, "--seed", 5, "--json", "--sampler", "pc"]
    plain, tuned = (
        json.loads(call(*options, *words).stdout) for words in ((), ("--tau", 0.9, "--noise-scale", 0.5))
    )
    assert plain["crystals"][0]["frac_coords"] != tuned["crystals"][0]["frac_coords"]
    settings = tuned["crystals"][0]["provenance"]["settings"]
    assert (settings["tau"], settings["tau_used"], settings["noise_scale_used"]) == (0.9, 0.9, 0.5)
    assert (settings["tuning"], settings["remasking"], plain["settings"]["tau"]) == ("card", None, None)


def test_elements_and_atom_counts_are_kept(tiny_de_novo):
    options = [
        *small(tiny_de_novo("analog-bits")),
        "--elements",
        "Li,O,Fe",
        "--exclude",
        "Fe",
        "--atoms",
        "3-4",
    ]
    data = json.loads(call(*options, "--json").stdout)
    assert all(set(c["atomic_numbers"]) <= {3, 8} and c["n_atoms"] in (3, 4) for c in data["crystals"])
    assert data["settings"]["elements_allowed"] == [3, 8]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--elements", "Li,Xx"], 2, "not an element"),
        (["--elements", "Au"], 2, "not trained on Au"),
        (["--elements", ","], 2, "--elements names no element"),
        (["--exclude", ""], 2, "--exclude-elements names no element"),
        (["--elements", "Li", "--exclude", "Li"], 2, "leave none"),
        (["--atoms", "many"], 2, "a number or a range"),
        (["--atoms", "9-4"], 2, "runs backwards"),
        (["--atoms", "0"], 2, "between 1 and"),
        (["--atoms", "1"], 2, "knows none of 1;"),
        (["--n", "0"], 2, "between 1 and"),
        (["--sampler", "euler"], 2, "choose one of"),
        (["--trajectory"], 2, "--out"),
        (["--model", "nothing"], 3, "No checkpoint named"),
    ],
)
def test_mistakes_end_with_one_sentence_and_the_right_code(tiny_de_novo, words, code, part):
    result = call(*small(tiny_de_novo()), *words)
    assert result.exit_code == code
    assert (
        part in result.stderr
        and "Traceback" not in result.stderr
        and len(result.stderr.strip().splitlines()) <= 2
    )


def test_models_of_the_other_task_point_to_their_command(tiny_de_novo):
    result = CliRunner().invoke(build_app(), ["predict-structure", "TiO2", "--model", tiny_de_novo()])
    assert result.exit_code == 2 and "generate" in result.stderr


@pytest.mark.weights
def test_a_structure_prediction_model_invents_nothing():
    result = call("--model", "kldm-csp-perov5")
    assert result.exit_code == 2 and "predict-structure" in result.stderr


def test_a_run_can_go_through_the_queue_of_the_app(tiny_de_novo, tmp_path, monkeypatch):
    from crystal_core.jobs.queue import JobQueue

    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))
    result = call(*small(tiny_de_novo()), "--queue", "--json")
    assert result.exit_code == 0, result.stderr
    (job,) = JobQueue().list_jobs()
    assert (job.kind, job.state) == ("generate", "done") and job.result == json.loads(result.stdout)


@pytest.mark.parametrize(
    ("last", "code"), [(MemoryError(), 1), (TrainingDiverged("It diverged."), 1), (KeyboardInterrupt(), 130)]
)
def test_finished_batches_are_kept_whatever_ends_the_next_one(
    tiny_de_novo, tmp_path, monkeypatch, last, code
):
    from crystal_core.workflows import generate as workflow

    true_run = workflow.run

    def run(request):
        for update in true_run(request):
            yield update
            if update.result:
                raise last

    monkeypatch.setattr(workflow, "run", run)
    result = call(*small(tiny_de_novo()), "--json", "--out", tmp_path / "out")
    assert (
        result.exit_code == code
        and json.loads(result.stdout)["crystals"]
        and "Traceback" not in result.stderr
    )
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == json.loads(result.stdout)


@pytest.mark.weights
def test_every_shipped_de_novo_model_generates():
    names = [
        card.name
        for card in list_cards("generator")
        if card.task == "de novo generation" and card.loader == "kldm"
    ]
    if not names:
        pytest.skip("no de novo checkpoint is shipped yet")
    for name in names:
        data = json.loads(
            call("--model", name, "--n", 2, "--steps", 10, "--sampler", "em", "--seed", 1, "--json").stdout
        )
        assert data["summary"]["n"] == 2


@pytest.fixture
def perovskite(tmp_path):
    sites = [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    Structure(Lattice.cubic(3.9), ["Fe", "Ti", "O", "O", "O"], sites).to(
        filename=str(tmp_path / "known.vasp"), fmt="poscar"
    )
    return tmp_path / "known.vasp"


def test_sites_elements_and_cell_of_a_structure_can_stay(tiny_de_novo, perovskite):
    options = [*small(tiny_de_novo()), "--fix", perovskite, "--json"]
    for crystal in json.loads(call(*options, "--fix-sites", "1,0", "--atoms", "3-6").stdout)["crystals"]:
        assert crystal["atomic_numbers"][:2] == [22, 26] and 3 <= crystal["n_atoms"] <= 6
        assert all(
            abs(a - b) < 1e-5
            for row, known in zip(crystal["frac_coords"], [[0.5] * 3, [0.0] * 3])
            for a, b in zip(row, known)
        )
    for crystal in json.loads(call(*options, "--fix-elements", "--fix-lattice").stdout)["crystals"]:
        assert crystal["atomic_numbers"] == [26, 22, 8, 8, 8]
        assert all(abs(sum(x * x for x in row) ** 0.5 - 3.9) < 1e-3 for row in crystal["lattice"])


def test_elements_that_may_not_appear_cannot_stay(tiny_de_novo, perovskite):
    options = [*small(tiny_de_novo()), "--fix", perovskite]
    for words, part in (
        (["--fix-sites", "0", "--exclude", "Fe"], "Fe must not appear"),
        (["--fix-elements", "--elements", "Li,O"], "Ti, Fe must not appear"),
    ):
        result = call(*options, *words)
        assert (
            result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1
        )
    assert call(*options, "--fix-sites", "1", "--exclude", "Fe", "--elements", "Ti,O,Fe").exit_code == 0
    assert call(*options, "--fix-lattice", "--elements", "Li,O").exit_code == 0


def test_elements_that_the_model_does_not_know_cannot_stay(tiny_de_novo, perovskite):
    name = tiny_de_novo(elements=(8, 22, 38))
    for words in (["--fix-sites", "0"], ["--fix-elements"]):
        result = call(*small(name), "--fix", perovskite, *words)
        assert result.exit_code == 2 and "was not trained on Fe, so" in result.stderr
    assert call(*small(name), "--fix", perovskite, "--fix-sites", "1", "--json").exit_code == 0


def test_atom_counts_beyond_the_training_are_told(tiny_de_novo, perovskite):
    options = small(tiny_de_novo())
    for words, beyond in (
        (["--atoms", "4-7"], True),
        (["--atoms", "1-2"], True),
        (["--atoms", "6-7"], True),
        (["--atoms", "3-4"], False),
    ):
        result = call(*options, *words, "--json", "--quiet")
        assert result.exit_code == 0 and ("note" in json.loads(result.stdout)["summary"]) == beyond
        assert result.stderr == (
            "tiny-masking was trained on cells of 2 to 5 atoms; other numbers of atoms are a guess.\n"
            if beyond
            else ""
        )
    doubled = Structure.from_file(perovskite).make_supercell((2, 1, 1))
    doubled.to(filename=str(perovskite), fmt="poscar")
    result = call(*options, "--fix", perovskite, "--fix-lattice")
    assert result.exit_code == 0 and "other numbers of atoms are a guess" in result.stderr
    assert call(*options, "--fix", perovskite, "--fix-lattice", "--atoms", "5").exit_code == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "Say what"),
        (["--fix-sites", "7"], "between 0 and 4"),
        (["--fix-sites", "a"], "whole numbers"),
        (["--fix-sites", "0,1", "--atoms", "1"], "Fewer atoms"),
    ],
)
def test_completions_that_make_no_sense_are_refused(tiny_de_novo, perovskite, words, part):
    options = small(tiny_de_novo())
    result = call(*options, "--fix", perovskite, *words)
    assert result.exit_code == 2 and part in result.stderr
    alone = call(*options, "--fix-lattice")
    assert alone.exit_code == 2 and "add the structure" in alone.stderr


@pytest.fixture
def with_prototypes(tiny_de_novo, tmp_path):
    """The toy's name, the shipped table of prototypes beside it."""
    name = tiny_de_novo()
    (tmp_path / "checkpoints" / "prototype").symlink_to(REPOSITORY / "checkpoints" / "prototype")
    return name


@pytest.mark.weights
def test_a_space_group_is_kept_with_the_elements_asked_for(with_prototypes):
    data = json.loads(
        call(*small(with_prototypes), "--space-group", "Pm-3m", "--elements", "Sr,Ti,O", "--json").stdout
    )
    told = data["summary"]["space_group"]
    assert (told["number"], told["symbol"], told["experimental"]) == (221, "Pm-3m", True)
    assert told["kept_within_0.01"] == len(data["crystals"])
    assert all(c["n_atoms"] in (2, 5) and set(c["atomic_numbers"]) <= {8, 22, 38} for c in data["crystals"])


@pytest.mark.weights
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--space-group", "Fm9m"], "no space group"),
        (["--space-group", "231"], "no space group"),
        (
            ["--space-group", "227", "--atoms", "5"],
            "no Wyckoff assignment of 5 atoms per primitive cell in Fd-3m (227)",
        ),
        (["--space-group", "221", "--fix", "{file}", "--fix-lattice"], "not both"),
    ],
)
def test_space_groups_that_cannot_be_kept_are_refused_in_a_sentence(with_prototypes, perovskite, words, part):
    result = call(*small(with_prototypes), *[word.format(file=perovskite) for word in words])
    assert result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_a_density_guides_and_guidance_without_a_wish_is_refused(tiny_de_novo):
    options = small(tiny_de_novo())
    free, zero, guided = (
        json.loads(call(*options, *words, "--json").stdout)["crystals"]
        for words in ([], ["--density", "9", "--guidance", "0"], ["--density", "9", "--guidance", "5"])
    )
    assert [c["lattice"] for c in free] == [c["lattice"] for c in zero] != [c["lattice"] for c in guided]
    for words, part in (
        (["--guidance", "2"], "add a density"),
        (["--density", "99"], "between 0.05 and 30"),
        (["--density", "4", "--guidance", "-1"], "between 0 and 100"),
    ):
        result = call(*options, *words)
        assert (
            result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1
        )


def test_every_crystal_holds_all_wished_elements_on_request(tiny_de_novo):
    options = [*small(tiny_de_novo()), "--elements", "Li,Ti,O", "--require-all"]
    assert {
        tuple(sorted(set(c["atomic_numbers"])))
        for c in json.loads(call(*options, "--json").stdout)["crystals"]
    } == {(3, 8, 22)}
    result = call(*options, "--atoms", "2")
    assert (
        result.exit_code == 2
        and "at least 3 atoms" in result.stderr
        and len(result.stderr.strip().splitlines()) == 1
    )


def wishes(name):
    return ["--model", name, "--n", 4, "--seed", 3, "--json", "--quiet"]


def test_a_language_model_is_told_and_its_drafts_travel(tiny_writer):
    options = [*wishes(tiny_writer()), "--band-gap", 2, "--crystal-system", "cubic", "--e-above-hull", 0]
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
    data = json.loads(call(*wishes(tiny_writer()), "--elements", "Li,O", "--n-atoms", "2-3").stdout)
    assert {c["n_atoms"] for c in data["crystals"]} <= {2, 3}
    assert {z for c in data["crystals"] for z in c["atomic_numbers"]} <= {3, 8}
    data = json.loads(call(*wishes("tiny-writer"), "--elements", "Li,O", "--require-all").stdout)
    assert all(set(c["atomic_numbers"]) == {3, 8} for c in data["crystals"])
    assert "<elements> Li O" in data["crystals"][0]["provenance"]["draft"]["prompt"]


def test_a_model_of_types_that_are_revealed_balances_charges_and_says_by_which_table(tiny_de_novo):
    words = (*small(tiny_de_novo()), "--charge-balance", "--json")
    data = json.loads(call(*words).stdout)
    assert data["settings"]["charge_balance"] and data["settings"]["charge_balance_used"] == "smact14"
    assert all(c["provenance"]["settings"]["charge_balance_used"] == "smact14" for c in data["crystals"])
    refused = call(*small(tiny_de_novo("one-hot")), "--charge-balance")
    assert refused.exit_code == 2 and "cannot keep compositions charge-balanced" in refused.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--band-gap", 2], "not trained to be told a band gap"),
        (["--formula", "TiO2"], "not trained to be told a formula"),
        (["--crystal-system", "cubic"], "not trained to be told a crystal system"),
        (["--temperature", 0.5], "writes no drafts"),
        (["--start", "inject"], "writes no drafts"),
        (["--crystal-system", "round"], "Unknown crystal system 'round'"),
        (["--band-gap", -1], "between 0 and 20"),
        (["--formula", "TiO2", "--elements", "Ti"], "already says the elements"),
        (["--crystal-system", "cubic", "--space-group", "225"], "already says its crystal system"),
    ],
)
def test_a_model_without_a_prompt_refuses_what_it_cannot_be_told(tiny_de_novo, words, reason):
    result = call(*small(tiny_de_novo()), *words)
    assert result.exit_code == 2 and reason in result.stderr and result.stderr.count("\n") == 1


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


def test_a_sentence_says_what_is_wished_and_options_say_more(tiny_writer):
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


def test_crystals_contain_what_is_wished_beside_others(tiny_writer, tiny_de_novo):
    data = json.loads(call(*wishes(tiny_writer()), "--contain", "O,Ti", "--n-atoms", "2-5").stdout)
    assert all({8, 22} <= set(c["atomic_numbers"]) for c in data["crystals"])
    data = json.loads(call(*small(tiny_de_novo()), "--contain", "O,Ti", "--json").stdout)
    assert all({8, 22} <= set(c["atomic_numbers"]) for c in data["crystals"])
    result = call(*small("tiny-masking"), "--contain", "O", "--exclude-elements", "O")
    assert result.exit_code == 2 and "O must not appear" in result.stderr


def test_drafts_are_refined_and_every_crystal_tells_its_way(tiny_pair, tmp_path):
    words = [*wishes(tiny_pair()), "--formula", "SrTiO3", "--tau", 300, "--start", "inject"]
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
        told = crystal["provenance"]
        assert crystal["formula"] == "SrTiO3" and crystal["origin"] == "draft refined"
        assert sorted(told["draft"]["cell"]["atomic_numbers"]) == sorted(crystal["atomic_numbers"])
        assert [stage["stage"] for stage in told["stages"]] == ["draft", "refine"]
    total = sum(stage["network_calls"] for stage in data["crystals"][0]["provenance"]["stages"])
    assert data["network_calls"] == total
    assert len(list((tmp_path / "out").glob("*.cif"))) == len(data["crystals"])
    alone = json.loads(call(*wishes("tiny-pair"), "--formula", "SrTiO3", "--refiner", "none").stdout)
    assert [c["provenance"]["draft"]["text"] for c in alone["crystals"]] == [
        c["provenance"]["draft"]["text"] for c in data["crystals"]
    ]
    assert alone["crystals"][0]["origin"] == "draft" and alone["settings"]["refiner_used"] == "none"


def test_a_file_is_redrafted_on_the_command_line(tiny_pair, tmp_path):
    file = tmp_path / "salt.cif"
    file.write_text(
        structure_to_text(Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]), "cif")
    )
    result = call(*wishes(tiny_pair()), "--start-from", file, "--redraft-sites", "all")
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
