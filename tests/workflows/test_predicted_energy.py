"""Predicted energies of candidate cells: who gets one, what it says, and how its weight is found."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import CheckpointMissing, RequestError
from crystal_core.evaluation.ranking import load_weights, scores, without_known
from crystal_core.records import crystals_of
from crystal_core.relax.potential import is_installed
from crystal_core.requests import StructurePredictionRequest
from crystal_core.workflows import predict_properties
from crystal_core.workflows.fit_predicted import fit, held_out
from crystal_core.workflows.predict_structure import run
from crystal_core.workflows.predicted_energy import predicted_above_hull
from tests.workflows.test_first_card import candidate, row

ROCKSALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
DENSE = Structure(Lattice.cubic(3.0), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
MIXED = Structure(Lattice.cubic(4.1), [{"Na": 0.5, "K": 0.5}, "Cl"], [[0] * 3, [0.5] * 3])
WEIGHTS = without_known(load_weights())


@pytest.mark.weights
def test_every_cell_that_the_predictor_takes_has_an_energy():
    rocksalt, mixed, dense = predicted_above_hull([ROCKSALT, MIXED, DENSE])
    assert mixed is None
    assert rocksalt < 0.1 < dense  # eV/atom
    assert predicted_above_hull([]) == []


def test_without_the_predictor_no_cell_has_an_energy(monkeypatch):
    def missing(*_):
        raise CheckpointMissing("No checkpoint named 'crysldnet' is installed.")

    monkeypatch.setattr(predict_properties, "load_property_predictor", missing)
    assert predicted_above_hull([ROCKSALT, DENSE]) == [None, None]


@pytest.mark.weights
@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_known_arrangements_are_ranked_with_predicted_energies_and_known_crystals_without():
    *_, last = run(StructurePredictionRequest(formula="CsPbI3", effort="quick", seed=0))
    records = crystals_of(last.result)
    predicted = {r["origin"]: [] for r in records}
    for record in records:
        predicted[record["origin"]].append(record["evidence"]["predicted"])
    assert set(predicted["known"]) == {None}
    assert predicted["prototype"] and all(energy >= 0 for energy in predicted["prototype"])


def drawn_rows(n, weights):
    """Rows whose right candidate is drawn with the probabilities that the weights say."""
    rng, rows = np.random.default_rng(1), []
    for k in range(n):
        made = [
            candidate(
                i + 1,
                None,
                right=False,
                votes=float(rng.uniform(0.02, 1)),
                predicted=float(rng.exponential(0.2)),
            )
            for i in range(6)
        ]
        score = np.array(scores([c.evidence for c in made], weights))
        odds = np.exp(score - score.max())
        winner = rng.choice(6, p=odds / odds.sum())
        made[winner] = replace(made[winner], laid_out=0.02)
        rows.append(row(*made, name=f"mp-{k}"))
    return rows


def test_the_weight_is_found_again_and_what_it_gains_is_measured_on_unseen_rows():
    telling = drawn_rows(400, replace(WEIGHTS, predicted=1.2, error_predicted=0.03))
    start = replace(WEIGHTS, predicted=0.0, error_predicted=0.03)
    assert fit(telling, start).predicted == pytest.approx(1.2, rel=0.3)
    report = held_out(telling, start)
    assert report["gained"] > report["lost"]
    assert report["log_likelihood_gain_per_row"] > 3 * report["standard_error"]
    assert report["first_card_with"] * 400 == pytest.approx(
        report["first_card_without"] * 400 + report["gained"] - report["lost"], abs=0.1
    )


def test_energies_that_say_nothing_get_no_weight():
    rows = drawn_rows(400, replace(WEIGHTS, predicted=0.0))
    start = replace(WEIGHTS, predicted=0.0, error_predicted=0.03)
    assert abs(fit(rows, start).predicted) < 0.2
    report = held_out(rows, start)
    assert report["log_likelihood_gain_per_row"] < 2 * report["standard_error"]


def test_without_a_right_candidate_that_was_predicted_nothing_is_fitted():
    with pytest.raises(RequestError, match="predicted energy"):
        fit([row(candidate(1, None, right=True))], WEIGHTS)
