"""Tables of conditions in the prompt: how often new crystals meet them, and how near they come."""

from __future__ import annotations

from collections.abc import Mapping

from crystal_core.evaluation.statistics import rounded
from crystal_core.properties import PROPERTIES, labelled
from crystal_core.registry.store import find_card
from crystal_core.workflows.documents.generators import data_words
from crystal_core.workflows.documents.markdown import block, seeds_of
from crystal_core.workflows.documents.numbers import measured, percent, plain
from crystal_core.workflows.generation_conditions import GUIDED as CONDITIONS

DRAFTER, GENERATOR = "crysllmgen-mp", "crysldnet-generator"
SHARES = {
    "formula_match_test": "formula met, drafts without the grammar",
    "space_group_match_alone_test": "space group met, drafts as first written",
    "space_group_match_kldm_test": "space group met, the same refined by KLDM",
    "space_group_match_alone_rewritten_test": "space group met, drafts written again while they lack it",
    "space_group_match_kldm_rewritten_test": "space group met, as `generate` does: made anew without it",
}
# model and the way its crystals were made, as in the names of the entries → column
WAYS = {
    (DRAFTER, "alone"): f"`{DRAFTER}`, drafts",
    (DRAFTER, "kldm"): "refined by KLDM",
    (DRAFTER, "kldm_rewritten"): "as `generate` does: made anew while far from the target",
    (GENERATOR, "generated"): f"`{GENERATOR}`",
}


def conditions() -> str:
    """How often new crystals have the formula and the space group of their prompt."""
    metrics = find_card(DRAFTER).metrics
    shares = {words: metrics[key] for key, words in SHARES.items()}
    rows: list[dict[str, str | None]] = []
    for words, metric in shares.items():
        rows.append({"of the prompts": words, "met": measured(metric), "n": plain(metric["n"])})
        sizes: Mapping[str, float] = metric.get("by_n_atoms", {})
        rows += [
            {"of the prompts": f"… cells of {size.replace('-', ' to ')} atoms", "met": percent(share)}
            for size, share in sizes.items()
        ]
    caption = (
        f"Prompts with formula and space group of {data_words(next(iter(shares.values())))} test rows, "
        f"{seeds_of(shares.values())}; space groups within 0.2 Å. 95 % intervals: Wilson."
    )
    return block(caption, rows, (metric["command"] for metric in shares.values()))


def property_conditions() -> str:
    """How near the predicted properties of new crystals come to the only target of their prompt."""
    rows, metrics = [], []
    for name, label in CONDITIONS.items():
        spec = PROPERTIES[label]
        row: dict[str, str | None] = {"target": labelled(spec.title, spec.unit)}
        for (model, way), words in WAYS.items():
            metric = find_card(model).metrics[f"{name}_mae_{way}_val"]
            row[words] = (
                f"{rounded(metric['value'], 2)} ({rounded(metric['shuffled'], 2)}), "
                f"r {rounded(metric['correlation'], 2).replace('-', '−')}"
            )
            metrics.append(metric)
        rows.append(row)
    n = " to ".join(map(str, sorted({metric["n"] for metric in metrics})))
    caption = (
        f"{n} crystals, {seeds_of(metrics)}, without intervals; each has the value of one validation row as "
        "its only target. Mean distance between what `crysldnet` predicts for the crystal and the target, in "
        "brackets the distance from the targets of other rows, and the correlation r with the target."
    )
    return block(caption, rows, (metric["command"] for metric in metrics))
