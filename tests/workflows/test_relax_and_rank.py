"""Relax and rank: energies decide, the cell as sampled is kept, and what cannot be relaxed
stays with its reason.
"""

import json

import pytest
from pymatgen.core import Structure
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.errors import RelaxationFailed
from crystal_core.files.records import rank_key, run_files, structure_from_record
from crystal_core.frames import RunUpdate
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import RUNNERS, run_job
from crystal_core.relax import relaxation
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest, to_json
from crystal_core.workflows import predict_structure, prediction_run

pytestmark = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")

SETTINGS = {
    "formula": "NaCl",
    "z": (1,),
    "model": "prototype",
    "start": "prototype",
    "n_samples": 3,
    "rank": "energy",
    "relax": True,
    "device": "cpu",
    "seed": 1,
    "threads": 1,
}


def updates(**changes):
    return list(predict_structure.run(StructurePredictionRequest(**SETTINGS | changes)))


@pytest.fixture(scope="module")
def finished():
    return updates()


def candidates(update):
    return [record for item in update.result["results"] for record in item["candidates"]]


def test_the_lowest_energy_comes_first(finished):
    records = candidates(finished[-1])
    energies = [record["score"]["value"] for record in records if record["validity"]["plausible"]]
    assert len(records) == 3 and energies == sorted(energies)
    assert (
        records[0]["score"]["name"] == "energy (CHGNet 0.3.0)"
        and records[0]["energies"]["energy_per_atom_ev"] == records[0]["score"]["value"]
    )
    assert records[0]["space_group"]["symbol"] == "Fm-3m" and records[0]["score"]["value"] == pytest.approx(
        -3.667, abs=0.003
    )
    assert finished[-1].result["results"][0]["rank_by"] == "energy"


def test_each_record_keeps_the_cell_as_sampled(finished):
    for record in candidates(finished[-1]):
        outcome = record["relaxation"]
        assert {
            "potential",
            "converged",
            "status",
            "n_steps",
            "displacement_angstrom",
            "rmsd",
            "initial_energy_per_atom_ev",
        } <= set(outcome)
        assert record["energies"]["energy_per_atom_ev"] <= outcome["initial_energy_per_atom_ev"] + 1e-4
        before, after = structure_from_record(record["original"]), structure_from_record(record)
        assert before.composition == after.composition and before.lattice != after.lattice
        assert Structure.from_str(record["cif"], fmt="cif").volume == pytest.approx(after.volume, rel=1e-6)
    files = run_files(candidates(finished[-1]), finished[-1].result)
    assert files["before-relaxing.extxyz"].count("Lattice=") == 3
    json.dumps(finished[-1].result, allow_nan=False)


def test_every_relaxed_candidate_is_reported_at_once_and_seen_on_its_way(finished):
    counts = [
        sum("energies" in record for record in candidates(update)) for update in finished if update.result
    ]
    assert counts == [0, 1, 2, 3, 3]
    assert sum(update.snapshot is not None for update in finished) > 10
    assert [update.step for update in finished] == sorted(update.step for update in finished) and finished[
        -1
    ].step == finished[-1].n_steps
    paths = [update.trajectory for update in finished if update.trajectory]
    assert paths and all(len(path["frames"]) > 1 for path in paths)


def test_a_cancel_keeps_the_energies_that_are_there(tmp_path):
    queue = JobQueue(tmp_path)

    def stopped(request):
        for update in predict_structure.run(request):
            yield update
            if update.result and any("energies" in record for record in candidates(update)):
                queue.cancel(job.id)
                yield RunUpdate(stage="next", step=1, n_steps=2, result=update.result)
                raise AssertionError("it went on after the cancel")

    queue.submit("predict-structure", to_json(StructurePredictionRequest(**SETTINGS)))
    job = queue.take()
    predict_structure.stopped = stopped
    try:
        run_job(queue, job, {"predict-structure": "crystal_core.workflows.predict_structure:stopped"})
    finally:
        del predict_structure.stopped
    ended = queue.get(job.id)
    assert (
        ended.state == "partial"
        and sum("energies" in r for r in ended.result["results"][0]["candidates"]) == 1
    )
    assert "predict-structure" in RUNNERS


def test_what_cannot_be_relaxed_stays_as_sampled_and_comes_last(monkeypatch):
    true_steps, calls = relaxation.relax_steps, []

    def steps(structure, *words, **options):
        calls.append(structure)
        if len(calls) == 1:
            raise RelaxationFailed("An atom has no neighbour.")
        return true_steps(structure, *words, **options)

    monkeypatch.setattr(relaxation, "relax_steps", steps)
    records = candidates(updates(n_samples=2)[-1])
    assert (
        records[-1]["relaxation"]["error"] == "An atom has no neighbour."
        and records[-1]["score"]["value"] is None
    )
    assert (
        "energies" not in records[-1]
        and "original" not in records[-1]
        and records[0]["score"]["value"] is not None
    )


@pytest.mark.weights
def test_of_candidates_that_are_alike_one_is_relaxed_and_ranks_all():
    options = {
        "formula": "SrTiO3",
        "model": "kldm-csp-perov5",
        "n_samples": 1,
        "steps": 10,
        "start": "prototype",
    }
    first, second = candidates(updates(**options)[-1])
    assert "energies" in first and "energies" not in second and first["group"] == second["group"]
    assert f"like {first['id']}" in second["relaxation"]["error"]
    assert first["score"] == second["score"] and first["score"]["value"] is not None


def test_energies_without_relaxing_move_nothing():
    records = candidates(updates(relax=False, n_samples=2)[-1])
    assert all(
        "original" not in record
        and "relaxation" not in record
        and record["energies"]["energy_per_atom_ev"] < 0
        for record in records
    )


def test_consensus_can_rank_relaxed_cells():
    records = candidates(updates(rank="consensus", n_samples=2)[-1])
    assert records[0]["score"]["unit"] == "candidates alike" and "energies" in records[0]


def test_ranking_puts_implausible_and_unknown_last():
    def record(energy, plausible=True):
        return {
            "validity": {"structure": True, "plausible": plausible},
            "score": {"value": energy, "unit": "eV/atom"},
            "group": 0,
        }

    ordered = sorted([record(None), record(-9.0, plausible=False), record(-3.0), record(-4.0)], key=rank_key)
    assert [entry["score"]["value"] for entry in ordered] == [-4.0, -3.0, None, -9.0]


def test_the_command_line_relaxes_and_ranks(tmp_path):
    words = [
        "predict-structure",
        "NaCl",
        "--model",
        "prototype",
        "--start",
        "prototype",
        "--z",
        "1",
        "--n",
        "1",
        "--relax",
        "--rank",
        "energy",
    ]
    result = CliRunner().invoke(build_app(), [*words, "--json", "--quiet", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    # sodium chloride is known in two arrangements
    record, other = json.loads(result.stdout)["results"][0]["candidates"]
    assert [r["provenance"]["prototype"]["distance"] for r in (record, other)] == [0, 0]
    assert (
        record["energies"]["e_above_hull_ev"] is not None
        and (tmp_path / "out" / "before-relaxing.extxyz").is_file()
    )
    plain = CliRunner().invoke(build_app(), [*words, "--quiet"])
    assert "eV/atom" in plain.stdout and "ranked by energy (CHGNet" in plain.stdout


def test_beyond_the_most_promising_structures_energies_are_of_the_cells_as_sampled(monkeypatch):
    monkeypatch.setattr(predict_structure, "MOST_RELAXED", 1)
    records = candidates(updates()[-1])
    left = [record for record in records if "error" in record.get("relaxation", {})]
    assert len(records) == 3 and len(left) == 2
    assert all(
        "energies" in record
        and "original" not in record
        and "Only the 1 most promising" in record["relaxation"]["error"]
        for record in left
    )


def test_what_most_candidates_agree_on_is_relaxed_and_of_equals_the_lowest_as_sampled(monkeypatch):
    calls = []

    def compute_energy(self, potential, *, seconds, relax):
        calls.append((self.index, relax))
        self.energy = -float(self.index)
        yield from ()

    def grouped(structures, _):
        return [0, 1, 1, 2, 3][: len(structures)]  # the second and the third are alike

    monkeypatch.setattr(predict_structure, "MOST_RELAXED", 2)
    monkeypatch.setattr(prediction_run, "alike_groups", grouped)
    monkeypatch.setattr(predict_structure.Candidate, "compute_energy", compute_energy)
    steps = [update.step for update in updates(n_samples=5)]
    weighed, relaxed = (
        [index for index, moved in calls if moved is is_relaxed] for is_relaxed in (False, True)
    )
    assert sorted(weighed) == [0, 1, 3, 4] and relaxed == [1, 4]
    assert steps == sorted(steps)
