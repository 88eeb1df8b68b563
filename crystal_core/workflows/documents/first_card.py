"""The table of first cards: by effort, and what parts of the evidence would show."""

from __future__ import annotations

from crystal_core.evaluation.statistics import rounded
from crystal_core.registry.store import find_card
from crystal_core.workflows.documents.generators import SIZES
from crystal_core.workflows.documents.markdown import block
from crystal_core.workflows.documents.numbers import percent, plain
from crystal_core.workflows.first_card_rates import OWN_RULE

KINDS = {"elements_2": "binary", "elements_3": "ternary", "elements_4": "quaternary"}
FORMULAS = {"unseen_formulas": "formula unknown", "seen_formulas": "other crystal of it known"}
EFFORTS = {  # of `evaluate first-card`, from the least to the most
    "prior": "all evidence but energies",
    "quick": "`--effort quick`: and energies of the cells as laid out",
    "normal": "`--effort normal`: and orderings, the likeliest relaxed",
    "thorough": "`--effort thorough`: more of each, and samples",
}
FULLEST = "normal"  # the effort whose rows have all energies
RULES = {  # of ordering, see workflows.first_card_rates
    "ranking": "all evidence",
    "first prototype": "the nearest relatives' choice alone",
    "prior": "without energies",
    "prior and single points": "with energies as laid out alone",
    "lowest energy": "lowest relaxed energy alone",
    "earliest within 20 meV/atom": "nearest relatives' choice within 20 meV/atom of the lowest energy",
}


def first_card() -> str:
    """Match of the first card of a prediction by effort, and of parts of its evidence alone."""
    metrics = find_card("prototype").metrics
    efforts = {name: metric for name in EFFORTS if (metric := metrics.get(f"first_card_{name}_test"))}
    rows: list[dict[str, str | None]] = []
    for name, metric in efforts.items():
        # parts are compared on the rows with all energies
        rules = RULES if name == FULLEST else {OWN_RULE[name]: ""}
        for rule, words in rules.items():
            rates = metric["rule"][rule]
            row: dict[str, str | None] = {
                "order of the cards": words,
                "test rows": plain(metric["n"]),
                "first": percent(rates["match_rate"], rates["ci95"]),
                "first three": percent(rates["first_three"]),
                "first ten": percent(rates["first_ten"]),
                "any": percent(metric["any_candidate"]),
                "RMSE": rounded(rates["rmse"], 3),
            }
            if rule == OWN_RULE[name]:
                row["order of the cards"] = f"**{EFFORTS[name]}**"
                if "cpu_seconds_median" in metric:
                    row["seconds of a core"] = (
                        f"{metric['cpu_seconds_median']:.1f} ({metric['cpu_seconds_quantile_95']:.0f})"
                    )
                row |= {
                    words: percent(metric[key])
                    for key, words in (SIZES | KINDS | FORMULAS).items()
                    if key in metric
                }
            rows.append(row)
    caption = (
        "Match of the first card, of one of the first three and ten, and of any candidate, on rows of the "
        "complete MP-20 test split, whose own crystals are left out; cell size given, one seed, 95 % "
        "intervals: Wilson. The last columns: first card by number of atoms, of elements, and by whether "
        "another crystal of the formula is known, which then is the likeliest. Seconds: median and "
        "95 % quantile of a row. Bold: what an "
        "effort shows; below it what parts of its evidence would show on the same rows. CHGNet learnt from "
        "relaxations of Materials Project crystals, test rows among them; the order without energies has no "
        "such help."
    )
    return block(caption, rows, (metric["command"] for metric in efforts.values()))
