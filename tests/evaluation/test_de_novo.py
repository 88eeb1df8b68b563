"""The report on invented crystals: every share and distance counted by hand on a few cells."""

import time

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.coverage import CUTOFFS
from crystal_core.evaluation.de_novo import AfterRelaxing, Likeness, judge, known_set, summarise
from crystal_core.evaluation.statistics import wilson


def pair(a, symbols=("Na", "Cl"), at=0.5):
    return Structure(Lattice.cubic(a), symbols, [[0, 0, 0], [at, at, at]])


SOUND = pair(3.5)
CLOSE = pair(3.5, at=0.05)  # 0.30 Å apart, charge-balanced
UNBALANCED = pair(3.5, ("La", "F"))


@pytest.fixture(scope="module")
def verdicts():
    return [judge(s) for s in (SOUND, CLOSE, UNBALANCED, None)]


def likeness(groups=(0, 1, 2, None), known=(True, False, False, False)):
    coarser = [None if g is None else g // 2 for g in groups]
    return {"strict": Likeness(groups=groups, known=known), "loose": Likeness(groups=coarser, known=known)}


def report(verdicts, **changes):
    options = {
        "known": known_set(verdicts[:1]),
        "cutoffs": CUTOFFS["mp-20"],
        "likeness": likeness(),
        "relaxed": None,
    } | changes
    return summarise(verdicts, **options)


def test_validity_is_over_all_asked_for(verdicts):
    """A salt, the same with atoms on top of each other, a fluoride with too little fluorine, and one
    that is no cell.
    """
    assert [v.structure_valid for v in verdicts] == [True, False, True, False]
    assert [v.composition_valid for v in verdicts] == [True, True, False, False]
    scores = report(verdicts)
    assert (scores["structure_valid"], scores["composition_valid"], scores["valid"]) == (0.5, 0.5, 0.25)
    assert (scores["n"], scores["n_failed"]) == (4, 1)
    assert scores["ci95"]["valid"] == pytest.approx(wilson(1, 4), abs=1e-4)


def test_coverage_divides_by_known_and_by_generated(verdicts):
    """The salt is the one known crystal; the others are far from it in structure or in
    composition, or are none.
    """
    scores = report(verdicts)
    assert (scores["cov_recall"], scores["cov_precision"]) == (1.0, 0.25)


def test_distances_are_of_the_valid_ones_alone(verdicts):
    """One valid crystal against two known ones: the mean of the differences."""
    other = judge(pair(3.0, ("K", "Cl")))
    single = judge(Structure(Lattice.cubic(2.5), ["Fe"], [[0, 0, 0]]))
    scores = report(verdicts, known=known_set([other, single]))
    expected = np.mean([abs(x.density - SOUND.density) for x in (other, single)])
    assert scores["wdist_density"] == pytest.approx(expected, abs=1e-4)
    assert scores["wdist_n_elements"] == 0.5  # 2 against 2 and 1
    assert report(verdicts[1:])["wdist_density"] is None


def test_unique_counts_groups_and_novel_counts_crystals(verdicts):
    scores = report(verdicts)
    assert (scores["unique"], scores["novel"]) == (0.75, 0.5)
    assert (scores["loose"]["unique"], scores["loose"]["novel"]) == (0.5, 0.5)
    assert report(verdicts, likeness=likeness(known=None))["novel"] is None


def test_stable_unique_new_is_over_all_generated(verdicts):
    """Of five: two equal new ones below the hull, a known one on it, a new one at 0.1 and one
    that was not relaxed.
    """
    five = [*verdicts, verdicts[0]]
    relaxed = AfterRelaxing(
        e_above_hull=(-0.02, 0.0, 0.1, None, -0.01),
        rmsd=(0.1, 0.3, None, None, 0.2),
        about={"potential": "none"},
        likeness=Likeness(groups=(0, 1, 2, None, 0), known=(False, True, False, False, False)),
    )
    changed = likeness(groups=(0, 1, 2, None, 0), known=(False, True, False, False, False))
    scores = report(five, likeness=changed, relaxed=relaxed)
    assert (scores["stable"], scores["metastable"], scores["sun"], scores["msun"]) == (0.6, 0.8, 0.2, 0.4)
    assert scores["rmsd_relaxed"] == 0.2 and scores["relaxation"] == {"potential": "none", "n_rmsd": 3}


def test_a_crushed_cell_is_judged_without_a_fingerprint():
    crushed = Structure(Lattice.cubic(0.4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    verdict = judge(crushed)
    assert verdict.structure is None and not verdict.structure_valid and verdict.composition_valid


def test_a_fingerprint_that_takes_too_long_is_none(monkeypatch):
    monkeypatch.setattr("crystal_core.evaluation.de_novo.FINGERPRINT_SECONDS", 0.05)
    monkeypatch.setattr("crystal_core.evaluation.de_novo.structure_fingerprint", lambda _: time.sleep(20))
    verdict = judge(SOUND)
    assert verdict.structure is None and verdict.structure_valid and not verdict.valid
