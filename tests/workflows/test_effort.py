"""An effort decides what is tried: all Z in one list, whatever the clock says, and cells up to 40 atoms."""

from dataclasses import replace

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystal_core.chemistry.formula import parse_formula
from crystal_core.errors import RequestError
from crystal_core.evaluation.ranking import load_weights, ranking_of
from crystal_core.files.records import space_group
from crystal_core.records import crystals_of, published_above_hull
from crystal_core.reference.known_crystals import cells_without_energies, known_crystals
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.cell_predictions import predicted_log_odds
from crystal_core.workflows.effort import (
    EFFORTS,
    MOST_ATOMS,
    evidence_of_template,
    lay_out,
    n_relaxed,
    with_effort,
)
from crystal_core.workflows.evidence import evidence_of
from crystal_core.workflows.known_candidates import evidence_of_known, known_candidates
from crystal_core.workflows.predict_structure import run

needs_chgnet = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")


def request(formula, effort="quick", **options):
    return StructurePredictionRequest(formula=formula, effort=effort, seed=0, **options)


def matches(structure, other):
    return StructureMatcher().fit(structure, other)


def groups(laid_out):
    return [(c.z, len(c.sampled), space_group(c.sampled)["symbol"]) for c in laid_out.candidates]


def test_an_unknown_effort_is_refused():
    with pytest.raises(RequestError, match="Unknown effort 'much'; choose one of quick, normal, thorough"):
        request("NaCl", "much")


def test_an_effort_stands_for_the_other_fields():
    quick, thorough = (with_effort(request("NaCl", e), prototypes_known=True) for e in ("quick", "thorough"))
    assert (quick.model, quick.start, quick.relax, quick.rank) == (
        "prototype",
        "prototype",
        False,
        "evidence",
    )
    assert (thorough.model, thorough.start, thorough.relax) == ("kldm-csp-mp", "both", True)
    unknown = with_effort(request("NaCl"), prototypes_known=False)
    assert (unknown.model, unknown.start) == ("kldm-csp-mp", "noise")  # nothing else can place the atoms
    plain = StructurePredictionRequest(formula="NaCl")
    assert with_effort(plain, prototypes_known=True) is plain


def test_relaxations_are_counted_in_work_and_not_in_seconds():
    small, large = n_relaxed("normal", [4] * 30), n_relaxed("normal", [40] * 30)
    assert EFFORTS["normal"].most_relaxed == small > large >= 2
    assert n_relaxed("quick", [4] * 30) == 0 and n_relaxed("normal", [4]) == 1


@pytest.mark.weights
def test_prototypes_of_all_z_stand_in_one_list():
    zinc = lay_out(request("ZnS"))
    assert groups(zinc)[0] == (1, 2, "F-43m") and (2, 4, "P6_3mc") in groups(zinc)
    assert max(size for _, size, _ in groups(lay_out(request("ZrO2")))) <= MOST_ATOMS
    assert groups(lay_out(request("ZrO2")))[0] == (4, 12, "P2_1/c")
    assert len(zinc.candidates) == EFFORTS["quick"].prototypes
    assert {c.z for c in lay_out(request("ZnS", z=(2,))).candidates} == {2}
    exact = lay_out(request("Zn2S2", exact_cell=True))
    assert {size for _, size, _ in groups(exact)} == {4}


@pytest.mark.weights
@pytest.mark.parametrize(("formula", "group"), [("MgAl2O4", "Fd-3m"), ("LaB6", "Pm-3m")])
def test_a_prototype_that_is_a_known_crystal_has_its_volume(formula, group):
    """The volume from the elements alone is 26 % too large for spinel."""
    (known,) = cells_without_energies(parse_formula(formula).atomic_numbers_of(1))
    laid_out = lay_out(request(formula))
    (first, *_) = [c for c in laid_out.candidates if c.origin == "prototype"]
    assert space_group(first.sampled)["symbol"] == group
    assert first.sampled.volume / len(first.sampled) == pytest.approx(known.volume / len(known), rel=1e-4)
    starts = laid_out.starts[first.z]
    volumes = [float(abs(det)) for det in starts.lattice.double().det()]
    assert min(abs(volume / first.sampled.volume - 1) for volume in volumes) < 1e-4
    other = [c for c in laid_out.candidates if c.origin == "prototype" and not matches(c.sampled, known)]
    assert other and all(abs(c.sampled.volume - known.volume) > 1e-3 for c in other)


@needs_chgnet
@pytest.mark.weights
@pytest.mark.parametrize(
    ("formula", "options", "says"),
    [
        ("Y3Al5O12", {}, "They have up to 40 atoms; give Z for larger cells."),  # the garnet has 80
        ("Y3Al5O12", {"z": (1,)}, "the right structure is probably not among these."),
        ("NaCl", {}, ""),
    ],
)
def test_candidates_that_all_lie_far_above_the_hull_are_not_passed_off_as_the_answer(formula, options, says):
    results = [update.result for update in run(request(formula, **options)) if update.result]
    notes = [note for note in results[-1]["notes"] if "above the hull" in note]
    assert len(notes) == bool(says) and all(note.endswith(says) for note in notes)
    assert not any("above the hull" in note for result in results[:-1] for note in result["notes"])
    lowest = min(
        record["energies"]["e_above_hull_ev"]
        for record in crystals_of(results[-1])
        if record["validity"]["plausible"]
    )
    assert not says or f"{lowest:.2f} eV/atom above" in notes[0]


@needs_chgnet
@pytest.mark.weights
def test_candidates_without_plausible_distances_are_not_passed_off_as_the_answer():
    *_, result = (update.result for update in run(request("Nd2Fe14B")) if update.result)
    assert not any(record["validity"]["plausible"] for record in crystals_of(result))
    assert result["notes"][-1].startswith("No candidate has plausible distances")
    assert result["notes"][-1].endswith("They have up to 17 atoms; give Z for larger cells.")


def test_a_known_crystal_counts_the_atoms_of_its_primitive_cell():
    """The published cell of galena has eight atoms that lie 0.04 Å beside those of rock salt."""
    galena = next(one for one in known_crystals([82, 16]) if one.id == "mp-21276")
    assert len(galena.structure) == 8 and evidence_of_known(galena, "PbS").atoms == 2
    (first, *_) = known_candidates("PbS", {1: (82, 16), 4: (82,) * 4 + (16,) * 4}, 3)
    assert first.known is not None and first.known.space_group == 225


@pytest.mark.weights
def test_arrangements_named_after_the_compound_are_among_those_tried():
    tried = groups(lay_out(request("TiO2")))
    assert (2, 6, "P4_2/mnm") in tried and (2, 6, "I4_1/amd") in tried  # rutile and anatase


@pytest.mark.weights
@pytest.mark.parametrize(
    ("formula", "n_atoms", "groups"),
    [
        ("SiO2", 9, {"P3_121", "P3_221"}),  # quartz; PBE prefers cristobalite
        ("Fe2O3", 10, {"R-3c"}),
        ("CsPbI3", 20, {"Pnma"}),
        ("TiO2", 6, {"P4_2/mnm", "I4_1/amd"}),
        ("LiFePO4", 28, {"Pnma"}),  # olivine
        ("CsCl", 2, {"Pm-3m"}),  # PBE prefers rock salt
        ("Bi2Te3", 5, {"R-3m"}),
        ("ZrO2", 12, {"P2_1/c"}),
        ("FeS2", 12, {"Pa-3"}),  # PBE prefers marcasite
        ("NaCl", 2, {"Fm-3m"}),
        ("KCl", 2, {"Fm-3m"}),  # known in the table only as Pm-3m, far above the hull
        ("MgAl2O4", 14, {"Fd-3m"}),  # the table lacks the spinel
    ],
)
def test_of_textbook_formulas_the_right_cell_is_likeliest_before_any_energy(formula, n_atoms, groups):
    candidates = lay_out(request(formula)).candidates
    odds = predicted_log_odds([candidate.sampled for candidate in candidates])
    evidence = [
        evidence_of_known(c.known, formula)
        if c.known
        else replace(evidence_of_template(c.template, c.template_rank, formula), log_odds=own)
        for c, own in zip(candidates, odds, strict=True)
    ]
    best = candidates[ranking_of(evidence, load_weights())[0]]
    assert len(best.sampled) == n_atoms and space_group(best.sampled)["symbol"] in groups


@pytest.mark.weights
def test_no_prototype_repeats_a_known_crystal_and_some_stay_beside_many_of_them():
    candidates = lay_out(request("SiO2")).candidates
    known = [c for c in candidates if c.known]
    others = [c for c in candidates if not c.known]
    assert len(candidates) == EFFORTS["quick"].prototypes and len(others) >= 4
    for other in others:
        same_size = [c.sampled for c in known if len(c.sampled) == len(other.sampled)]
        assert not any(StructureMatcher().fit(other.sampled, cell) for cell in same_size)


@pytest.mark.weights
@needs_chgnet
def test_a_quick_run_ranks_every_candidate_once_over_all_z(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    updates = list(run(request("CsCl")))
    result = updates[-1].result
    records = {record["id"]: record for record in crystals_of(result)}
    assert sorted(result["ranking"]) == sorted(records) and len({r["z"] for r in records.values()}) > 1
    best = records[result["ranking"][0]]
    assert best["space_group"]["symbol"] == "Pm-3m"  # PBE and CHGNet alone say rock salt
    assert best["score"]["name"] == "evidence" and best["evidence"]["named"]
    of_structure = {}
    for name in result["ranking"]:
        of_structure.setdefault(records[name]["group"], []).append(records[name]["score"]["value"])
    assert all(len(set(values)) == 1 for values in of_structure.values())
    # none was relaxed, so the tiers are: with a published energy, without one, implausible
    tiers = {}
    for group, values in of_structure.items():
        own = [record for record in records.values() if record["group"] == group]
        published = any(published_above_hull(record) is not None for record in own)
        plausible = any(record["validity"]["plausible"] for record in own)
        tiers.setdefault((published, plausible), []).append(values[0])
    assert all(values == sorted(values, reverse=True) for values in tiers.values())
    for item in result["results"]:
        ids = [record["id"] for record in item["candidates"]]
        assert ids == [name for name in result["ranking"] if records[name]["z"] == item["z"]]
    assert updates[0].result is not None and updates[0].stage == "known crystals and prototypes"
    steps = [update.step for update in updates]
    assert steps == sorted(steps) and steps[-1] == updates[-1].n_steps


@pytest.mark.weights
@needs_chgnet
def test_a_normal_run_relaxes_what_can_win_and_says_of_the_rest_why_not(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    *_, last = run(request("NaCl", "normal", z=(1,)))
    records = {record["id"]: record for record in crystals_of(last.result)}
    ordered = [records[name] for name in last.result["ranking"]]
    assert ordered[0]["space_group"]["symbol"] == "Fm-3m" and ordered[0]["relaxation"]["converged"]
    relaxed = ["original" in record for record in ordered if record["validity"]["plausible"]]
    first_other = relaxed.index(False) if False in relaxed else len(relaxed)
    assert not any(relaxed[first_other:])  # an energy as sampled never stands before a relaxed one
    assert all("error" in record["relaxation"] for record in ordered if "original" not in record)
    assert load_weights().relaxed > 0


def test_the_ranking_weighs_the_energy_that_the_card_shows():
    record = {
        "formula": "C",
        "validity": {"structure": True, "plausible": True},
        "novelty": {"known": True, "nearest_id": "mp-66", "nearest_e_above_hull_ev": 0.321},
    }
    sample = Candidate(1, "noise", 0, Structure(Lattice.cubic(3), ["C"], [[0, 0, 0]]))
    assert evidence_of(sample, record, 1).published == 0.321
    record["novelty"]["known"] = False  # the energy of a neighbour is no energy of this crystal
    assert evidence_of(sample, record, 1).published is None
    record["novelty"] = None
    assert evidence_of(sample, record, 1).published is None
