"""Tables of the property predictor: errors, ways to train an adapter, the worth of pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crystal_core.evaluation.statistics import rounded
from crystal_core.registry.store import find_card
from crystal_core.workflows.documents.markdown import block, seeds_of
from crystal_core.workflows.documents.numbers import digits, measured, percent, plain
from crystal_core.workflows.documents.property_errors import PropertyError, property_errors
from crystal_core.workflows.pretraining_study import VARIANT_TITLES, studies_of

CARD = "crysldnet"
BASELINES = {
    "composition": "composition alone",
    "chgnet-features": "CHGNet features",
    "nearest": "nearest known crystal",
    "mean": "always the mean",
}
WAYS = {
    "start": "PBE heads, as they are",
    "line": "PBE heads, then a straight line",
    "heads": "new heads alone",
    "lora": "low-rank changes and heads",
    "full": "whole encoder and heads",
}


def properties() -> str:
    """Errors on test rows beside baselines measured on the same rows, and the nearest published value."""
    errors = property_errors(find_card(CARD).metrics)
    caption = (
        f"Mean absolute errors of `{CARD}` on test rows (ROC AUC for the metal), "
        f"{seeds_of(error.metric for error in errors)}, with 95 % bootstrap intervals; baselines on the "
        "same rows. Bold: its interval and the baselines' do not overlap. * leak: CHGNet was trained on the "
        "energies of these crystals."
    )
    rows = [_property_row(error) for error in errors]
    return block(caption, rows, (error.metric["command"] for error in errors))


def adapters() -> str:
    """Ways to fit the HSE band gap with a fifth of its labels."""
    metrics = find_card("crysldnet-band_gap_hse_ev").metrics
    by_way = {m["way"]: m for m in metrics.values() if isinstance(m, Mapping) and m.get("way") in WAYS}
    rows = [
        {
            "trained": WAYS[way],
            "labels": plain(metric["n_train"]),
            "MAE, eV": measured(metric),
            "± over seeds": rounded(metric["std"], 3) if "std" in metric else None,
            "crystals new to the encoder": digits(metric["not_seen"], None),
        }
        for way, metric in sorted(by_way.items(), key=lambda item: list(WAYS).index(item[0]))
    ]
    first = by_way["lora"]
    caption = (
        f"{first['n']} test crystals ({first['n_not_seen']} of them new to the encoder), mean of "
        f"{first['seeds']} seeds, {first['protocol'].rpartition('; ')[2]}; "
        "95 % intervals: bootstrap over the crystals."
    )
    return block(caption, rows, [first["command"]])


def pretraining() -> str:
    """Errors after fine-tuning from each pretraining, one table for each encoder that was compared."""
    return "\n\n".join(_pretraining_study(study) for study in studies_of(find_card(CARD).extra))


def _pretraining_study(study: Mapping[str, Any]) -> str:
    rows: dict[str, dict[str, str | None]] = {}
    lists = (study[name] for name in ("pretraining", "labels", "mae", "std", "latent_std", "effective_rank"))
    for kind, n, mae, std, latent_std, rank in zip(*lists, strict=True):
        row = rows.setdefault(kind, {"pretraining": VARIANT_TITLES.get(kind, kind)})
        row[f"{plain(n)} labels"] = f"{rounded(mae, 3)} ± {rounded(std, 3)}"
        row["latents: std"] = digits(latent_std, None) if latent_std != "" else None
        row["effective rank"] = digits(rank, None) if rank != "" else None
    labels = [f"{plain(n)} labels" for n in sorted(set(study["labels"]))]
    names = ["pretraining", *labels, "latents: std", "effective rank"]
    caption = (
        f"{study['encoder']}. {study['metric']}: mean and standard deviation of {study['seeds'][0]} seeds; "
        f"{study['protocol']}; always the mean: {rounded(study['mae_of_mean'], 3)}. Latents after the "
        "pretraining: their standard deviation, and how many directions carry it."
    )
    ordered = [{name: row.get(name) for name in names} for row in rows.values()]
    return block(caption, ordered, [study["command"]])


def _property_row(error: PropertyError) -> dict[str, str | None]:
    metric, score = error.metric, error.metric["metric"] != "MAE"
    unit = error.unit or (metric["metric"] if score else "")
    apart = all(_apart(metric, baseline, score=score) for baseline in error.baselines.values())
    row: dict[str, str | None] = {
        "property": ", ".join(filter(None, (error.spec.title, unit))),
        "crysldnet": _bold(error.value, apart=apart),
    }
    for name, words in BASELINES.items():
        if name in error.baselines:
            leak = "*" if "leaked" in error.baselines[name].get("note", "") else ""
            row[words] = error.number(error.baselines[name]["value"]) + leak
    covered = metric.get("coverage90")
    row |= {
        "n": plain(metric["n"]),
        "90 % intervals hold": percent(covered) if covered else None,
    }
    return row | ({"published": error.published_value} if error.published else {})


def _bold(text: str, *, apart: bool) -> str:
    value, _, interval = text.partition(" ")
    return f"**{value}** {interval}" if apart else text


def _apart(metric: Mapping[str, Any], other: Mapping[str, Any], *, score: bool) -> bool:
    """Whether the metric is better than the other one and their intervals do not overlap."""
    if "ci95" not in metric or "ci95" not in other:
        return False
    if score:
        return metric["ci95"][0] > other["ci95"][1]
    return metric["ci95"][1] < other["ci95"][0]
