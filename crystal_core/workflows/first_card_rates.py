"""Match rates of the first cards from judged rows, under the ranking and under simpler rules beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.evaluation.matching import BINS
from crystal_core.evaluation.ranking import Evidence, Weights, ranking_of, tiers
from crystal_core.evaluation.statistics import wilson
from crystal_core.workflows.first_card_samples import SAMPLED

if TYPE_CHECKING:
    from crystal_core.workflows.first_card_rows import Judged, JudgedRow

FIRST = (1, 3, 10)  # cards


def cards_of(row: JudgedRow, rule: str, weights: Weights) -> list[float | None]:
    """RMSD to the row's crystal of every card in the order of a rule, None where a card is another crystal.

    Rules: "first prototype" keeps the order of the prototypes, "lowest energy" that of the relaxed energies,
    "earliest within 20 meV/atom" takes the earliest prototype so near to the lowest one, "prior" weighs
    without energies, "prior and single points" with those of the cells as laid out, "ranking" with the
    relaxed ones.
    """
    every = list(row.candidates)
    if rule == "first prototype":
        return [c.laid_out for c in every]
    if rule in ("prior", "prior and single points"):
        evidence = [
            replace(
                c.evidence, relaxed=None, single_point=None if rule == "prior" else c.evidence.single_point
            )
            for c in every
        ]
        return [every[i].laid_out for i in ranking_of(evidence, weights)]
    if rule == "ranking":
        order = ranking_of([c.after or c.evidence for c in every], weights)
        return [_rmsd_to_target(every[i]) for i in order]
    tier = tiers([c.evidence for c in every])
    order = sorted(range(len(every)), key=lambda i: (tier[i], every[i].evidence.relaxed or 0.0, i))
    if rule == "earliest within 20 meV/atom":
        energies = {i: every[i].evidence.relaxed for i in order if tier[i] == 0}
        lowest = min((e for e in energies.values() if e is not None), default=0.0)
        near = sorted(i for i, e in energies.items() if e is not None and e - lowest <= 0.02)
        order = near + [i for i in order if i not in near]
    return [_rmsd_to_target(every[i]) for i in order]


RULES = (
    "first prototype",
    "prior",
    "prior and single points",
    "lowest energy",
    "earliest within 20 meV/atom",
    "ranking",
)


# effort of an evaluation → the rule by which a run of it orders its cards
OWN_RULE = {"prior": "prior", "quick": "prior and single points", "normal": "ranking", "thorough": "ranking"}
NEEDS = {"first prototype": 0, "prior": 0, "prior and single points": 1}  # depth of rows; 2 for the others


def _rmsd_to_target(candidate: Judged) -> float | None:
    """RMSD of the cell that a card shows: relaxed where it was, else as laid out."""
    return candidate.relaxed if candidate.evidence.relaxed is not None else candidate.laid_out


def _nearest(candidate: Judged) -> float | None:
    """RMSD of the cell as laid out or as relaxed, whichever is nearer."""
    return min((r for r in (candidate.laid_out, candidate.relaxed) if r is not None), default=None)


def first_card_rates(rows: Sequence[JudgedRow], weights: Weights) -> dict[str, Any]:
    """Match rates of the first card, of the first three and ten, under each rule, with 95 % Wilson intervals.

    Rules that need energies leave out rows without them; "any candidate" is the most that a rule could reach.
    """
    rates: dict[str, Any] = {}
    for rule in RULES:
        own = [row for row in rows if row.depth >= NEEDS.get(rule, 2)]
        cards = [cards_of(row, rule, weights) for row in own]
        rates[rule] = {f"first {k}" if k > 1 else "first card": _rates(cards, k) for k in FIRST}
    rates["any candidate"] = _rates([[_nearest(c) for c in row.candidates] for row in rows], None)
    return rates


def by_kind(rows: Sequence[JudgedRow], rule: str, weights: Weights) -> dict[str, dict[str, dict[str, Any]]]:
    """Match rate of the first card under a rule, by number of atoms, of elements, and by known formula.

    A formula is known ("seen") where a candidate is another crystal of it, which then is the likeliest: the
    row's own crystal is left out, so such a row asks for another polymorph than the known one.
    """
    own = [row for row in rows if row.depth >= NEEDS.get(rule, 2)]
    cards = {row.id: cards_of(row, rule, weights) for row in own}
    atoms = {
        f"{low}-{high}" if high < 1000 else f">{low - 1}": [r for r in own if low <= r.n_atoms <= high]
        for low, high in BINS
    }
    elements = {str(n): [r for r in own if r.n_elements == n] for n in sorted({r.n_elements for r in own})}
    formulas = {
        "seen": [r for r in own if _formula_is_known(r)],
        "unseen": [r for r in own if not _formula_is_known(r)],
    }
    return {
        name: {key: _rates([cards[r.id] for r in part], 1) for key, part in parts.items() if part}
        for name, parts in (("by_n_atoms", atoms), ("by_n_elements", elements), ("by_formula", formulas))
    }


def _formula_is_known(row: JudgedRow) -> bool:
    return any(one.evidence.distance == 0 for one in row.candidates)


def seconds_of_a_row(rows: Sequence[JudgedRow]) -> dict[str, float] | None:
    """Median and 95 % quantile of the processor seconds of a row; None where no row has them."""
    seconds = [row.seconds for row in rows if row.seconds is not None]
    if not seconds:
        return None
    median, high = np.quantile(seconds, [0.5, 0.95])
    return {"median": round(float(median), 2), "quantile_95": round(float(high), 2), "n": len(seconds)}


Kind = Callable[[Evidence], bool]


def is_sampled(evidence: Evidence) -> bool:
    """Whether a model sampled the candidate."""
    return evidence.source in SAMPLED


def is_ordered(evidence: Evidence) -> bool:
    """Whether the candidate is an ordering of a prototype."""
    return evidence.ordered


def without(row: JudgedRow, kind: Kind) -> JudgedRow:
    """The row without the candidates of a kind, and without the agreement of samples."""
    candidates = tuple(
        replace(one, evidence=replace(one.evidence, agreement=1))
        for one in row.candidates
        if not kind(one.evidence)
    )
    return replace(row, candidates=candidates)


def changed_first_cards(rows: Sequence[JudgedRow], rule: str, weights: Weights, kind: Kind) -> dict[str, Any]:
    """How candidates of a kind change the first card under a rule, row by row, and how often one is shown.

    ``gained`` and ``lost`` count rows whose first card is right only with them, or only without.
    """
    gained = lost = n_shown = 0
    for row in rows:
        before, after = (_first(cards_of(one, rule, weights)) for one in (without(row, kind), row))
        gained += after and not before
        lost += before and not after
        n_shown += _shows(row, rule, weights, kind)
    rates = first_card_rates([without(row, kind) for row in rows], weights)
    alone = {**rates[rule], "any candidate": rates["any candidate"]}
    return {"gained": gained, "lost": lost, "shown_first": n_shown, "without": alone}


def _rates(cards: Sequence[Sequence[float | None]], first: int | None) -> dict[str, Any]:
    best = [min((r for r in row[:first] if r is not None), default=None) for row in cards]
    matched = [r for r in best if r is not None]
    low, high = wilson(len(matched), len(cards))
    return {
        "match_rate": round(len(matched) / max(1, len(cards)), 4),
        "ci95": [round(low, 4), round(high, 4)],
        "rmse": round(sum(matched) / len(matched), 4) if matched else None,
        "n": len(cards),
    }


def _first(cards: Sequence[float | None]) -> bool:
    return bool(cards) and cards[0] is not None


def _shows(row: JudgedRow, rule: str, weights: Weights, kind: Kind) -> bool:
    """Whether a candidate of a kind is on the first card: told by marking it alone as right."""

    def marked(one: Judged) -> Judged:
        mark = 0.0 if kind(one.evidence) else None
        return replace(one, laid_out=mark, relaxed=mark)

    return _first(cards_of(replace(row, candidates=tuple(map(marked, row.candidates))), rule, weights))
