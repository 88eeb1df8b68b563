"""The call that the app shows of a run asks for the same run: drafts, conditions, a crystal to start from."""

import shlex

import pytest
from typer.testing import CliRunner

from crystal_core.cli import build_app
from crystal_core.files.records import structure_from_record
from crystal_core.files.writers import structure_to_text
from crystal_core.jobs.queue import Job
from crystal_core.requests import CrystalGenerationRequest, StructurePredictionRequest, to_json
from crystal_core.workflows import generate, predict_structure
from pages._ui.run.calls import as_command, as_python

SALT = {
    "lattice": [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]],
    "atomic_numbers": [11, 17],
    "frac_coords": [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]],
}


def job_of(kind, request):
    times = {"created": 1.0, "started": 1.0, "finished": 2.0}
    empty = {"stage": "", "step": 0, "n_steps": 0, "error": None, "snapshot": None, "result": None}
    return Job(
        id="a", kind=kind, request=to_json(request), state="done", trajectories=(), place=0, **times, **empty
    )


def asked_by(command, workflow, monkeypatch, folder):
    """The request that a command line makes."""
    seen = []
    monkeypatch.setattr(workflow, "run", lambda request: seen.append(request) or iter(()))
    monkeypatch.chdir(folder)
    words = shlex.split(command)
    assert words[0] == "crystal-core"
    result = CliRunner().invoke(build_app(), words[1:])
    assert seen, result.stderr
    return seen[0]


@pytest.mark.parametrize(
    "options",
    [
        {
            "formula": "SrTiO3",
            "band_gap": 2.0,
            "formation_energy": -1.5,
            "e_above_hull": 0.0,
            "space_group": "225",
        },
        {"contain": ("O",), "crystal_system": "cubic", "n_atoms": (2, 8), "rewrites": 0},
        {"any_of": (("F", "Cl"), ("Fe", "Co")), "contain": ("O",)},
        {"temperature": 0.8, "top_p": 0.9, "refiner": "kldm", "start_draft": "inject", "refine_from": 300},
        {"refiner": "none", "back_end": "tiny", "charge_balance": True},
        {"start_from": SALT, "redraft_sites": (1,), "elements": ("Br", "I")},
        {"start_from": SALT, "redraft_all": True},
        {"start_from": SALT},
        {"start_from": SALT, "symmetrise": 0.25},
    ],
)
def test_a_generation_is_asked_for_again(tiny_pair, monkeypatch, tmp_path, options):
    request = CrystalGenerationRequest(model=tiny_pair(), n=2, seed=4, keep_trajectory=False, **options)
    job = job_of("generate", request)
    (tmp_path / "structure.json").write_text(structure_to_text(structure_from_record(SALT), "json"))
    again = asked_by(as_command(job), generate, monkeypatch, tmp_path)
    given = {name: value for name, value in to_json(again).items() if name != "start_from"}
    assert given == {name: value for name, value in to_json(request).items() if name != "start_from"}
    assert (again.start_from is None) == (request.start_from is None)
    compile(as_python(job), "call", "exec")


@pytest.mark.parametrize(
    "options",
    [
        {"refiner": "kldm", "start_draft": "inject", "refine_from": 300},
        {"start": "draft", "temperature": 0.7},
        {"start": "noise"},
    ],
)
def test_a_structure_prediction_is_asked_for_again(tiny_pair, monkeypatch, tmp_path, options):
    request = StructurePredictionRequest(
        formula="NaCl", model=tiny_pair(), n_samples=2, seed=4, keep_trajectory=False, **options
    )
    again = asked_by(
        as_command(job_of("predict-structure", request)), predict_structure, monkeypatch, tmp_path
    )
    assert to_json(again) == to_json(request)
    compile(as_python(job_of("predict-structure", request)), "call", "exec")
