"""The options of predict-structure beyond the contract's JSON: reference, trajectory, and the app's queue."""

import json

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.jobs.queue import JobQueue

PEROVSKITE = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
SMALL = ["predict-structure", "SrTiO3", "--model", "kldm-csp-perov5", "--n", "1", "--steps", "20", "--sampler", "em", "--seed", "1", "--quiet"]


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
    assert job.state == "done" and job.result == json.loads(result.stdout) | {"n_failed": job.result["n_failed"]}
