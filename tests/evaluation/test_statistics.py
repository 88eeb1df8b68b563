"""Intervals of shares, means and paired differences against hand-made values."""

import math

import pytest

from crystal_core.evaluation.paths import displacement_to_end, volume_per_atom
from crystal_core.evaluation.statistics import (
    Estimate,
    disjoint_best,
    effective_number,
    mean,
    mean_difference,
    share,
    share_difference,
    wilson,
)


def test_a_share_of_one_target_has_wilsons_interval():
    estimate = share([[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]])
    assert estimate.value == pytest.approx(0.3) and estimate.n == 10
    assert estimate.ci95 == pytest.approx((0.1078, 0.6032), abs=1e-4)  # of 3 in 10, from the tables
    assert share([]) is None and share([[]]) is None


def test_samples_of_one_target_count_less_the_more_they_are_alike():
    assert effective_number([[1], [0], [1]]) == 3
    assert effective_number([[1] * 10, [0] * 10, [1] * 10, [0] * 10]) == 4  # all samples of a target agree
    assert effective_number([[1, 0] * 5, [0, 1] * 5, [1, 0] * 5]) == 30  # targets do not differ
    assert effective_number([[1, 1], [1, 1]]) == 2  # nothing tells how alike they are
    wide = share([[1] * 10, [0] * 10, [1] * 10, [0] * 10])
    assert wide.ci95 == pytest.approx([round(x, 4) for x in wilson(2, 4)])


def test_means_count_targets_and_few_values_are_not_too_sure():
    # t = 3.182, s = 1.291
    assert mean([[1.0, 2.0, 3.0, 4.0]]).ci95 == pytest.approx((0.4457, 4.5543), abs=1e-4)
    # four targets, not eighty samples
    low, high = mean([[0.0] * 20, [1.0] * 20, [0.0] * 20, [1.0] * 20]).ci95
    assert (low, high) == pytest.approx((0.5 - 3.182 * 0.57735 / 2, 0.5 + 3.182 * 0.57735 / 2), abs=1e-3)
    low, high = mean([[0.0, 1.0] * 20]).ci95
    assert 0.3 < low < 0.5 < high < 0.7
    assert mean([[0.0, 1.0]]).ci95[0] < -5  # two values prove nothing
    assert mean([[2.0]]) == Estimate(value=2.0, ci95=None, n=1)


def test_the_interval_of_a_positive_quantity_ends_at_its_lowest_value():
    low, high = mean([[0.02, 0.3, 0.05]]).ci95
    assert low < 0 and mean([[0.02, 0.3, 0.05]], 0.0).ci95 == (0.0, high)
    assert mean([[2.0, 2.1, 2.2]], 0.0).ci95 == mean([[2.0, 2.1, 2.2]]).ci95


def test_a_paired_difference_of_shares_is_bonett_and_prices():
    first, second = [[1, 1, 0, 0, 0, 0, 0, 0]], [[0, 1, 1, 1, 1, 1, 0, 0]]  # 4 gained, 1 lost, of 8
    difference = share_difference(first, second)
    assert difference.value == pytest.approx(3 / 8)
    up, down = 5 / 10, 2 / 10
    half = 1.959964 * math.sqrt((up + down - (up - down) ** 2) / 10)
    assert difference.ci95 == pytest.approx((0.3 - half, 0.3 + half), abs=1e-4)
    low, high = share_difference(first, first).ci95
    assert low == -high and high > 0.2  # to agree on eight samples proves little
    assert share_difference([[1, 1], [0, 0]], [[1, 1], [0, 0]]).ci95[1] > high  # two targets even less


def test_a_paired_difference_of_means_is_sharper_than_two_means():
    first = [[1.0, 5.0, 9.0, 13.0]]
    second = [[1.5, 5.4, 9.6, 13.5]]
    difference = mean_difference(first, second)
    assert difference.value == pytest.approx(0.5) and 0.3 < difference.ci95[0] < difference.ci95[1] < 0.7
    assert mean(first).ci95[0] < 0 < 15 < mean(first).ci95[1]


def test_best_is_only_what_overlaps_no_other():
    a, b, c = (
        Estimate(value=v, ci95=ci, n=9)
        for v, ci in ((0.9, (0.8, 1.0)), (0.5, (0.3, 0.7)), (0.7, (0.6, 0.85)))
    )
    assert disjoint_best([a, b], higher=True) == 0 and disjoint_best([a, b], higher=False) == 1
    assert disjoint_best([a, b, c], higher=True) is None
    assert disjoint_best([a, None], higher=True) is None
    assert disjoint_best([a, Estimate(value=0.1, ci95=None, n=1)], higher=True) is None


def test_a_path_tells_its_volume_and_how_far_its_atoms_have_to_go():
    cube = [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]]
    small = [[2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]]
    path = [
        {"lattice": small, "atomic_numbers": [11, 17], "frac_coords": [[0.05, 0, 0], [0.45, 0.5, 0.5]]},
        {"lattice": small, "atomic_numbers": [11, 17], "frac_coords": [[0.3, 0.3, 0.3], [0.8, 0.8, 0.8]]},
        {"lattice": cube, "atomic_numbers": [11, 17], "frac_coords": [[0.95, 0, 0], [0.55, 0.5, 0.5]]},
    ]
    assert volume_per_atom(path) == [4.0, 4.0, 32.0]
    first, drifted, last = displacement_to_end(path)
    assert first == pytest.approx(0.4)  # 0.1 of 4 Å through the face of the cell, each atom its own way
    assert drifted == pytest.approx(0.2) and last == 0  # what is common to all atoms is no displacement
