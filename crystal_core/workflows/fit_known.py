"""How known crystals' published energies are weighed, from textbook formulas.

Command: ``python -m crystal_core.workflows.fit_known``.

PBE, which the published energies are of, binds too weakly: of two polymorphs it favours the less dense one
(anatase over rutile, cristobalite over quartz). The fit gives the energies a spread and a pressure that makes
up for it, and says what a name of AFLOW is worth. It is judged on formulas that it has not seen: each half of
the list is ranked by the fit on the other half.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crystal_core.chemistry.formula import parse_formula
from crystal_core.evaluation.ranking import WEIGHTS, Evidence, Weights, load_weights, ranking_of, save_weights
from crystal_core.evaluation.statistics import wilson
from crystal_core.generators.prototype.aflow_names import named_cells
from crystal_core.interruption import NOTHING_WRITTEN, ending_with_its_code
from crystal_core.reference.known_crystals import known_crystals
from crystal_core.workflows.known_candidates import evidence_of_known

TEXTBOOK = WEIGHTS.with_name("textbook.json")
# 1/eV, 1/Å3, log units: usual sizes of the weights, for the pull towards 0
SCALES = np.array([50.0, 0.5, 3.0, 4.0])


class Formula(NamedTuple):
    """The known crystals of one formula, and which of them a chemist names."""

    name: str
    evidence: list[Evidence]
    right: NDArray[np.bool_]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: fits, prints how unseen formulas are ranked, writes the weights."""
    parser = argparse.ArgumentParser(prog="python -m crystal_core.workflows.fit_known", description=__doc__)
    parser.add_argument("--write", type=Path, default=WEIGHTS)
    options = parser.parse_args(arguments)
    formulas = read_formulas()
    report = held_out(formulas)
    about = {**load_weights().about, "known_crystals": {**report, "command": parser.prog}}
    weights = replace(fit(formulas), about=about)
    save_weights(weights, options.write)
    sys.stdout.write(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def read_formulas() -> list[Formula]:
    """The textbook formulas whose crystal is among the known ones."""
    table = json.loads(TEXTBOOK.read_text(encoding="utf-8"))["formulas"]
    read = []
    for name, groups in table.items():
        wanted = {group for group, _ in named_cells(name)} | set(groups)
        crystals = known_crystals(parse_formula(name).atomic_numbers_of(1), wanted_groups=wanted)
        right = np.array([crystal.space_group in groups for crystal in crystals])
        if right.any():
            read.append(Formula(name, [evidence_of_known(crystal, name) for crystal in crystals], right))
    return read


def held_out(formulas: Sequence[Formula]) -> dict[str, object]:
    """How many first cards are right, each half ranked by the fit on the other half; and by energy alone."""
    halves = formulas[::2], formulas[1::2]
    wrong: list[str] = []
    for known, unseen in (halves, halves[::-1]):
        weights = fit(known)
        wrong += [one.name for one in unseen if not one.right[ranking_of(one.evidence, weights)[0]]]
    energy = replace(load_weights(), named=0.0, pressure=0.0, atoms=0.0)
    by_energy = sum(bool(one.right[ranking_of(one.evidence, energy)[0]]) for one in formulas)
    right = len(formulas) - len(wrong)
    return {
        "n": len(formulas),
        "first_card_right": right,
        "ci95": [round(x, 3) for x in wilson(right, len(formulas))],
        "wrong": sorted(wrong),
        "first_card_right_by_energy": by_energy,
    }


def fit(formulas: Sequence[Formula]) -> Weights:
    """Weights that make the named crystals likeliest, each drawn with probability softmax(score)."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    weights = load_weights()
    features = [np.array([_features(one) for one in formula.evidence]) for formula in formulas]
    sizes = [weights.atoms * np.log([max(1, one.atoms) for one in formula.evidence]) for formula in formulas]

    def loss(units: NDArray[np.float64]) -> float:
        surprise = 0.0
        for values, size, formula in zip(features, sizes, formulas, strict=True):
            score = values @ (units * SCALES) + size
            surprise += float(logsumexp(score) - logsumexp(score[formula.right]))
        return surprise + float((units**2).sum()) / 2

    slope, squeeze, named, unlabelled = minimize(loss, np.ones(4), method="L-BFGS-B").x * SCALES
    return replace(
        weights,
        sigma_published=round(1.0 / slope, 4),
        pressure=round(squeeze / slope, 5),
        named=round(named, 2),
        unlabelled=-round(unlabelled, 2),
    )


def _features(one: Evidence) -> list[float]:
    return [-(one.published or 0.0), -one.volume, float(one.named), -float(one.published is None)]


if __name__ == "__main__":
    with ending_with_its_code(NOTHING_WRITTEN):
        main()
