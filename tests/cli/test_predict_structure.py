"""The options of predict-structure beyond the contract's JSON: reference, trajectory, and the app's queue."""

import json
import re

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.evaluation.xrd import pattern, profile
from crystal_core.jobs.queue import JobQueue

PEROVSKITE = Structure(
    Lattice.cubic(3.9),
    ["Sr", "Ti", "O", "O", "O"],
    [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
)
SMALL = [
    "predict-structure",
    "SrTiO3",
    "--model",
    "kldm-csp-perov5",
    "--n",
    "1",
    "--steps",
    "20",
    "--sampler",
    "em",
    "--seed",
    "1",
    "--quiet",
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path / "home"))


def predict(*options):
    return CliRunner().invoke(build_app(), [*SMALL, *map(str, options)])


def test_every_candidate_says_whether_it_is_the_reference(tmp_path):
    PEROVSKITE.to(filename=str(tmp_path / "known.cif"))
    result = predict("--reference", tmp_path / "known.cif", "--json")
    candidates = json.loads(result.stdout)["results"][0]["candidates"]
    assert all(set(c["reference"]) == {"matches", "rmsd"} for c in candidates)
    prototype = next(c for c in candidates if c["origin"] == "prototype")
    assert prototype["reference"]["matches"] and prototype["reference"]["rmsd"] < 0.05


def test_what_the_file_of_a_reference_does_not_hold_is_told(tmp_path):
    text = PEROVSKITE.to(fmt="cif")
    formula = re.search(r"_chemical_formula_sum.*", text)[0]
    (tmp_path / "known.cif").write_text(text.replace(formula, "_chemical_formula_sum 'Sr Ti O3 H2'"))
    result = predict("--reference", tmp_path / "known.cif", "--json", "--quiet")
    notes = json.loads(result.stdout)["notes"]
    (told,) = (note for note in notes if note.startswith("known.cif: "))
    assert "has hydrogen, but the list of atoms has none" in told and result.stderr.count(told) == 1


def test_a_reference_of_another_compound_is_refused_before_the_work(tmp_path):
    other = Structure(Lattice.cubic(4.2), ["Cs", "Br"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    other.to(filename=str(tmp_path / "other.cif"))
    result = predict("--reference", tmp_path / "other.cif", "--quiet")
    assert result.exit_code == 2 and result.stderr.startswith("The reference is CsBr, and no formula is")


def test_a_known_candidate_brings_its_published_energy():
    result = predict("--start", "prototype", "--json")
    (answer,) = json.loads(result.stdout)["results"]
    known = [c for c in answer["candidates"] if c["novelty"]["known"]]
    assert known
    lines = predict("--start", "prototype").stdout.splitlines()
    for record in known:
        words = f"known as {record['novelty']['nearest_id']}"
        above = record["novelty"]["nearest_e_above_hull_ev"]
        words += "" if above is None else f" (published above the hull {above:.3f} eV/atom)"
        assert any(words in line for line in lines)
    assert sum("known as" in line for line in lines) == len(known)


def test_the_path_is_written_beside_the_crystals(tmp_path):
    result = predict("--out", tmp_path / "run", "--trajectory", "--start", "noise")
    assert result.exit_code == 0
    text = (tmp_path / "run" / "trajectory-1.extxyz").read_text()
    assert text.count("Lattice=") > 10 and (tmp_path / "run" / "run.json").is_file()


def test_a_trajectory_without_a_folder_is_refused():
    result = predict("--trajectory")
    assert result.exit_code == 2 and "--out" in result.stderr


def test_a_run_can_go_through_the_queue_of_the_app():
    result = predict("--queue", "--start", "noise", "--json")
    assert result.exit_code == 0
    (job,) = JobQueue().list_jobs()
    assert job.state == "done" and job.result == json.loads(result.stdout)


@pytest.fixture
def scan(tmp_path):
    """The perovskite's powder pattern with a sloping background, as a file of two columns."""
    x, y = profile(pattern(PEROVSKITE), fwhm=0.3)
    path = tmp_path / "scan.xy"
    path.write_text("2theta intensity\n" + "\n".join(f"{a:.2f} {b + 50 - a / 3:.3f}" for a, b in zip(x, y)))
    return path


def test_candidates_are_ranked_by_their_likeness_to_a_measured_pattern(scan):
    result = predict("--pattern", scan, "--rank", "pattern", "--json")
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    candidates = [c for c in data["results"][0]["candidates"] if c["validity"]["plausible"]]
    values = [c["score"]["value"] for c in candidates]
    assert (
        values == sorted(values, reverse=True)
        and candidates[0]["origin"].startswith("prototype")
        and values[0] > 0.9
    )
    assert all(
        c["pattern"]["similarity"] == c["score"]["value"] and 0.97 <= c["pattern"]["scale"] <= 1.03
        for c in candidates
    )
    assert data["results"][0]["rank_by"] == "pattern" and "likeness" in candidates[0]["score"]["name"]
    # the settings that travel with every candidate name the pattern and do not repeat it
    assert (
        set(data["settings"]["pattern"]) == {"two_theta", "points", "wavelength", "sha256"}
        and len(candidates[0]["cif"]) < 10_000
    )


def test_a_pattern_may_be_told_without_ranking(scan):
    result = predict("--pattern", scan, "--start", "noise")
    assert result.exit_code == 0 and " pattern " in result.stdout and "ranked by consensus" in result.stdout


def test_a_pattern_can_guide_sampling(scan):
    free, guided = (
        json.loads(predict("--pattern", scan, "--start", "noise", "--json", *more).stdout)
        for more in ([], ["--guide"])
    )
    cells = [run["results"][0]["candidates"][0]["lattice"] for run in (free, guided)]
    assert (
        cells[0] != cells[1]
        and guided["settings"]["guide"]
        and free["network_calls"] == guided["network_calls"]
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--rank", "pattern"], "give the measured one"),
        (["--guide"], "give the measured one"),
        (["--pattern", "{scan}", "--guide", "--model", "prototype"], "no pattern can guide it"),
        (["--pattern", "{scan}", "--wavelength", "12"], "wavelength"),
        (["--wavelength", "foo"], "add --pattern"),
        (["--pattern", "{scan}.missing"], "no file"),
    ],
)
def test_patterns_that_make_no_sense_are_refused_before_the_work(scan, words, part):
    command = SMALL[:2] if "prototype" in words else SMALL
    result = CliRunner().invoke(build_app(), [*command, *(word.format(scan=scan) for word in words)])
    assert result.exit_code == 2 and part in result.stderr and len(result.stderr.strip().splitlines()) == 1


@pytest.mark.weights
@pytest.mark.parametrize("options", [["--model", "prototype"], ["--start", "prototype"]])
def test_a_formula_without_a_known_arrangement_asks_for_no_more_samples(options):
    command = ["predict-structure", "K4[Fe(CN)6]·3H2O", "--z", "1", "--n", "1", *options]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 2 and "No known arrangement makes a cell of K4[Fe(CN)6]·3H2O" in result.stderr
    assert "more samples" not in result.stderr


def test_a_result_names_what_was_typed_and_what_is_computed():
    options = ["predict-structure", "Sr2Ti2O6", *SMALL[2:], "--start", "prototype", "--z", "1"]
    results = json.loads(CliRunner().invoke(build_app(), [*options, "--json"]).stdout)["results"]
    assert {(one["formula"], one["computed_formula"]) for one in results} == {("Sr2Ti2O6", "SrTiO3")}
    assert "SrTiO3 (typed: Sr2Ti2O6): ranked by" in CliRunner().invoke(build_app(), options).stdout
