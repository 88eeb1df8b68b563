"""``python -m crystal_core.workflows.fit_log_odds``: the weights of log odds and orderings, from judged rows.

Rows come from ``crystal-core evaluate first-card --split val --effort prior --orderings 5 --out FILE``. The
other weights stay. The gain is measured on rows that the fit has not seen: each tenth of the rows is ranked
by the fit on the others.
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
    save_weights,
    without_known,
)
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.workflows.first_card_rates import cards_of, first_card_rates
from crystal_core.workflows.first_card_rows import JudgedRow, read_rows

PARTS = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: fits, prints what the log odds gain on unseen rows, writes the weights."""
    parser = argparse.ArgumentParser(
        prog="python -m crystal_core.workflows.fit_log_odds", description=__doc__
    )
    parser.add_argument("--fit", type=Path, nargs="+", required=True, help="files of judged validation rows")
    parser.add_argument("--write", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    rows = list({row.id: row for file in options.fit for row in read_rows(file)}.values())
    start = load_weights()
    about = {**start.about, "log_odds": {**held_out(rows, start), "command": parser.prog}}
    save_weights(replace(fit(rows, start), about=about), options.write)
    sys.stdout.write(json.dumps(about["log_odds"], indent=1, ensure_ascii=False) + "\n")


def fit(rows: Sequence[JudgedRow], weights: Weights, *, with_log_odds: bool = True) -> Weights:
    """The weights with those of log odds and of orderings that make the right candidates likeliest.

    Args:
        with_log_odds: else the log odds get none.

    Raises:
        RequestError: no row has its crystal among its candidates with log odds.
    """
    table = _Table.of(_useful(rows), weights)
    if not len(table.right):
        raise RequestError("No row has a right candidate with log odds; collect the rows again.")
    scale, log_odds, ordered = map(float, table.most_likely(weights.ordered, with_log_odds=with_log_odds))
    # the rest of the prior keeps its balance with the energies of the potential
    return replace(weights, log_odds=round(log_odds / scale, 4), ordered=round(ordered / scale, 4))


def held_out(rows: Sequence[JudgedRow], weights: Weights) -> dict[str, Any]:
    """First cards with and without log odds, each part ranked by the fits on the others, row by row."""
    gained, lost, right = 0, 0, 0
    fitted: list[Weights] = []
    more: list[float] = []
    for part in np.array_split(np.random.default_rng(0).permutation(len(rows)), PARTS):
        own = {int(i) for i in part}
        others, unseen = [row for i, row in enumerate(rows) if i not in own], [rows[i] for i in part]
        learned, without = (fit(others, weights, with_log_odds=used) for used in (True, False))
        fitted.append(learned)
        for row in unseen:
            before, after = (_is_first_right(row, without_known(w)) for w in (without, learned))
            gained, lost, right = (
                gained + (after and not before),
                lost + (before and not after),
                right + after,
            )
        known, fresh = (_Table.of(_useful(some), weights) for some in (others, unseen))
        with_them, without_them = (
            fresh.log_likelihoods(known.most_likely(weights.ordered, with_log_odds=used))
            for used in (True, False)
        )
        more += list(with_them - without_them)
    return {
        "n": len(rows),
        "first_card_without": round((right - gained + lost) / len(rows), 4),
        "first_card_with": round(right / len(rows), 4),
        "gained": gained,
        "lost": lost,
        "any_candidate": first_card_rates(rows, weights)["any candidate"]["match_rate"],
        "log_likelihood_gain_per_row": round(float(np.mean(more)), 4),
        "standard_error": round(float(np.std(more) / np.sqrt(len(more))), 4),
        "weight_over_parts": [min(one.log_odds for one in fitted), max(one.log_odds for one in fitted)],
        "ordered_over_parts": [min(one.ordered for one in fitted), max(one.ordered for one in fitted)],
    }


def _is_first_right(row: JudgedRow, weights: Weights) -> bool:
    cards = cards_of(row, "prior", weights)
    return bool(cards) and cards[0] is not None


def _useful(rows: Sequence[JudgedRow]) -> list[JudgedRow]:
    return [
        row
        for row in rows
        if any(c.laid_out is not None for c in row.candidates)
        and any(c.evidence.log_odds is not None for c in row.candidates)
    ]


class _Table(NamedTuple):
    """Candidates of rows, each row filled up to the longest with some that are never drawn.

    Attributes:
        features: (rows, candidates, 3): the rest of the prior, log odds, whether it is an ordering.
        right, real: (rows, candidates), which is the row's crystal, and which does not fill up.
    """

    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    real: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[JudgedRow], weights: Weights) -> _Table:
        rest = without_known(replace(weights, log_odds=0.0, ordered=0.0))
        shape = len(rows), max((len(row.candidates) for row in rows), default=0)
        table = cls(np.zeros((*shape, 3)), np.zeros(shape, bool), np.zeros(shape, bool))
        for i, row in enumerate(rows):
            for k, one in enumerate(row.candidates):
                own = one.evidence
                table.features[i, k] = log_prior(own, rest), own.log_odds or 0.0, own.ordered
                table.right[i, k], table.real[i, k] = one.laid_out is not None, True
        return table

    def most_likely(self, ordered: float, *, with_log_odds: bool) -> NDArray[np.float64]:
        """The three weights that fit best.

        Args:
            ordered: of orderings to begin with; it stays where the rows have none.
        """
        from scipy.optimize import minimize

        used = np.array([1.0, float(with_log_odds), 1.0])

        def loss(weights: NDArray[np.float64]) -> float:
            return -float(self.log_likelihoods(weights * used).mean())

        return np.asarray(minimize(loss, [1.0, 0.0, ordered], method="L-BFGS-B").x * used)

    def log_likelihoods(self, weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """(rows,) log of the probability to draw a right candidate, each with softmax(features @ weights)."""
        from scipy.special import logsumexp

        score = self.features @ np.asarray(weights)
        right, real = (np.where(which, score, -np.inf) for which in (self.right, self.real))
        return np.asarray(logsumexp(right, axis=1) - logsumexp(real, axis=1))


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
