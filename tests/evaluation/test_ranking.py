"""Small energy differences do not overrule the prior, large ones do, and unlike energies never mix."""

import itertools
from dataclasses import replace

import pytest

from crystal_core.evaluation.ranking import (
    Evidence,
    Weights,
    agreements,
    load_weights,
    ranking_of,
    scores,
    tiers,
    without_known,
)

WEIGHTS = Weights(
    rank=-0.5,
    votes=0.5,
    members=0.1,
    noise=-4.0,
    agreement=0.5,
    known=3.0,
    named=3.0,
    relaxed=1.0,
    error_relaxed=0.01,
    single_point=0.7,
    error_single_point=0.05,
    sigma_published=0.05,
)
FIRST = Evidence(
    source="prototype", rank=1, votes=0.6, members=30, distance=0.5, relaxed=-5.0, converged=True
)
FIFTH = replace(FIRST, rank=5, votes=0.05, members=2)


@pytest.mark.parametrize(
    ("above", "best"),
    # within the potential's error the likelier prototype; far beyond it the lower energy
    [(0.008, 0), (0.3, 1)],
)
def test_energy_and_prior_are_weighed(above, best):
    candidates = [replace(FIRST, relaxed=-5.0 + above), FIFTH]
    assert ranking_of(candidates, WEIGHTS)[0] == best


def test_a_large_error_of_the_potential_does_not_bury_a_likely_arrangement():
    """Errors have heavy tails: ten times the energy costs a little more, not ten times as much."""
    lower, near, far = (replace(FIRST, relaxed=-5.0 + above) for above in (0.0, 0.05, 0.5))
    first, second, third = scores([lower, near, far], WEIGHTS)
    assert first > second > third
    assert first - third < 2.5 * (first - second)
    laid_out = [replace(one, relaxed=None, single_point=one.relaxed) for one in (lower, near, far)]
    first, second, third = scores(laid_out, WEIGHTS)
    assert first > second > third and first - third < 4 * (first - second)


def test_a_common_shift_of_the_energies_changes_nothing():
    candidates = [FIFTH, replace(FIRST, relaxed=-4.98), replace(FIFTH, rank=2, relaxed=-4.9)]
    moved = [replace(one, relaxed=one.relaxed + 1.3) for one in candidates]
    assert scores(moved, WEIGHTS) == pytest.approx(scores(candidates, WEIGHTS))


def test_the_order_does_not_depend_on_the_order_given():
    candidates = [FIRST, replace(FIFTH, relaxed=-5.1), replace(FIFTH, rank=3, relaxed=-4.9)]
    best = [candidates[i] for i in ranking_of(candidates, WEIGHTS)]
    for given in itertools.permutations(candidates):
        assert [given[i] for i in ranking_of(given, WEIGHTS)] == best


def test_relaxed_and_unrelaxed_energies_never_mix_and_implausible_cells_are_last():
    sampled = replace(FIRST, relaxed=None, single_point=-9.0)  # lower than all, but not at rest
    nothing = replace(FIRST, relaxed=None)
    overlapping = replace(FIRST, relaxed=-20.0, plausible=False)
    candidates = [overlapping, nothing, sampled, replace(FIFTH, relaxed=-1.0)]
    assert ranking_of(candidates, WEIGHTS) == [3, 2, 1, 0]
    assert tiers(candidates) == [3, 2, 1, 0]
    # what overlaps does not lower the energy that the others are measured from
    alone, beside = scores([FIRST], WEIGHTS)[0], scores([FIRST, overlapping], WEIGHTS)[0]
    assert beside == pytest.approx(alone)


def test_the_published_energy_of_a_known_crystal_takes_the_place_of_the_potentials():
    right = replace(FIRST, distance=0.0, relaxed=-5.0, published=0.0)
    # 100 meV lower for the potential alone
    wrong = replace(FIFTH, distance=0.0, relaxed=-5.1, published=0.245)
    unknown = replace(FIFTH, relaxed=-4.9)
    assert ranking_of([wrong, right, unknown], WEIGHTS) == [1, 0, 2]
    blind = without_known(replace(WEIGHTS, rank=0.0, votes=0.0, members=0.0))
    assert ranking_of([replace(wrong, published=None), replace(right, published=None)], blind) == [0, 1]


def test_agreement_and_a_name_speak_for_a_candidate():
    noise = Evidence(source="noise", distance=1.0, relaxed=-5.0)
    lone, agreed = scores([noise, replace(noise, agreement=8)], WEIGHTS)
    assert agreed > lone
    plain, named = scores([FIRST, replace(FIRST, named=True)], WEIGHTS)
    assert named - plain == pytest.approx(WEIGHTS.named)


def test_independent_samples_agree_and_what_starts_from_a_prototype_does_not():
    groups = [0, 0, 0, 0, 0, 1, 1]
    sources = ["prototype", "prototype", "noise", "draft refined", "prototype refined", "known", "prototype"]
    assert agreements(groups, sources) == [3, 3, 2, 2, 3, 1, 1]


def test_log_odds_speak_for_a_candidate_unless_a_published_energy_stands_in_their_place():
    weights = replace(WEIGHTS, log_odds=0.5)
    likely, even, unlikely = (replace(FIRST, log_odds=odds) for odds in (3.0, 0.0, -3.0))
    values = scores([likely, even, unlikely], weights)
    assert [values[0] - values[1], values[1] - values[2]] == pytest.approx([1.5, 1.5])
    plain, none = scores([FIRST, replace(FIRST, log_odds=None)], weights)
    assert plain == none == values[1]
    published = [replace(FIRST, distance=0.0, published=0.0, log_odds=odds) for odds in (None, 2.0)]
    assert len(set(scores(published, weights))) == 1
    votes = replace(FIRST, votes=0.9, rank=1, log_odds=-3.0), replace(FIRST, votes=0.1, rank=2, log_odds=3.0)
    without = replace(weights, log_odds=0.0)
    assert ranking_of(votes, without) == [0, 1] and ranking_of(votes, weights) == [1, 0]


def test_the_shipped_weights_say_what_they_were_fitted_on():
    weights = load_weights()
    assert weights.rank <= 0 <= weights.votes
    assert 0 < weights.single_point <= weights.relaxed
    assert 0 < weights.error_relaxed <= weights.error_single_point
    assert [step for step, _ in weights.gains] == sorted(step for step, _ in weights.gains)
    gains = [gain for _, gain in weights.gains]
    assert gains == sorted(gains, reverse=True)
    assert "validation rows of MP-20" in weights.about["fitted_on"]
    assert {"known", "noise"} <= set(weights.about["set_not_fitted"])
    about = weights.about["log_odds"]
    low, high = about["weight_over_parts"]
    assert about["n"] >= 700 and low <= weights.log_odds <= high
    low, high = about["ordered_over_parts"]
    assert low <= weights.ordered <= high < 0
    assert about["gained"] > about["lost"]
    assert about["log_likelihood_gain_per_row"] > 3 * about["standard_error"]


def known(published, **other):
    return Evidence(source="known", published=published, atoms=2, volume=20.0, **other)


def test_published_energies_decide_between_known_crystals_and_come_before_cells_as_laid_out():
    stable, metastable = known(0.0), known(0.2)
    guess = replace(FIRST, relaxed=None, single_point=-50.0)  # far lower than all, and of another kind
    assert ranking_of([guess, metastable, stable], WEIGHTS) == [2, 1, 0]
    assert tiers([guess, metastable, stable]) == [1, 0, 0]


def test_a_known_crystal_weighs_the_same_whatever_it_was_made_from():
    """Rutile is laid out as the fourteenth choice of the relatives of TiO2, and is named after it."""
    laid_out = replace(FIRST, rank=14, votes=0.02, members=3, published=0.03, named=True, relaxed=None)
    sampled = Evidence(source="noise", published=0.03, named=True, distance=1.0)
    values = scores([known(0.0), laid_out, sampled, known(0.03, named=True)], WEIGHTS)
    assert values[1] == values[2] == values[3] > values[0]


def test_a_relaxed_rival_is_compared_on_the_scale_of_the_published_energies():
    stable = known(0.0, relaxed=-5.0)
    assert ranking_of([replace(FIFTH, relaxed=-4.9), stable], WEIGHTS)[0] == 1
    assert ranking_of([replace(FIFTH, relaxed=-5.4), stable], WEIGHTS)[0] == 0  # far below all that is known
    # the zero of the potential's energies means nothing
    expected = scores([replace(FIFTH, relaxed=-4.9), stable], WEIGHTS)
    moved = scores([replace(FIFTH, relaxed=2.1), replace(stable, relaxed=2.0)], WEIGHTS)
    assert moved == pytest.approx(expected)


def test_where_all_known_crystals_lie_far_above_the_hull_they_do_not_decide():
    far = known(0.08)
    likely = replace(FIRST, relaxed=None, single_point=-5.0)
    assert ranking_of([far, likely], WEIGHTS)[0] == 1
    assert ranking_of([known(0.01), likely], WEIGHTS)[0] == 0


def test_of_nearly_equal_published_energies_the_denser_crystal_wins():
    weights = replace(WEIGHTS, sigma_published=0.03, pressure=0.014)
    open_framework, dense = known(0.0), replace(known(0.02), volume=17.0)
    assert ranking_of([open_framework, dense], weights)[0] == 1
    assert ranking_of([open_framework, dense], WEIGHTS)[0] == 0
