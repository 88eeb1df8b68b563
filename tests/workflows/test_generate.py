"""De novo runs: batches, atom counts from the histogram or a range, results as far as they are finished."""

from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import MemoryFull, RequestError
from crystal_core.files.records import cell_json, structure_from_record
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows import cell_plan, completion, generate, generation_run

HISTOGRAM = {2: 0.25, 5: 0.75}


def test_atom_counts_follow_the_histogram_and_the_first_do_not_depend_on_how_many():
    many = cell_plan.draw_atom_counts(CrystalGenerationRequest(n=200, seed=1), HISTOGRAM)
    assert set(many) == {2, 5} and 0.6 < Counter(many)[5] / 200 < 0.9
    assert cell_plan.draw_atom_counts(CrystalGenerationRequest(n=7, seed=1), HISTOGRAM) == many[:7]


def test_a_range_includes_both_ends():
    """The published range leaves its upper end out."""
    drawn = cell_plan.draw_atom_counts(CrystalGenerationRequest(n=200, seed=0, n_atoms=(3, 5)), {})
    assert set(drawn) == {3, 4, 5}
    assert set(cell_plan.draw_atom_counts(CrystalGenerationRequest(n=5, seed=0, n_atoms=(8, 8)), {})) == {8}


def test_a_card_without_counts_asks_for_them():
    with pytest.raises(RequestError, match="number or range"):
        cell_plan.draw_atom_counts(CrystalGenerationRequest(seed=0), {})


def test_each_batch_brings_its_crystals_and_stopping_keeps_the_finished_ones(tiny_de_novo, monkeypatch):
    monkeypatch.setitem(generate.BATCH, "cpu", 2)
    request = CrystalGenerationRequest(n=5, model=tiny_de_novo(), sampler="em", steps=3, seed=2)
    results = [update.result["summary"]["n"] for update in generate.run(request) if update.result]
    assert results == [2, 4, 5, 5]
    updates = generate.run(request)
    first_result = next(update.result for update in updates if update.result)
    updates.close()
    assert first_result["summary"]["n"] == 2


def test_each_crystal_is_looked_up_once_among_the_known_ones_and_the_new_are_counted(
    tiny_de_novo, monkeypatch
):
    from crystal_core.reference import known

    structures = []
    monkeypatch.setattr(
        known,
        "novelty",
        lambda structure: (
            structures.append(structure)
            or {"known": len(structures) == 1, "nearest_id": "mp-1", "rmsd": None}
        ),
    )
    monkeypatch.setitem(generate.BATCH, "cpu", 2)
    *_, last = generate.run(
        CrystalGenerationRequest(n=5, model=tiny_de_novo(), sampler="em", steps=3, seed=2)
    )
    crystals, summary = last.result["crystals"], last.result["summary"]
    assert len(structures) == len(crystals) and [c["novelty"]["known"] for c in crystals] == [True] + [
        False
    ] * (len(crystals) - 1)
    assert summary["novel"] == len(crystals) - 1 and "Materials Project" in summary["reference"]


def test_a_request_from_json_is_checked(tiny_de_novo):
    with pytest.raises(RequestError, match="least and the most"):
        next(generate.run({"model": tiny_de_novo(), "n_atoms": [1, 2, 3]}))
    with pytest.raises(RequestError, match="Elements are symbols"):
        next(generate.run({"elements": [8]}))


def test_the_first_crystals_can_be_watched_and_keep_their_paths(tiny_de_novo, monkeypatch):
    monkeypatch.setitem(generate.BATCH, "cpu", 3)
    monkeypatch.setattr(generation_run, "WATCHED", 2)
    updates = list(
        generate.run(CrystalGenerationRequest(n=5, model=tiny_de_novo(), sampler="em", steps=3, seed=2))
    )
    # the second batch shows one
    assert {len(u.snapshot.get("cells", [u.snapshot])) for u in updates if u.snapshot} == {
        2,
        1,
    }
    paths = [u.trajectory for u in updates if u.trajectory]
    assert [path["label"] for path in paths] == ["crystal 1", "crystal 2"] and all(
        len(path["frames"]) > 1 for path in paths
    )
    assert paths[1]["frames"][-1] == next(
        u.snapshot["cells"][1] for u in reversed(updates) if u.snapshot and "cells" in u.snapshot
    )


@pytest.mark.parametrize("species", ["masking", "analog-bits"])
def test_each_crystal_holds_all_requested_elements_where_that_is_asked_for(tiny_de_novo, species):
    settings = {
        "elements": ("Li", "Ti", "O"),
        "model": tiny_de_novo(species),
        "n": 12,
        "sampler": "em",
        "steps": 20,
        "seed": 2,
    }
    *_, last = generate.run(CrystalGenerationRequest(**settings, require_all=True))
    records = last.result["crystals"]
    # cells of 2 atoms have no room
    assert records and all(set(c["atomic_numbers"]) == {3, 8, 22} and c["n_atoms"] == 5 for c in records)
    *_, last = generate.run(CrystalGenerationRequest(**settings, require_all=True, n_atoms=(2, 4)))
    assert {c["n_atoms"] for c in last.result["crystals"]} == {3, 4} and last.result["settings"][
        "require_all"
    ] is True


def test_what_is_kept_of_a_structure_counts_among_the_requested_elements():
    given = {
        "lattice": [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
        "atomic_numbers": [22, 8, 8],
        "frac_coords": [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]],
    }
    request = CrystalGenerationRequest(
        elements=("Li", "O"), require_all=True, fix=given, fix_sites=(1,), n_atoms=(3, 3)
    )
    parts = completion.known_parts(request, (3,), (3, 8), 0)
    assert parts.places == (True, False, False) and parts.types == (True, True, False)
    assert parts.crystals.atomic_numbers.tolist()[:2] == [8, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elements": ()}, "name them"),
        ({"exclude_elements": ("O",)}, "O is both allowed and excluded"),
        ({"n_atoms": (1, 2)}, "at least 3 atoms, more than the 2"),
        ({"require_all": 1}, "true or false"),
    ],
)
def test_all_requested_elements_are_refused_where_they_cannot_be(options, message):
    def check():
        request = CrystalGenerationRequest(**({"elements": ("Li", "Ti", "O"), "require_all": True} | options))
        cell_plan.allowed_elements(request, (3, 8, 22))
        cell_plan.check_atom_counts(request, HISTOGRAM)

    with pytest.raises(RequestError, match=message):
        check()


def test_a_batch_that_the_memory_does_not_hold_is_sampled_in_halves_and_that_is_said(
    tiny_de_novo, limit_memory, monkeypatch
):
    request = CrystalGenerationRequest(
        n=4, model=tiny_de_novo(), sampler="em", steps=3, seed=2, n_atoms=(3, 3)
    )
    model = generate.load_de_novo(request.model, "cpu")
    monkeypatch.setattr(generate, "load_de_novo", lambda *_: model)
    room = limit_memory(model, 2)
    *_, last = generate.run(request)
    assert last.result["summary"]["n"] == 4 and "smaller batches" in last.result["summary"]["note"]
    cells = {tuple(crystal["frac_coords"][0]) for crystal in last.result["crystals"]}
    assert len(cells) == len(last.result["crystals"])  # the halves draw their own noise
    room[0] = 1
    with pytest.raises(MemoryFull, match="fewer atoms"):
        list(generate.run(request))


def test_a_completed_crystal_has_the_axes_of_the_structure_it_completes(tiny_de_novo):
    given = Structure(
        Lattice.hexagonal(5.0, 3.0), ["Li", "O", "O"], [[0.1, 0.2, 0.3], [0.4, 0.7, 0.6], [0.8, 0.1, 0.9]]
    )
    assert given.get_reduced_structure().lattice.a == pytest.approx(3.0)  # another setting
    request = CrystalGenerationRequest(
        n=2,
        model=tiny_de_novo(),
        sampler="em",
        steps=3,
        seed=2,
        fix=cell_json(given),
        fix_sites=(0, 1),
        fix_lattice=True,
    )
    *updates, last = generate.run(request)
    # as drawn when they have formed
    cells = [update.snapshot["cells"] for update in updates if update.snapshot][-1]
    assert len(cells) == 2 and all(
        np.allclose(Lattice(cell["lattice"]).parameters, given.lattice.parameters, atol=2e-3)
        for cell in cells
    )
    forming = [np.array(cell["frac_coords"])[:2] - given.frac_coords[:2] for cell in cells]
    assert all(np.abs((apart - apart[0]) - np.rint(apart - apart[0])).max() < 1e-3 for apart in forming)
    for crystal in last.result["crystals"]:
        completed = structure_from_record(crystal)
        assert np.allclose(completed.lattice.parameters, given.lattice.parameters, atol=1e-3)
        apart = completed.frac_coords[:2] - given.frac_coords[:2]
        # up to a shift of the whole cell
        assert np.abs((apart - apart[0]) - np.rint(apart - apart[0])).max() < 1e-3
