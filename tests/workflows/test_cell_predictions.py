"""Log odds of candidate cells: who gets them, what they say, and how their weight is found."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RequestError
from crystal_core.evaluation.ranking import load_weights, scores, without_known
from crystal_core.records import crystals_of
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows import cell_predictions
from crystal_core.workflows.cell_predictions import predicted_log_odds
from crystal_core.workflows.fit_log_odds import fit, held_out
from crystal_core.workflows.predict_structure import run
from tests.workflows.test_first_card import candidate, row

ROCKSALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
DENSE = Structure(Lattice.cubic(3.0), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
MIXED = Structure(Lattice.cubic(4.1), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0] * 3, [0.5] * 3])
WEIGHTS = without_known(load_weights())


@pytest.mark.weights
def test_every_cell_that_the_network_takes_has_log_odds():
    rocksalt, mixed, dense = predicted_log_odds([ROCKSALT, MIXED, DENSE])
    assert mixed is None
    assert rocksalt > dense
    assert predicted_log_odds([]) == []


@pytest.mark.weights
@pytest.mark.parametrize(("large", "small", "anion", "a"), [("Sr", "Ti", "O", 3.9), ("K", "Mg", "F", 4.0)])
def test_a_perovskite_is_told_from_the_one_with_exchanged_cations(large, small, anion, a):
    places = [[0.0] * 3, [0.5] * 3, [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]]
    right, wrong = (
        Structure(Lattice.cubic(a), [one, other, anion, anion, anion], places)
        for one, other in ((large, small), (small, large))
    )
    odds = predicted_log_odds([right, wrong])
    assert odds[0] > odds[1] + 2


@pytest.mark.weights
@pytest.mark.parametrize(("cation", "a"), [("Na", 5.64), ("K", 6.29)])
def test_rock_salt_is_likelier_than_caesium_chloride_for_small_cations(cation, a):
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, "Cl"], [[0] * 3, [0.5] * 3])
    primitive = salt.get_primitive_structure()
    other = Structure(Lattice.cubic((primitive.volume) ** (1 / 3)), [cation, "Cl"], [[0] * 3, [0.5] * 3])
    odds = predicted_log_odds([primitive, other])
    assert odds[0] > odds[1] + 1


def test_without_the_network_no_cell_has_log_odds(monkeypatch):
    monkeypatch.setattr(cell_predictions, "RANKER", "not-installed")
    assert predicted_log_odds([ROCKSALT, DENSE]) == [None, None]


@pytest.mark.weights
@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_known_arrangements_are_ranked_with_log_odds_and_known_crystals_without():
    *_, last = run(StructurePredictionRequest(formula="CsPbI3", effort="quick", seed=0))
    records = crystals_of(last.result)
    odds = {r["origin"]: [] for r in records}
    for record in records:
        odds[record["origin"]].append(record["evidence"]["log_odds"])
    assert set(odds["known"]) == {None}
    assert odds["prototype"] and None not in odds["prototype"]


def drawn_rows(n, weights, n_ordered=0):
    """Rows whose right candidate is drawn with the probabilities that the weights say."""
    rng, rows = np.random.default_rng(1), []
    for k in range(n):
        made = [
            candidate(
                i + 1,
                None,
                right=False,
                votes=float(rng.uniform(0.02, 1)),
                log_odds=float(rng.normal(0, 2)),
            )
            for i in range(6)
        ]
        for i in range(n_ordered):
            made[i] = replace(made[i], evidence=replace(made[i].evidence, ordered=True))
        score = np.array(scores([c.evidence for c in made], weights))
        odds = np.exp(score - score.max())
        winner = rng.choice(6, p=odds / odds.sum())
        made[winner] = replace(made[winner], laid_out=0.02)
        rows.append(row(*made, name=f"mp-{k}"))
    return rows


def test_the_weights_are_found_again_and_what_they_gain_is_measured_on_unseen_rows():
    start = replace(WEIGHTS, log_odds=0.0, ordered=-3.0)
    telling = drawn_rows(400, replace(WEIGHTS, log_odds=0.6, ordered=-1.0), n_ordered=3)
    fitted = fit(telling, start)
    assert fitted.log_odds == pytest.approx(0.6, rel=0.3)
    assert fitted.ordered == pytest.approx(-1.0, abs=0.5)
    report = held_out(telling, start)
    assert report["gained"] > report["lost"]
    assert report["log_likelihood_gain_per_row"] > 3 * report["standard_error"]
    assert report["first_card_with"] * 400 == pytest.approx(
        report["first_card_without"] * 400 + report["gained"] - report["lost"], abs=0.1
    )


def test_log_odds_that_say_nothing_get_no_weight():
    rows = drawn_rows(400, replace(WEIGHTS, log_odds=0.0))
    start = replace(WEIGHTS, log_odds=0.0)
    fitted = fit(rows, start)
    assert abs(fitted.log_odds) < 0.1
    report = held_out(rows, start)
    assert report["log_likelihood_gain_per_row"] < 2 * report["standard_error"]


def test_without_a_right_candidate_that_has_log_odds_nothing_is_fitted():
    with pytest.raises(RequestError, match="log odds"):
        fit([row(candidate(1, None, right=True))], WEIGHTS)
