"""Relaxing against each other: the hopeless stop, and those that can still win go on."""

from types import SimpleNamespace

import pytest

from crystal_core.relax.race import Race, by_turns

GAINS = ((5, 0.6), (20, 0.1))


def moment(step, energy):
    return SimpleNamespace(step=step, energy=energy)


def test_only_what_cannot_win_any_more_is_lost():
    race = Race(sigma=0.02, gains=GAINS)
    assert not race.is_lost("a", moment(20, -5.0))
    assert not race.is_lost("b", moment(1, -1.0))  # nothing is known of what the first steps gain
    assert not race.is_lost("b", moment(5, -4.5))  # 0.5 above, and 0.6 can still be gained
    assert race.is_lost("b", moment(20, -4.8))  # 0.2 above, and only 0.1 can
    assert not race.is_lost("a", moment(40, -5.0))  # the best never loses


def test_a_likelier_prototype_may_lie_higher():
    priors = {"likely": 5.0, "unlikely": 0.0}
    for higher, lost in (("likely", False), ("unlikely", True)):
        lower = next(name for name in priors if name != higher)
        race = Race(sigma=0.02, gains=((0, 0.0),), priors=priors)
        race.is_lost(lower, moment(0, -5.0))
        assert race.is_lost(higher, moment(0, -4.95)) is lost


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


def test_the_steps_left_are_those_to_rest_or_to_the_next_threshold_that_ends_it():
    race = Race(sigma=0.02, gains=GAINS)
    ahead, behind = moment(3, -5.0), moment(3, -4.7)
    ahead.max_force = behind.max_force = 50.0  # eV/Å: far from rest
    assert not race.is_lost("ahead", ahead) and not race.is_lost("behind", behind)
    assert race.steps_left("behind", behind) == 20 - 3  # 0.3 above: more than the 0.1 that step 20 leaves
    assert race.steps_left("ahead", ahead) > 20 - 3  # nobody ends the best one
    nearly = moment(3, -5.0)
    nearly.max_force = 0.06
    assert 1 <= race.steps_left("ahead", nearly) < 5 < race.steps_left("ahead", ahead)
