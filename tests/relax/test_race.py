"""Relaxing against each other: the hopeless stop, and those that can still win go on."""

import math
from types import SimpleNamespace

import pytest

from crystal_core.relax.race import Race, by_turns
from crystal_core.relax.relaxation import RelaxStatus

GAINS = ((5, 0.6), (20, 0.1))


def linear_cost(above):
    return above / 0.02


def moment(step, energy):
    return SimpleNamespace(step=step, energy=energy)


def test_only_what_cannot_win_any_more_is_lost():
    race = Race(cost=linear_cost, gains=GAINS)
    assert not race.is_lost("a", moment(20, -5.0))
    assert not race.is_lost("b", moment(1, -1.0))  # nothing is known of what the first steps gain
    assert not race.is_lost("b", moment(5, -4.5))  # 0.5 above, and 0.6 can still be gained
    assert race.is_lost("b", moment(20, -4.8))  # 0.2 above, and only 0.1 can
    assert not race.is_lost("a", moment(40, -5.0))  # the best never loses


def test_a_likelier_prototype_may_lie_higher():
    priors = {"likely": 5.0, "unlikely": 0.0}
    for higher, lost in (("likely", False), ("unlikely", True)):
        lower = next(name for name in priors if name != higher)
        race = Race(cost=linear_cost, gains=((0, 0.0),), priors=priors)
        race.is_lost(lower, moment(0, -5.0))
        assert race.is_lost(higher, moment(0, -4.95)) is lost


def test_where_costs_have_a_heavy_tail_a_likely_candidate_stays_in_the_race_far_above():
    heavy = Race(cost=lambda above: math.log1p(above / 0.01), gains=((0, 0.0),), priors={"likely": 3.5})
    linear = Race(cost=linear_cost, gains=((0, 0.0),), priors={"likely": 3.5})
    for race, lost in ((heavy, False), (linear, True)):
        race.is_lost("lower", moment(0, -5.0))
        assert race.is_lost("likely", moment(0, -4.8)) is lost
        assert race.is_lost("unlikely", moment(0, -4.8))


def test_all_move_by_turns_until_each_has_ended():
    def runner(name, n):
        for k in range(n):
            yield f"{name}{k}"

    turns = list(by_turns({"a": runner("a", 4), "b": runner("b", 1)}, turns=(1, 2)))
    assert [item for _, item in turns] == ["a0", "b0", "a1", "a2", "a3"]
    assert {name for name, _ in turns} == {"a", "b"}


def test_closing_ends_every_runner():
    ended = []

    def runner(name):
        try:
            while True:
                yield name
        finally:
            ended.append(name)

    turns = by_turns({"a": runner("a"), "b": runner("b")})
    next(turns)
    next(turns)
    turns.close()
    assert ended == ["a", "b"]
    with pytest.raises(StopIteration):
        next(turns)


def forced(step, energy, max_force, n_atoms=14):
    return SimpleNamespace(step=step, energy=energy, max_force=max_force, structure=range(n_atoms))


def test_the_steps_left_are_those_to_rest_or_to_the_next_threshold_that_ends_it():
    race = Race(cost=linear_cost, gains=GAINS)
    ahead, behind = forced(3, -5.0, 50.0), forced(3, -4.7, 50.0)  # eV/Å: far from rest
    assert not race.is_lost("ahead", ahead) and not race.is_lost("behind", behind)
    assert race.steps_left("behind", behind) == 20 - 3  # 0.3 above: more than the 0.1 that step 20 leaves
    assert race.steps_left("ahead", ahead) > 20 - 3  # nobody ends the best one
    nearly = forced(3, -5.0, 0.06)
    assert 1 <= race.steps_left("ahead", nearly) < 5 < race.steps_left("ahead", ahead)


def test_large_cells_and_long_relaxations_need_more_steps_to_come_to_rest():
    race = Race(cost=linear_cost, gains=GAINS)
    usual = forced(10, -5.0, 0.3)
    race.is_lost("a", usual)
    for slower in (forced(10, -5.0, 0.3, n_atoms=40), forced(60, -5.0, 0.3), forced(10, -5.0, 0.6)):
        assert race.steps_left("a", slower) > 1.2 * race.steps_left("a", usual)


def test_the_energies_of_the_cells_as_laid_out_tell_who_stops_early():
    race = Race(
        cost=linear_cost, gains=((1, 0.6), (5, 0.2), (20, 0.1)), priors={"likely": 5.0, "unlikely": 5.0}
    )
    sizes = dict.fromkeys(("likely", "unlikely", "far", "farthest", "unknown"), 14)
    energies = {"likely": -5.0, "unlikely": -4.95, "far": -4.85, "farthest": -3.0, "unknown": None}
    steps = race.steps_in_all(energies, sizes)
    assert steps["likely"] == steps["unlikely"] > steps["far"] > steps["farthest"] == 2
    assert steps["farthest"] < steps["unknown"] < steps["likely"]
    assert not race.energies  # nothing has moved yet


def test_a_lost_candidate_ends_with_the_reason():
    race = Race(cost=linear_cost, gains=GAINS)
    assert race.ends("a", moment(20, -5.0)) is None
    assert race.ends("b", moment(20, -4.0)) is RelaxStatus.OUTRUN
