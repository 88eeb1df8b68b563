"""Coverage, uniqueness and novelty on sets small enough to count by hand."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.composition_features import _magpie
from crystal_core.evaluation.coverage import (
    CUTOFFS,
    Coverage,
    Cutoffs,
    Fingerprints,
    coverage,
    intervals,
    resample,
)
from crystal_core.evaluation.novelty import TOLERANCES, are_known, group_numbers
from crystal_core.evaluation.statistics import wilson


def fingerprints(*pairs):
    """Crystals at (structure, composition) on two axes; None has no structure fingerprint."""
    table = _magpie()
    structure = np.zeros((len(pairs), 61))
    composition = np.tile(table.means, (len(pairs), 1))
    for row, (s, c) in enumerate(pairs):
        structure[row, 0] = np.nan if s is None else s
        composition[row, 0] += c * table.deviations[0]
    return Fingerprints(structure=structure, composition=composition)


def test_coverage_counted_by_hand():
    """Known at (0, 0) and (1, 50); of the generated, one lies near the first, one has its structure near
    and not its composition.
    """
    known = fingerprints((0, 0), (1, 50))
    generated = fingerprints((0.3, 2), (0.1, 20), (5, 1), (None, 0))
    covered = coverage(generated, known, CUTOFFS["mp-20"])
    assert covered.precise.tolist() == [True, False, False, False]
    assert covered.recalled.tolist() == [True, False]


def test_structure_and_composition_may_be_near_different_crystals():
    """As in CDVAE's script: each nearest distance is taken for itself."""
    known = fingerprints((0, 50), (5, 0))
    assert coverage(fingerprints((0, 0)), known, CUTOFFS["mp-20"]).precise.tolist() == [True]
    assert coverage(fingerprints((0, 0)), known, Cutoffs(0.4, 0.0)).recalled.tolist() == [False, False]


def test_a_distance_equal_to_the_cut_off_is_near():
    assert coverage(fingerprints((0.5, 0)), fingerprints((0, 0)), Cutoffs(0.5, 0.0)).precise.all()


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    generated, known = (fingerprints(*rng.normal(0, (0.5, 5), (n, 2))) for n in (23, 17))
    whole = coverage(generated, known, CUTOFFS["perov-5"])
    monkeypatch.setattr("crystal_core.evaluation.coverage.BLOCK", 4)
    parts = coverage(generated, known, CUTOFFS["perov-5"])
    assert (whole.precise == parts.precise).all() and (whole.recalled == parts.recalled).all()
    assert 0 < whole.precise.mean() < 1


def brute_force(covered, draws):
    """Recall and precision of each resample, one crystal after the other."""
    recalls, precisions = [], []
    for draw in draws:
        chosen = [(covered.near_structure[i], covered.near_composition[i]) for i in draw]
        recalls.append(
            np.mean(
                [
                    any(s[j] for s, _ in chosen) and any(c[j] for _, c in chosen)
                    for j in range(covered.near_structure.shape[1])
                ]
            )
        )
        precisions.append(np.mean([any(s) and any(c) for s, c in chosen]))
    return recalls, precisions


def random_coverage(n=13, n_known=9):
    rng = np.random.default_rng(4)
    near = [rng.random((n, n_known)) < share for share in (0.15, 0.3)]
    return Coverage(near_structure=near[0], near_composition=near[1])


def test_resamples_are_those_of_a_brute_force(monkeypatch):
    covered = random_coverage()
    whole = resample(covered, resamples=40, seed=7)
    recalls, precisions = brute_force(covered, np.random.default_rng(7).integers(0, 13, (40, 13)))
    assert whole[0] == pytest.approx(recalls) and whole[1] == pytest.approx(precisions)
    assert whole[0].std() > 0 < whole[1].std()
    monkeypatch.setattr("crystal_core.evaluation.coverage.BLOCK", 4)
    assert [part.tolist() for part in resample(covered, resamples=40, seed=7)] == [p.tolist() for p in whole]


def test_intervals_of_a_case_that_is_counted_by_hand():
    """Two crystals, each near one of two known: a resample has both with probability 1/2, and
    recalls 1 or 1/2.
    """
    covered = Coverage(near_structure=np.eye(2, dtype=bool), near_composition=np.ones((2, 2), dtype=bool))
    recalls, precisions = resample(covered, resamples=4000, seed=0)
    assert set(recalls) == {0.5, 1.0} and recalls.mean() == pytest.approx(0.75, abs=0.03)
    assert set(precisions) == {1.0}
    # without either crystal one half is lost, so leaving one out has the spread 0
    both = intervals(covered, resamples=4000)
    assert both.recall == pytest.approx((0.75, 1.0), abs=0.03)
    assert both.precision == wilson(2, 2)  # no resample differs


def test_the_spread_of_recall_is_at_least_that_of_leaving_one_out():
    """Of 40 crystals, each with probability 1/4 near 4 known ones of its own, 10 are: recall has the
    spread of their number.
    """
    mine = np.repeat(np.eye(40, dtype=bool)[:10], 4, axis=1)
    near = np.zeros((40, 160), dtype=bool)
    near[:10] = mine
    spread_intervals = intervals(Coverage(near_structure=near, near_composition=np.ones_like(near)))
    recall, spread = 0.25, np.sqrt(40 * 0.25 * 0.75) / 40  # each of the ten is a known four out of 160
    assert spread_intervals.recall[0] < recall < spread_intervals.recall[1]
    assert spread_intervals.recall[1] - spread_intervals.recall[0] == pytest.approx(
        2 * 1.96 * spread, rel=0.15
    )
    assert spread_intervals.precision == pytest.approx(
        (recall - 1.96 * spread, recall + 1.96 * spread), abs=0.03
    )


def test_intervals_repeat_hold_the_observed_shares_and_know_their_ends():
    covered = random_coverage()
    first = intervals(covered, seed=1)
    assert first == intervals(covered, seed=1)
    for (low, high), share in (
        (first.recall, covered.recalled.mean()),
        (first.precision, covered.precise.mean()),
    ):
        assert 0 <= low <= share <= high <= 1
    nothing = np.zeros((5, 4), dtype=bool)
    none = intervals(Coverage(near_structure=nothing, near_composition=nothing))
    assert none.recall == wilson(0, 4) and none.precision == wilson(0, 5)
    empty = intervals(Coverage(near_structure=nothing[:0], near_composition=nothing[:0]))
    assert empty.recall == wilson(0, 4)
    intervals(Coverage(near_structure=nothing[:, :0], near_composition=nothing[:, :0]))


def test_nothing_generated_covers_nothing():
    covered = coverage(fingerprints((None, 0)), fingerprints((0, 0)), CUTOFFS["mp-20"])
    assert not covered.precise.any() and covered.recalled.tolist() == [False]


def salt(a=5.6, symbols=("Na", "Cl")):
    centred = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Structure(
        Lattice.cubic(a),
        [s for s in symbols for _ in range(4)],
        centred + [[x + 0.5, y, z] for x, y, z in centred],
    )


def caesium_chloride():
    return Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize("tolerances", TOLERANCES.values(), ids=TOLERANCES.keys())
def test_salt_repeats_in_its_primitive_cell_and_another_arrangement_does_not(tolerances):
    cells = [salt(), None, salt().get_primitive_structure(), caesium_chloride(), salt(symbols=("K", "Cl"))]
    numbers = group_numbers(cells, tolerances)
    assert numbers[0] == numbers[2] and numbers[1] is None
    assert len({numbers[0], numbers[3], numbers[4]}) == 3
    assert are_known(cells, {"NaCl": [salt(5.5)]}, tolerances) == [True, False, True, False, False]


def test_a_cell_stretched_by_a_third_is_the_same_by_the_loose_tolerances_only():
    """c/a = 1.35 at equal volume is 22 % in c: between the tolerances of 20 and 30 %."""
    stretched = Structure(Lattice.tetragonal(3.5, 3.5 * 1.35), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    known = {"NaCl": [caesium_chloride()]}
    assert [are_known([stretched], known, TOLERANCES[name]) for name in ("strict", "loose")] == [
        [False],
        [True],
    ]
