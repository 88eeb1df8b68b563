"""Candidates of an evaluated row get the energies that a run computes, or as many as a fit needs."""

from dataclasses import replace

import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.ranking import Evidence
from crystal_core.relax.potential import is_installed, load_potential
from crystal_core.workflows.first_card_energies import EnergiesOfEffort, EnergiesToFit
from crystal_core.workflows.first_card_rows import Judged

pytestmark = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")

ROCK_SALT = Structure(
    Lattice([[0, 2.6, 2.6], [2.6, 0, 2.6], [2.6, 2.6, 0]]), ["K", "F"], [[0, 0, 0], [0.5] * 3]
)
CAESIUM_CHLORIDE = Structure(Lattice.cubic(3.3), ["K", "F"], [[0, 0, 0], [0.5] * 3])
CHAIN = Structure(
    Lattice.orthorhombic(4.8, 5.5, 6.0), ["K", "F"], [[0, 0, 0], [0.5, 0.1, 0.2]]
)  # far above the others
CELLS = [CAESIUM_CHLORIDE, CHAIN, ROCK_SALT]


@pytest.fixture(scope="module")
def potential():
    return load_potential("chgnet", "cpu")


def judged():
    """The cells in the order of their votes, not yet with an energy."""
    return [
        Judged(
            evidence=Evidence(source="prototype", rank=k, votes=votes, members=9, distance=0.3),
            laid_out=0.01 if k == 3 else None,
        )
        for k, votes in ((1, 0.5), (2, 0.3), (3, 0.2))
    ]


def test_an_effort_relaxes_what_can_win_and_a_fit_all_that_loses_by_little(potential):
    as_run = EnergiesOfEffort(potential=potential, effort="normal")(judged(), CELLS, ROCK_SALT)
    to_fit = EnergiesToFit(potential=potential)(judged(), CELLS, ROCK_SALT)
    for rows in (as_run, to_fit):
        energies = [one.evidence.relaxed for one in rows]
        assert energies[1] is None and energies[2] < rows[2].evidence.single_point
        assert rows[2].relaxed < 0.02 and rows[0].relaxed is None and rows[2].evidence.converged
    assert [one.evidence.single_point for one in as_run] == pytest.approx(
        [one.evidence.single_point for one in to_fit], abs=1e-3
    )
    assert as_run[2].evidence.relaxed == pytest.approx(to_fit[2].evidence.relaxed, abs=1e-3)
    assert to_fit[0].evidence.relaxed is not None  # 72 meV/atom above: the fit uses it, too


def test_prototypes_that_relax_to_one_structure_do_not_speak_for_each_other(potential):
    near = ROCK_SALT.copy()
    near.apply_strain(0.02)
    cells = [near, CHAIN, ROCK_SALT]
    energies = EnergiesOfEffort(potential=potential, effort="normal")
    assert [one.after.agreement for one in energies(judged(), cells, ROCK_SALT)] == [1, 1, 1]
    first, *others = judged()
    sampled = replace(first, evidence=replace(first.evidence, source="draft refined"))
    assert [one.after.agreement for one in energies([sampled, *others], cells, ROCK_SALT)] == [1, 1, 2]


def test_an_effort_without_relaxation_gives_the_energies_of_the_cells_as_laid_out(potential):
    energies = EnergiesOfEffort(potential=potential, effort="quick")
    rows = energies(judged(), CELLS, ROCK_SALT)
    assert not energies.relaxes and all(one.evidence.relaxed is None for one in rows)
    assert rows[1].evidence.single_point > rows[2].evidence.single_point
