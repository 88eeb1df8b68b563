"""Relaxing as a run of the queue: finished crystals stay, refused ones are told, what made
a crystal is kept.
"""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.relax.potential import is_installed
from crystal_core.requests import RelaxationRequest, to_json
from crystal_core.workflows.relax import run

ROCK_SALT = Structure(
    Lattice.from_parameters(4.2, 4.2, 4.2, 60, 60, 60), ["Na", "Cl"], [[0.98, 0.0, 0.0], [0.48, 0.5, 0.52]]
)
COLLAPSED = Structure(Lattice.cubic(1.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def given(structure, id):
    return cell_json(structure) | {"id": id, "origin": "noise", "provenance": {"model": "kldm", "seed": 3}}


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_each_crystal_is_kept_as_soon_as_it_is_relaxed_and_says_where_it_comes_from():
    noted = given(COLLAPSED, "b") | {"notes": ["Its file gives Z = 4."]}
    request = RelaxationRequest(crystals=(given(ROCK_SALT, "a"), noted), device="cpu")
    updates = list(run(to_json(request) | {"crystals": list(request.crystals)}))
    assert [len(u.result["crystals"]) for u in updates if u.result] == [1, 2, 2]
    first, second = updates[-1].result["crystals"]
    assert first["energies"]["e_above_hull_ev"] is not None and first["relaxation"]["converged"]
    assert first["notes"] == [] and second["notes"] == ["Its file gives Z = 4."]
    assert structure_from_record(first["original"]).matches(ROCK_SALT)
    assert first["provenance"]["model"] == "kldm" and first["provenance"]["relaxed"]["model"].startswith(
        "CHGNet"
    )
    assert (
        first["novelty"]["known"]
        and first["novelty"]["nearest_formula"] == "NaCl"
        and first["novelty"]["reference"]
    )
    assert "error" in second["relaxation"] and "energies" not in second and "original" not in second
    assert [u.step for u in updates] == sorted(u.step for u in updates) and updates[-1].step == updates[
        -1
    ].n_steps
    assert any(u.snapshot for u in updates) and [u.trajectory["label"] for u in updates if u.trajectory] == [
        "Relaxation of a"
    ]


def test_a_request_says_what_is_wrong_with_it():
    with pytest.raises(RequestError, match="Nothing to relax"):
        RelaxationRequest(crystals=())
    with pytest.raises(RequestError, match="needs id, lattice"):
        RelaxationRequest(crystals=({"id": "a"},))
    with pytest.raises(RequestError, match="notes of a crystal are a list of sentences"):
        RelaxationRequest(crystals=(given(ROCK_SALT, "a") | {"notes": "one"},))
    with pytest.raises(RequestError, match="relax_seconds"):
        RelaxationRequest(crystals=(given(ROCK_SALT, "a"),), relax_seconds=0)
