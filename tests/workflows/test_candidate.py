"""A candidate's name, and what its record tells of a like one that was relaxed in its place."""

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.relax import RelaxationRun

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("formula", "name"),
    [
        ("Fe₃O₄", "Fe3O4"),
        ("Fe₂O₃", "Fe2O3"),
        ("Ca(OH)2", "Ca-OH-2"),
        ("CaOH2", "CaOH2"),
        ("CuSO4·5H2O", "CuSO4-5H2O"),
        (" TiO2 ", "TiO2"),
        ("·", "cell"),
    ],
)
def test_the_name_of_a_candidate_keeps_the_counts_of_its_formula(formula, name):
    assert Candidate(2, "prototype refined", 0, SALT).id(formula) == f"{name}-z2-prototype-refined-1"


@pytest.mark.parametrize(
    ("outcome", "relax", "words"),
    [
        (
            {"energies": {}, "relaxation": {"converged": True}, "original": {}},
            True,
            "which was relaxed and whose energy ranks both",
        ),
        ({"energies": {}}, False, "whose energy as sampled ranks both"),
        (
            {"relaxation": {"converged": False, "error": "An atom has no neighbour."}},
            True,
            "which the potential cannot take",
        ),
    ],
)
def test_a_candidate_like_another_says_what_happened_to_that(outcome, relax, words, monkeypatch):
    def steps(self, *_, **__):
        self.outcome, self.frames = outcome, [{}] if "energies" in outcome else []
        yield from ()

    monkeypatch.setattr(RelaxationRun, "steps", steps)
    first, second = Candidate(1, "noise", 0, SALT), Candidate(1, "noise", 1, SALT)
    second.alike = first
    assert "relaxation" not in second.record("NaCl", {})
    list(first.compute_energy(None, seconds=1, relax=relax))
    if not relax:
        first.mark_not_relaxed("Only the 8 most promising structures are relaxed.")
    assert second.record("NaCl", {})["relaxation"] == {
        "converged": False,
        "error": f"It is like NaCl-z1-noise-1, {words}.",
    }


@pytest.mark.parametrize(
    ("stretch", "same"), [(1.02, True), (1.06, False)], ids=["a little", "by 19 % in volume"]
)
def test_an_energy_is_borrowed_only_from_a_cell_that_is_still_the_same(stretch, same, monkeypatch):
    def steps(self, *_, **__):
        self.structure, self.energy = self.structure.copy(), -3.6
        self.structure.scale_lattice(self.structure.volume * stretch**3)
        self.outcome = {"energies": {}, "relaxation": {"converged": True}, "original": {}}
        yield from ()

    monkeypatch.setattr(RelaxationRun, "steps", steps)
    first, second = Candidate(1, "noise", 0, SALT), Candidate(1, "noise", 1, SALT)
    second.alike = first
    list(first.compute_energy(None, seconds=1, relax=True))
    assert first.ranking_energy == -3.6 and second.ranking_energy == (-3.6 if same else None)
    assert ("ranks both" in second.record("NaCl", {})["relaxation"]["error"]) is same


@pytest.mark.parametrize("reason", [None, "Only the 8 most promising structures are relaxed."])
def test_a_candidate_that_was_weighed_itself_has_its_own_energy(reason, monkeypatch):
    def steps(self, *_, **__):
        self.outcome, self.energy = {"energies": {"energy_per_atom_ev": -3.6}}, -3.6
        yield from ()

    monkeypatch.setattr(RelaxationRun, "steps", steps)
    wider = SALT.copy()
    wider.scale_lattice(1.2 * SALT.volume)  # alike by the matcher, but no longer the same cell
    first, second = Candidate(1, "noise", 0, SALT), Candidate(1, "noise", 1, wider)
    second.alike = first
    for candidate in (first, second):
        candidate.weigh(None)
    if reason:
        first.mark_not_relaxed(reason)
    record = second.record("NaCl", {})
    assert record["energies"] == {"energy_per_atom_ev": -3.6}
    assert record.get("relaxation", {}).get("error") == reason
