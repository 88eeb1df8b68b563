"""``python -m crystal_core.workflows.fit_ranking``: the weights of the ranking from judged validation rows.

Rows come from ``crystal-core evaluate first-card --split val --for-fit --out FILE``. Weights maximise the
likelihood that the score picks a candidate that is the row's crystal (a conditional logit); rows without
such a candidate tell nothing of it. Weights of the prior are fitted on all rows, those of energies on the
rows that were relaxed. What validation rows cannot tell is set, not fitted: their own crystal is always left
out, so the weight of being known cannot be learnt from them, and they hold no samples of a diffusion model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from crystal_core.workflows.first_card_rates import first_card_rates
from crystal_core.workflows.first_card_rows import JudgedRow, read_rows

SET: dict[str, Any] = {  # not fitted, see above; what weighs known crystals is fitted by fit_known and kept
    "noise": -4.0,
    "agreement": 0.5,
    "known": 3.0,
    "above_hull": 0.02,
    "atoms": -0.05,
    "ordered": -3.0,
}
FITTED = ("rank", "votes", "members", "log_odds")  # weights of the prior
PULL = 0.001  # per row, of a squared weight: a little data leaves the weights small
# before any row is seen: (factor, usual error in eV/atom) of an energy, and the factors within which each
# lies in two of three cases. In a trial with 49 validation rows the earliest prototype within 10 to 30
# meV/atom of the lowest was the best choice.
EXPECTED = {"relaxed": ((1.0, 0.01), (1.5, 2.0)), "single_point": ((1.0, 0.03), (1.5, 3.0))}
EXPECTED_SCALE = 1.5  # the same, of the log prior beside an energy
GAIN_SHARE = 0.95  # of the relaxations gain less than Weights.gains
STEPS_OF_GAINS = (1, 2, 5, 10, 20, 40, 60)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: fits, writes ``ranking.json``, prints the weights and the rates of every rule."""
    parser = argparse.ArgumentParser(prog="python -m crystal_core.workflows.fit_ranking", description=__doc__)
    parser.add_argument("--fit", type=Path, nargs="+", required=True, help="files of judged validation rows")
    parser.add_argument(
        "--check",
        type=Path,
        nargs="*",
        default=[],
        help="files of validation rows to leave out of the fit and report on",
    )
    parser.add_argument("--write", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    others = _rows(options.check)
    apart = {row.id for row in others}
    rows = [row for row in _rows(options.fit) if row.id not in apart]
    weights = fit(rows)
    blind = without_known(weights)
    about = {
        "fitted_on": f"{len(rows)} validation rows of MP-20, {sum(row.relaxes for row in rows)} of them "
        "relaxed (cells of up to "
        f"{max((row.n_atoms for row in rows if row.relaxes), default=0)} atoms, CHGNet)",
        "set_not_fitted": sorted(SET),
        "rates_on_fitted_rows": first_card_rates(rows, blind),
        "rates_on_other_validation_rows": first_card_rates(others, blind) if others else None,
        "expected_beforehand": "error_relaxed 0.01 eV/atom within a factor of 2, "
        "error_single_point 0.03 within one of 3, both factors 1 within one of 1.5",
        "command": "python -m crystal_core.workflows.fit_ranking",
    }
    save_weights(replace(weights, about=about), options.write)
    sys.stdout.write(options.write.read_text(encoding="utf-8"))


def fit(rows: Sequence[JudgedRow]) -> Weights:
    """Weights from judged rows.

    Raises:
        RequestError: no row has its crystal among its candidates, or none was relaxed.
    """
    relaxed = [row for row in rows if row.relaxes]
    useful = [row for row in rows if any(c.laid_out is not None for c in row.candidates)]
    if not useful or not relaxed:
        raise RequestError("Weights need rows with a right candidate, and relaxed rows among them.")
    start = replace(
        load_weights(),
        rank=0.0,
        votes=0.0,
        members=0.0,
        log_odds=0.0,
        gains=(),
        **SET,
    )
    prior = _maximised([_prior_features(row) for row in useful], [_hits(row, "laid_out") for row in useful])
    fitted: dict[str, Any] = dict(zip(FITTED, map(float, prior), strict=True))
    weights = replace(start, **fitted)
    scale, factor, error = _energy_weights(relaxed, without_known(weights), "relaxed")
    other_scale, other_factor, other_error = _energy_weights(relaxed, without_known(weights), "single_point")
    return replace(
        weights,
        **{name: round(scale * value, 4) for name, value in fitted.items()},
        relaxed=round(factor, 4),
        error_relaxed=round(error, 5),
        single_point=round(scale * other_factor / other_scale, 4),  # beside the same prior
        error_single_point=round(other_error, 5),
        gains=gains_of(relaxed),
    )


def gains_of(rows: Sequence[JudgedRow]) -> tuple[tuple[int, float], ...]:
    """Steps → energy (eV/atom) that 95 % of the relaxations gain at most from there on."""
    paths = [c.trace for row in rows for c in row.candidates if c.evidence.converged]
    gains = []
    for step in STEPS_OF_GAINS:
        left = [dict(path)[step] - path[-1][1] for path in paths if step in dict(path)]
        if len(left) >= 10:
            gains.append((step, round(float(np.quantile(left, GAIN_SHARE)), 4)))
    return tuple(gains)


def _rows(files: Sequence[Path]) -> list[JudgedRow]:
    rows: dict[str, JudgedRow] = {}
    for file in files:
        for row in read_rows(file):
            if row.id not in rows or row.relaxes:
                rows[row.id] = row
    return list(rows.values())


def _prior_features(row: JudgedRow) -> NDArray[np.float64]:
    """(candidates, weights): the features that the weights of the prior multiply."""
    nothing = Weights(
        rank=0.0,
        votes=0.0,
        members=0.0,
        noise=0.0,
        agreement=0.0,
        known=0.0,
        named=0.0,
        relaxed=0.0,
        error_relaxed=1.0,
        single_point=0.0,
        error_single_point=1.0,
        sigma_published=1.0,
    )
    ones: list[dict[str, Any]] = [{name: 1.0} for name in FITTED]
    units = [replace(nothing, **one) for one in ones]
    return np.array([[log_prior(c.evidence, unit) for unit in units] for c in row.candidates])


def _energy_weights(rows: Sequence[JudgedRow], prior: Weights, kind: str) -> tuple[float, float, float]:
    """Factor of the log prior, factor of an energy, and its error in eV/atom."""
    priors, above, hits = [], [], []
    for row in rows:
        energies = [getattr(c.evidence, kind) for c in row.candidates]
        own = [
            (c, e)
            for c, e in zip(row.candidates, energies, strict=True)
            if e is not None and c.evidence.plausible
        ]
        if not own:
            continue
        right = np.array([(c.relaxed if kind == "relaxed" else c.laid_out) is not None for c, _ in own])
        if right.any():
            values = np.array([e for _, e in own])
            priors.append(np.array([log_prior(c.evidence, prior) for c, _ in own]))
            above.append(values - values.min())
            hits.append(right)
    if not hits:
        raise RequestError("No relaxed row has its crystal among its candidates; collect more rows.")
    from scipy.optimize import minimize

    expected, factors = EXPECTED[kind]
    typical, spread = np.log([1.0, *expected]), np.log([EXPECTED_SCALE, *factors])

    def loss(logs: NDArray[np.float64]) -> float:
        scale, factor, error = np.exp(logs)
        scores = [scale * p - factor * np.log1p(e / error) for p, e in zip(priors, above, strict=True)]
        return _surprise(scores, hits) + float((((logs - typical) / spread) ** 2).sum()) / 2

    scale, factor, error = np.exp(minimize(loss, typical, method="L-BFGS-B").x)
    return float(scale), float(factor), float(error)


def _hits(row: JudgedRow, kind: str) -> NDArray[np.bool_]:
    return np.array([getattr(c, kind) is not None for c in row.candidates])


def _maximised(
    features: Sequence[NDArray[np.float64]], hits: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Weights that make right candidates likeliest, drawn with softmax(features @ weights)."""
    from scipy.optimize import minimize

    def loss(weights: NDArray[np.float64]) -> float:
        scores = [values @ weights for values in features]
        return _surprise(scores, hits) / len(hits) + PULL * float((weights**2).sum())

    return np.asarray(minimize(loss, np.zeros(features[0].shape[1]), method="L-BFGS-B").x)


def _surprise(scores: Sequence[NDArray[np.float64]], hits: Sequence[NDArray[np.bool_]]) -> float:
    """Minus the log of the probability to draw a right candidate with softmax(scores), over all rows."""
    from scipy.special import logsumexp

    return sum(
        float(logsumexp(score) - logsumexp(score[right])) for score, right in zip(scores, hits, strict=True)
    )


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
