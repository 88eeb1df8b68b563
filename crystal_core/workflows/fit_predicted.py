"""``python -m crystal_core.workflows.fit_predicted``: the weight of predicted energies, from judged rows.

Rows come from ``crystal-core evaluate first-card --split val --effort prior --out FILE``. The other weights
stay. The gain is measured on rows that the fit has not seen: each tenth of the rows is ranked by the fit on
the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystal_core.errors import RequestError
from crystal_core.evaluation.ranking import (
    WEIGHTS,
    Weights,
    load_weights,
    log_prior,
    predicted_term,
    save_weights,
    without_known,
)
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.registry.store import find_card
from crystal_core.workflows.first_card_rates import cards_of, first_card_rates
from crystal_core.workflows.first_card_rows import JudgedRow, read_rows
from crystal_core.workflows.predicted_energy import PREDICTOR

PARTS = 10
MEASURED = "mae_e_above_hull_ev_test"  # in the card of the predictor


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: fits, prints what the predicted energies gain on unseen rows, writes the weights."""
    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.workflows.fit_predicted", description=__doc__
    )
    parser.add_argument("--fit", type=Path, nargs="+", required=True, help="files of judged validation rows")
    parser.add_argument("--write", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    rows = list({row.id: row for file in options.fit for row in read_rows(file)}.values())
    error = find_card(PREDICTOR).metrics[MEASURED]["value"]
    start = replace(load_weights(), error_predicted=error)
    about = {**start.about, "predicted": {**held_out(rows, start), "command": parser.prog}}
    save_weights(replace(fit(rows, start), about=about), options.write)
    sys.stdout.write(json.dumps(about["predicted"], indent=1, ensure_ascii=False) + "\n")


def fit(rows: Sequence[JudgedRow], weights: Weights) -> Weights:
    """The weights with that of predicted energies, which makes the right candidates likeliest.

    Raises:
        RequestError: no row has its crystal among its candidates with a predicted energy.
    """
    table = _Table.of(_useful(rows), weights)
    if not len(table.right):
        raise RequestError("No row has a right candidate with a predicted energy; collect the rows again.")
    scale, predicted = table.most_likely([1.0, 1.0])
    # the rest of the prior keeps its balance with the energies of the potential
    return replace(weights, predicted=round(float(predicted / scale), 4))


def held_out(rows: Sequence[JudgedRow], weights: Weights) -> dict[str, Any]:
    """First cards with and without predicted energies, each part ranked by the fit on the others, row by row.

    The gain in log likelihood compares the best fits with and without them.
    """
    without = without_known(replace(weights, predicted=0.0))
    gained, lost, right = 0, 0, 0
    fitted: list[float] = []
    more: list[float] = []
    for part in np.array_split(np.random.default_rng(0).permutation(len(rows)), PARTS):
        own = {int(i) for i in part}
        others, unseen = [row for i, row in enumerate(rows) if i not in own], [rows[i] for i in part]
        learned = fit(others, weights)
        fitted.append(learned.predicted)
        for row in unseen:
            before, after = (_is_first_right(row, w) for w in (without, without_known(learned)))
            gained, lost, right = (
                gained + (after and not before),
                lost + (before and not after),
                right + after,
            )
        known, fresh = (_Table.of(_useful(some), weights) for some in (others, unseen))
        gain = fresh.log_likelihoods(known.most_likely([1.0, 1.0]))
        more += list(gain - fresh.log_likelihoods(known.most_likely([1.0, 0.0])))
    return {
        "n": len(rows),
        "first_card_without": first_card_rates(rows, without)["prior"]["first card"]["match_rate"],
        "first_card_with": round(right / len(rows), 4),
        "gained": gained,
        "lost": lost,
        "log_likelihood_gain_per_row": round(float(np.mean(more)), 4),
        "standard_error": round(float(np.std(more) / np.sqrt(len(more))), 4),
        "weight_over_parts": [min(fitted), max(fitted)],
    }


def _is_first_right(row: JudgedRow, weights: Weights) -> bool:
    cards = cards_of(row, "prior", weights)
    return bool(cards) and cards[0] is not None


def _useful(rows: Sequence[JudgedRow]) -> list[JudgedRow]:
    return [
        row
        for row in rows
        if any(c.laid_out is not None for c in row.candidates)
        and any(c.evidence.predicted is not None for c in row.candidates)
    ]


class _Table(NamedTuple):
    """Candidates of rows, each row filled up to the longest with some that are never drawn.

    Attributes:
        features: (rows, candidates, 2), the prior without predicted energies, and the term of these.
        right, real: (rows, candidates), which is the row's crystal, and which does not fill up.
    """

    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    real: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[JudgedRow], weights: Weights) -> _Table:
        rest = without_known(replace(weights, predicted=0.0))
        shape = len(rows), max((len(row.candidates) for row in rows), default=0)
        table = cls(np.zeros((*shape, 2)), np.zeros(shape, bool), np.zeros(shape, bool))
        for i, row in enumerate(rows):
            for k, one in enumerate(row.candidates):
                term = predicted_term(one.evidence, weights.error_predicted)
                table.features[i, k] = log_prior(one.evidence, rest), term
                table.right[i, k], table.real[i, k] = one.laid_out is not None, True
        return table

    def most_likely(self, used: Sequence[float]) -> NDArray[np.float64]:
        """The weights of the prior and of the predicted energy that fit best; 0 for one that is not used."""
        from scipy.optimize import minimize

        best = minimize(lambda w: -self.log_likelihoods(w * used).mean(), [1.0, 0.0], method="L-BFGS-B").x
        return np.asarray(best * used)

    def log_likelihoods(self, weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """(rows,) log of the probability to draw a right candidate, each with softmax(features @ weights)."""
        from scipy.special import logsumexp

        score = self.features @ np.asarray(weights)
        right, real = (np.where(which, score, -np.inf) for which in (self.right, self.real))
        return np.asarray(logsumexp(right, axis=1) - logsumexp(real, axis=1))


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
