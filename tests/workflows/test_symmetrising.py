"""Generated crystals made exactly symmetric: how far they move, what stays, what a run says of them."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.evaluation.validity import check_structure, is_structurally_valid
from crystal_core.files.records import cell_json, snapshot, space_group, structure_from_record
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows import generate
from crystal_core.workflows.symmetrising import symmetric_form

HEUSLER = Structure(
    Lattice.from_parameters(4.4, 4.4, 4.4, 60, 60, 60),
    ["Cu", "Mn", "Cu", "Al"],
    [[0.25] * 3, [0.0] * 3, [0.75] * 3, [0.5] * 3],
)
PEROVSKITE = Structure(
    Lattice.orthorhombic(3.9, 3.95, 3.88),
    ["O", "Sr", "O", "Ti", "O"],
    [[0.5, 0.5, 0.01], [0.0] * 3, [0.5, 0.01, 0.5], [0.5] * 3, [0.0, 0.5, 0.5]],
)


def distorted(structure, shift, seed=0, strain=0.0):
    """The crystal with each atom moved by ``shift`` Å in a direction of its own, and a strained cell."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(len(structure), 3))
    steps *= shift / np.linalg.norm(steps, axis=1)[:, None]
    bent = np.asarray(structure.lattice.matrix) @ (np.eye(3) + strain * rng.uniform(-1, 1, (3, 3)))
    return Structure(
        bent, structure.species, structure.frac_coords + steps @ np.linalg.inv(structure.lattice.matrix)
    )


def number_of(structure, tolerance=1e-4):
    return space_group(structure, tolerance)["number"]


@pytest.mark.parametrize("seed", range(4))
def test_a_nearly_cubic_crystal_becomes_cubic_with_its_sites_and_orientation(seed):
    crystal = distorted(HEUSLER, 0.04, seed, strain=0.004)
    assert number_of(crystal, 0.01) == 1
    form = symmetric_form(crystal, 0.3)
    assert number_of(form.structure) == 225 and form.structure.species == crystal.species
    assert np.abs(form.structure.lattice.matrix - crystal.lattice.matrix).max() < 0.05
    moved = form.structure.frac_coords - crystal.frac_coords
    moved = (moved - np.round(moved)) @ form.structure.lattice.matrix
    assert np.linalg.norm(moved - moved.mean(0), axis=1).max() == pytest.approx(form.displacement, abs=1e-6)
    # each atom was moved by 0.04 Å, and the common drift of such motions is at most as long
    assert 0.01 < form.displacement < 0.08 and 0 < form.strain < 0.02 and form.tolerance <= 0.3
    again = symmetric_form(form.structure, 0.3)
    assert again is None, "an exactly symmetric crystal gains nothing"


def test_a_smaller_tolerance_reaches_less_and_nothing_moves_further():
    crystal = distorted(HEUSLER, 0.12, 3)
    orders = []
    for tolerance in (0.02, 0.15, 0.3, 0.6):
        form = symmetric_form(crystal, tolerance)
        if form is not None:
            assert form.displacement <= tolerance and form.tolerance <= tolerance
        orders.append(1 if form is None else number_of(form.structure))
    assert orders[0] == 1 and orders[-1] == 225 and orders == sorted(orders)


def test_a_crystal_without_symmetry_stays():
    rng = np.random.default_rng(5)
    amorphous = Structure(
        Lattice.from_parameters(6.1, 7.3, 8.2, 78, 84, 71), ["Na", "K", "Cl", "Br", "O"], rng.random((5, 3))
    )
    assert symmetric_form(amorphous, 0.3) is None


def test_a_requested_group_stays_and_is_preferred_to_a_higher_one():
    tetragonal = Structure(Lattice.tetragonal(4.0, 4.06), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    assert number_of(symmetric_form(tetragonal, 0.3).structure) == 221
    assert symmetric_form(tetragonal, 0.3, space_group=123) is None
    bent = Structure(Lattice.orthorhombic(4.0, 4.02, 4.2), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    assert number_of(symmetric_form(bent, 0.3).structure) == 221
    assert number_of(symmetric_form(bent, 0.3, space_group=123).structure) == 123
    assert number_of(symmetric_form(bent, 0.3, space_group=62).structure) == 221, "it is not near Pnma"


def test_sound_distances_are_not_given_up_for_symmetry():
    """Both hydrogen atoms lie 0.27 Å from a mirror plane on whose two sides the operations put them."""
    near = Structure(
        Lattice.orthorhombic(3.0, 3.6, 4.1),
        ["H", "H", "O"],
        [[0, 0, 0.063], [0, 0.02, 0.937], [0.5, 0.5, 0.5]],
    )
    assert is_structurally_valid(near)
    for tolerance in (0.1, 0.3, 0.6, 1.0):
        form = symmetric_form(near, tolerance)
        assert form is None or is_structurally_valid(form.structure)
    for crystal in (distorted(HEUSLER, 0.3, seed) for seed in range(6)):
        form = symmetric_form(crystal, 1.0)
        assert form is None or check_structure(form.structure).plausible >= check_structure(crystal).plausible


@pytest.fixture
def nearly_kept(tiny_pair):
    """A model that moves the crystal to start from by some hundredths of an Å."""
    return tiny_pair(refine={"start": "inject", "start_time": 0.002, "steps": 2, "sampler": "ode"})


def last_of(**options):
    *_, last = generate.run(CrystalGenerationRequest(seed=1, **options))
    return last.result


def test_a_run_symmetrises_and_says_how_far_the_atoms_moved(nearly_kept, monkeypatch):
    from crystal_core.reference import known

    searched = []
    monkeypatch.setattr(
        known, "novelty", lambda s: searched.append(s) or {"known": False, "nearest_id": None, "rmsd": None}
    )
    options = {"model": nearly_kept, "n": 3, "start_from": cell_json(distorted(PEROVSKITE, 0.02))}
    plain = last_of(**options)
    assert "symmetrised" not in plain["summary"] and plain["settings"]["symmetrise"] is None
    assert all("symmetrised" not in crystal["provenance"] for crystal in plain["crystals"])
    searched.clear()
    result = last_of(**options, symmetrise=0.3)
    assert result["settings"]["symmetrise"] == 0.3
    records = [crystal["provenance"]["symmetrised"] for crystal in result["crystals"]]
    for crystal, before, record in zip(result["crystals"], plain["crystals"], records, strict=True):
        structure, sampled = structure_from_record(crystal), structure_from_record(before)
        assert number_of(structure) > number_of(sampled, 1e-3) == 1
        assert structure.species == sampled.species
        assert 0 < record["displacement_angstrom"] <= record["within_angstrom"] <= 0.3
        assert crystal["origin"] == before["origin"] and "symmetrised: within" in crystal["cif"]
    assert result["summary"]["symmetrised"] == {
        "n": 3,
        "of": 3,
        "within_angstrom": 0.3,
        "displacement_angstrom": max(record["displacement_angstrom"] for record in records),
    }
    # known crystals are sought for the cells of the result
    assert [cell_json(s)["frac_coords"] for s in searched] == [c["frac_coords"] for c in result["crystals"]]


def test_paths_end_with_the_crystal_of_the_result(nearly_kept):
    request = CrystalGenerationRequest(
        model=nearly_kept, n=2, seed=1, start_from=cell_json(PEROVSKITE), symmetrise=0.3
    )
    updates = list(generate.run(request))
    ends = [u.trajectory["frames"][-1] for u in updates if u.trajectory]
    assert ends == [snapshot(structure_from_record(c)) for c in updates[-1].result["crystals"]]


def test_the_axes_of_a_crystal_to_start_from_stay(nearly_kept):
    """Its reduced cell, which the model sees, has other axes."""
    skew = Structure(
        Lattice([[4.0, 0, 0], [4.0, 4.0, 0], [0, 0, 4.0]]), ["Cs", "Cl"], [[0, 0, 0], [0, 0.5, 0.5]]
    )
    options = {"model": nearly_kept, "n": 2, "start_from": cell_json(skew)}
    plain, result = last_of(**options), last_of(**options, symmetrise=0.5)
    for sampled, crystal in zip(plain["crystals"], result["crystals"], strict=True):
        assert "symmetrised" in crystal["provenance"]
        assert np.abs(np.array(crystal["lattice"]) - sampled["lattice"]).max() < 0.5


def test_every_batch_is_symmetrised_and_stopping_keeps_the_finished_ones(tiny_de_novo, monkeypatch):
    monkeypatch.setitem(generate.BATCH, "cpu", 4)
    options = {"n": 12, "model": tiny_de_novo(), "sampler": "em", "steps": 3, "seed": 2}
    plain = [u.result for u in generate.run(CrystalGenerationRequest(**options)) if u.result][-1]
    request = CrystalGenerationRequest(**options, symmetrise=1.0)
    results = [update.result for update in generate.run(request) if update.result]
    for result in results:
        changed = ["symmetrised" in crystal["provenance"] for crystal in result["crystals"]]
        assert result["summary"]["symmetrised"]["n"] == sum(changed)
        assert result["summary"]["symmetrised"]["of"] == len(changed)
    counts = [result["summary"]["symmetrised"]["n"] for result in results]
    assert 0 < counts[-1] < 12 and counts == sorted(counts)
    assert results[-1]["summary"]["unique"] <= plain["summary"]["unique"]
    for sampled, crystal in zip(plain["crystals"], results[-1]["crystals"], strict=True):
        same = sampled["frac_coords"] == crystal["frac_coords"] and sampled["lattice"] == crystal["lattice"]
        assert same != ("symmetrised" in crystal["provenance"])
        assert sampled["validity"]["structure"] <= crystal["validity"]["structure"]
    updates = generate.run(request)
    first = next(update.result for update in updates if update.result)
    updates.close()
    # the noise of a batch, and so its crystals, do not depend on what follows
    assert first["crystals"] == results[0]["crystals"] and first["summary"]["n"] == 4


@pytest.mark.parametrize("kept", [{"fix_sites": (0,)}, {"fix_lattice": True}])
def test_what_is_kept_of_a_structure_does_not_move(kept):
    given = cell_json(PEROVSKITE)
    with pytest.raises(RequestError, match="sites or a cell cannot be kept beside it; leave one"):
        CrystalGenerationRequest(fix=given, symmetrise=0.3, **kept)
    CrystalGenerationRequest(fix=given, symmetrise=0.3, fix_elements=True)


def test_elements_that_are_kept_do_not_hinder_symmetrising(tiny_de_novo):
    options = {"model": tiny_de_novo(elements=(8, 22, 38)), "n": 6, "steps": 3}
    given = Structure(Lattice.cubic(4.0), ["Sr", "Ti"], [[0, 0, 0], [0.5] * 3])
    result = last_of(**options, fix=cell_json(given), fix_elements=True, symmetrise=1.0)
    assert result["summary"]["symmetrised"]["n"] > 0
    assert all(crystal["atomic_numbers"] == [38, 22] for crystal in result["crystals"])
