"""An effort decides what is tried: all Z in one list, whatever the clock says, and cells up to 40 atoms."""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.evaluation.ranking import load_weights, log_prior
from crystal_core.files.records import space_group
from crystal_core.records import crystals_of
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.effort import (
    EFFORTS,
    MOST_ATOMS,
    evidence_of_template,
    lay_out,
    n_relaxed,
    with_effort,
)
from crystal_core.workflows.evidence import evidence_of
from crystal_core.workflows.predict_structure import run

needs_chgnet = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")


def asked(formula, effort="quick", **options):
    return StructurePredictionRequest(formula=formula, effort=effort, seed=0, **options)


def groups(laid_out):
    return [(c.z, len(c.sampled), c.template.label.split()[0]) for c in laid_out.candidates]


def test_an_unknown_effort_is_refused():
    with pytest.raises(RequestError, match="Unknown effort 'much'; choose one of quick, normal, thorough"):
        asked("NaCl", "much")


def test_an_effort_stands_for_the_other_fields():
    quick, thorough = (with_effort(asked("NaCl", e), prototypes_known=True) for e in ("quick", "thorough"))
    assert (quick.model, quick.start, quick.relax, quick.rank) == (
        "prototype",
        "prototype",
        False,
        "evidence",
    )
    assert (thorough.model, thorough.start, thorough.relax) == ("kldm-csp-mp", "both", True)
    unknown = with_effort(asked("NaCl"), prototypes_known=False)
    assert (unknown.model, unknown.start) == ("kldm-csp-mp", "noise")  # nothing else can place the atoms
    plain = StructurePredictionRequest(formula="NaCl")
    assert with_effort(plain, prototypes_known=True) is plain


def test_relaxations_are_counted_in_work_and_not_in_seconds():
    small, large = n_relaxed("normal", [4] * 30), n_relaxed("normal", [40] * 30)
    assert EFFORTS["normal"].most_relaxed == small > large >= 2
    assert n_relaxed("quick", [4] * 30) == 0 and n_relaxed("normal", [4]) == 1


@pytest.mark.weights
def test_prototypes_of_all_z_stand_in_one_list():
    zinc = lay_out(asked("ZnS"))
    assert groups(zinc)[0] == (1, 2, "F-43m") and (2, 4, "P6_3mc") in groups(zinc)
    assert max(size for _, size, _ in groups(lay_out(asked("ZrO2")))) <= MOST_ATOMS
    assert groups(lay_out(asked("ZrO2")))[0] == (4, 12, "P2_1/c")
    assert len(zinc.candidates) == EFFORTS["quick"].prototypes
    assert {c.z for c in lay_out(asked("ZnS", z=(2,))).candidates} == {2}
    exact = lay_out(asked("Zn2S2", exact_cell=True))
    assert {size for _, size, _ in groups(exact)} == {4}


@pytest.mark.weights
def test_arrangements_named_after_the_compound_are_among_those_tried():
    names = [c.template.label for c in lay_out(asked("TiO2")).candidates]
    for name in ("A2B_tP6_136_f_a", "A2B_tI12_141_e_a"):  # rutile and anatase
        assert any(name in label for label in names)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("formula", "n_atoms", "group"),
    [
        ("TiO2", 6, "P4_2/mnm"),
        ("LiFePO4", 28, "Pnma"),  # olivine
        ("SrTiO3", 5, "Pm-3m"),
        ("CsCl", 2, "Pm-3m"),  # PBE prefers rock salt
        ("Bi2Te3", 5, "R-3m"),
        ("ZrO2", 12, "P2_1/c"),
        ("NaCl", 2, "Fm-3m"),
        ("ZnS", 2, "F-43m"),
        ("MgAl2O4", 14, "Fd-3m"),
    ],
)
def test_of_textbook_formulas_the_right_cell_is_likeliest_before_any_energy(formula, n_atoms, group):
    weights = load_weights()
    candidates = lay_out(asked(formula)).candidates
    told = {
        c: log_prior(evidence_of_template(c.template, c.template_rank, formula), weights) for c in candidates
    }
    best = max(candidates, key=told.__getitem__)
    assert (len(best.sampled), space_group(best.sampled)["symbol"]) == (n_atoms, group)


@pytest.mark.weights
@needs_chgnet
def test_a_quick_run_ranks_every_candidate_once_over_all_z(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    updates = list(run(asked("CsCl")))
    result = updates[-1].result
    found = {record["id"]: record for record in crystals_of(result)}
    assert sorted(result["ranking"]) == sorted(found) and len({r["z"] for r in found.values()}) > 1
    best = found[result["ranking"][0]]
    assert best["space_group"]["symbol"] == "Pm-3m"  # PBE and CHGNet alone say rock salt
    assert best["score"]["name"] == "evidence" and best["evidence"]["named"]
    values = [found[name]["score"]["value"] for name in result["ranking"]]
    assert values == sorted(values, reverse=True)  # all of one tier here: none was relaxed
    for item in result["results"]:
        ids = [record["id"] for record in item["candidates"]]
        assert ids == [name for name in result["ranking"] if found[name]["z"] == item["z"]]
    assert updates[0].result is not None and updates[0].stage == "known prototypes"
    steps = [update.step for update in updates]
    assert steps == sorted(steps) and steps[-1] == updates[-1].n_steps


@pytest.mark.weights
@needs_chgnet
def test_a_normal_run_relaxes_what_can_win_and_says_of_the_rest_why_not(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTAL_HOME", str(tmp_path))
    *_, last = run(asked("NaCl", "normal", z=(1,)))
    found = {record["id"]: record for record in crystals_of(last.result)}
    ordered = [found[name] for name in last.result["ranking"]]
    assert ordered[0]["space_group"]["symbol"] == "Fm-3m" and ordered[0]["relaxation"]["converged"]
    relaxed = ["original" in record for record in ordered if record["validity"]["plausible"]]
    first_other = relaxed.index(False) if False in relaxed else len(relaxed)
    assert not any(relaxed[first_other:])  # an energy as sampled never stands before a relaxed one
    assert all("error" in record["relaxation"] for record in ordered if "original" not in record)
    assert load_weights().sigma_relaxed > 0


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
