"""``generate``: the contract's JSON, elements and atom counts, exit codes, the queue. Runs an untrained toy
of the true classes.
"""

import json

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import TrainingDiverged
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
    options = [*small(tiny_de_novo("analog-bits")), "--elements", "Li,O", "--atoms", "3-4"]
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
        (["--elements", "Li", "--exclude", "Li"], 2, "Li is both allowed and excluded; take it out"),
        (
            ["--elements", "Li,Ti,O", "--exclude", "Ti,Fe,Li"],
            2,
            "Li, Ti are both allowed and excluded; take each of them out of one of the two lists.",
        ),
        (["--elements", "Li,O", "--exclude", "O", "--require-all"], 2, "O is both allowed and excluded"),
        (["--wish", "made of Li and O only", "--exclude", "O"], 2, "O is both allowed and excluded"),
        (
            ["--elements", "Li,O", "--contain", "Ti"],
            2,
            "must hold Ti, which the list of allowed elements lacks",
        ),
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


def test_a_density_guides_and_guidance_without_a_target_is_refused(tiny_de_novo):
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


def test_every_crystal_holds_all_requested_elements_on_request(tiny_de_novo):
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


def test_a_model_of_types_that_are_revealed_balances_charges_and_says_by_which_table(tiny_de_novo):
    words = (*small(tiny_de_novo()), "--charge-balance", "--json")
    data = json.loads(call(*words).stdout)
    assert data["settings"]["charge_balance"] and data["settings"]["charge_balance_used"] == "smact14"
    assert all(c["provenance"]["settings"]["charge_balance_used"] == "smact14" for c in data["crystals"])
    refused = call(*small(tiny_de_novo("one-hot")), "--charge-balance")
    assert refused.exit_code == 2 and "cannot keep compositions charge-balanced" in refused.stderr


def test_crystals_are_symmetrised_on_request_which_text_json_and_files_tell(tiny_de_novo, tmp_path):
    options = ["--model", tiny_de_novo(), "--n", 8, "--sampler", "em", "--steps", 4, "--seed", 5]
    data = json.loads(call(*options, "--symmetrise", "1", "--json", "--out", tmp_path / "out").stdout)
    changed = [c for c in data["crystals"] if "symmetrised" in c["provenance"]]
    summary = data["summary"]["symmetrised"]
    counts = (len(changed), len(data["crystals"]))
    assert (summary["n"], summary["of"], summary["within_angstrom"]) == (*counts, 1)
    assert changed and data["settings"]["symmetrise"] == 1
    furthest = max(c["provenance"]["symmetrised"]["displacement_angstrom"] for c in changed)
    assert summary["displacement_angstrom"] == furthest <= 1
    line = f"{counts[0]} of {counts[1]} symmetrised within 1 Å; atoms moved at most {furthest:.2f} Å."
    assert line in call(*options, "--symmetrise", "1").stdout.splitlines()
    assert "# symmetrised: within" in (tmp_path / "out" / f"{changed[0]['id']}.cif").read_text()
    plain = json.loads(call(*options, "--json").stdout)
    assert "symmetrised" not in plain["summary"] and plain["settings"]["symmetrise"] is None
    assert [c["atomic_numbers"] for c in plain["crystals"]] == [c["atomic_numbers"] for c in data["crystals"]]


@pytest.mark.parametrize("value", ["0", "-0.3", "1.5", "nan"])
def test_a_tolerance_of_symmetrising_is_above_zero_and_at_most_one(tiny_de_novo, value):
    result = call(*small(tiny_de_novo()), "--symmetrise", value)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "The tolerance of symmetrising lies above 0 and at most at 1 Å, not at" in result.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--band-gap", 2], "does not take a band gap"),
        (["--formula", "TiO2"], "does not take a formula"),
        (["--crystal-system", "cubic"], "does not take a crystal system"),
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
