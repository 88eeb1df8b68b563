"""Orderings among the candidates of an effort: different from each other and from those that are there."""

from itertools import combinations

import pytest

from crystal_core.evaluation.alike import rms_distance
from crystal_core.evaluation.ranking import load_weights, log_prior
from crystal_core.records import crystals_of
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows.effort import EFFORTS, cells_tried, known_prototypes, lay_out
from crystal_core.workflows.ordered_candidates import likeliest_orderings, orderings_of
from crystal_core.workflows.predict_structure import run

pytestmark = pytest.mark.weights
FORMULA, CELL = "GaInN2", (7, 7, 7, 7, 31, 31, 49, 49)


def request(effort="normal", **options):
    return StructurePredictionRequest(formula=FORMULA, effort=effort, seed=0, **options)


def orderings(n, beside=()):
    return likeliest_orderings(known_prototypes(), {2: CELL}, n, beside=beside, repeats=True)


def test_the_likeliest_come_first_and_no_two_are_alike():
    found = orderings(6)
    assert len(found) == 6
    priors = [log_prior(one.evidence, load_weights()) for one in found]
    assert priors == sorted(priors, reverse=True)
    for one, other in combinations(found, 2):
        assert rms_distance(one.structure, other.structure) is None
    for one in found:
        assert one.evidence.ordered and one.evidence.log_odds is not None
        assert sorted(one.structure.atomic_numbers) == list(CELL)
        assert set(one.template.ordered) == {"Ga", "In"}


def test_none_is_a_candidate_that_is_there_already():
    first, second, *_ = orderings(2)
    (other,) = orderings(1, [first.structure])
    assert rms_distance(other.structure, second.structure) is not None


def test_an_ordering_is_less_likely_than_its_prototype_with_the_same_votes():
    (one,) = orderings(1)
    weights = load_weights()
    plain = type(one.evidence)(**{**vars(one.evidence), "ordered": False})
    assert log_prior(one.evidence, weights) == log_prior(plain, weights) + weights.ordered
    assert weights.ordered < 0


def test_an_effort_tries_as_many_as_it_says_in_its_own_cells():
    laid_out = lay_out(request())
    found = orderings_of(request(), [candidate.sampled for candidate in laid_out.candidates])
    assert len(found) == EFFORTS["normal"].orderings
    cells = cells_tried(request())
    assert all(len(one.sampled) == len(cells[one.z]) and one.origin == "prototype" for one in found)
    ids = [candidate.id(FORMULA) for candidate in (*laid_out.candidates, *found)]
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_a_run_shows_its_prototypes_first_and_then_the_orderings():
    updates = run(request(z=(2,)))
    first, second = next(updates), next(updates)
    updates.close()
    assert (first.stage, second.stage) == ("known crystals and prototypes", "orderings of two elements")
    more = len(crystals_of(second.result)) - len(crystals_of(first.result))
    assert more == EFFORTS["normal"].orderings
    ordered = [
        record["provenance"]["prototype"]
        for record in crystals_of(second.result)
        if record["provenance"].get("prototype", {}).get("ordered")
    ]
    assert len(ordered) == more and all(set(one["ordered"]) == {"Ga", "In"} for one in ordered)


def test_a_quick_run_leaves_them_out():
    assert "orderings of two elements" not in {update.stage for update in run(request("quick", z=(2,)))}
