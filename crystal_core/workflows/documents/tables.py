"""Every table that a document may hold, by name, and the command's work: fill all documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from crystal_core.cards import ModelCard
from crystal_core.errors import RequestError
from crystal_core.evaluation.statistics import rounded
from crystal_core.paths import REPOSITORY
from crystal_core.registry.store import find_card, list_cards
from crystal_core.whole_files import write_whole
from crystal_core.workflows.documents import conditions, first_card, generators, predictors
from crystal_core.workflows.documents.figures import figure
from crystal_core.workflows.documents.generators import SHIPPED, data_words, is_shipped, rmse, sampler_words
from crystal_core.workflows.documents.markdown import block, seeds_of, table
from crystal_core.workflows.documents.markers import documents, filled
from crystal_core.workflows.documents.numbers import measured, percent, plain

SPEED = Path(__file__).parents[2] / "benchmarks" / "measured.json"


def models() -> str:
    """Table of the shipped models: name, method, task, size and intended use."""
    rows = []
    for name in SHIPPED:
        card = find_card(name)
        rows.append(
            {
                "checkpoint": f"`{name}`",
                "method": card.method,
                "task": card.task,
                "parameters": plain(n) if (n := _parameters(card)) else None,
                "good for": card.good_for[:1].upper() + card.good_for[1:],
            }
        )
    return table(rows)


def _parameters(card: ModelCard) -> int:
    """Trained weights of a model; those of its parts where it has none of its own."""
    parts = [part for part in list_cards(card.kind) if part.name.startswith(f"{card.name}-")]
    own = [part for part in parts if is_shipped(part) and part.name not in SHIPPED]
    return card.parameters or sum(part.parameters for part in own)


def headline() -> str:
    """The few numbers of the README: one row a task."""
    rows: list[dict[str, str | None]] = []
    metrics = []
    for name, task in (
        ("prototype", "structure prediction"),
        ("kldm-csp-mp", "structure prediction"),
        ("kldm-csp-perov5", "structure prediction"),
    ):
        metric = find_card(name).metrics[generators.MATCH]
        metrics.append(metric)
        rows.append(
            {
                "task": f"{task}, {data_words(metric)}",
                "model": f"`{name}`",
                "result (95 % interval)": f"match {measured(metric)}, RMSE {rmse(metric).partition(' ')[0]}",
                "n": f"{plain(metric['n'])} rows",
                "sampler": sampler_words(metric) or "no network",
            }
        )
    ranked = "`prototype`, `crysldnet-ranking`"
    efforts = {
        "prior": ("without energies", ranked, "all evidence, no sampling"),
        "normal": ("with `--effort normal`", f"{ranked}, CHGNet", "the likeliest relaxed"),
    }
    for place, (effort, (words, models, how)) in enumerate(efforts.items(), start=1):
        shown = find_card("prototype").metrics[f"first_card_{effort}_test"]
        metrics.append(shown)
        rows.insert(
            place,
            {
                "task": f"the same, first card of a prediction {words}, {data_words(shown)}",
                "model": models,
                "result (95 % interval)": f"match {measured(shown)}, RMSE {rounded(shown['rmse'], 3)}; "
                f"no other crystal of the formula known: {percent(shown['unseen_formulas'])}",
                "n": f"{plain(shown['n'])} rows",
                "sampler": how,
            },
        )
    for name in ("kldm-dng-mp", "crysllmgen-mp"):
        card = find_card(name)
        metric, structures = card.metrics["composition_valid_test"], card.metrics[generators.VALID]
        metrics.append(metric)
        rows.append(
            {
                "task": f"new crystals, {data_words(metric)}",
                "model": f"`{name}`",
                "result (95 % interval)": f"valid structures {percent(structures['value'])}, "
                f"compositions {measured(metric)}",
                "n": f"{plain(metric['n'])} crystals",
                "sampler": sampler_words(metric),
            }
        )
    for name, words in (
        ("mae_formation_energy_per_atom_ev_test", "formation energy"),
        ("mae_band_gap_ev_test", "PBE band gap"),
    ):
        metric = find_card("crysldnet").metrics[name]
        metrics.append(metric)
        rows.append(
            {
                "task": f"{words}, available MEGNet test rows",
                "model": "`crysldnet`",
                "result (95 % interval)": f"MAE {measured(metric)} {metric['unit']}",
                "n": f"{plain(metric['n'])} crystals",
            }
        )
    caption = (
        f"{seeds_of(metrics).capitalize()} a row; structure prediction: one sample a test row. An interval "
        "covers the rows or crystals drawn, not other seeds. The published tuning of KLDM is corrector "
        "strength 0.25 and noise 1; "
        "the sampler column shows where ours differs (`--tuning published` uses the published one)."
    )
    return block(caption, rows)


def speed() -> str:
    """Seconds of one call of the network on several machines."""
    data = json.loads(SPEED.read_text(encoding="utf-8"))["sampling"]
    names = {
        "float32": "float32",
        "plain": "plain form, float32",
        "bfloat16": "bfloat16 (`--dtype bfloat16`)",
    }
    rows = [
        {"machine": entry["machine"]}
        | {
            words: " and ".join(f"{seconds:g}" for seconds in entry[key]) + " s"
            for key, words in names.items()
            if key in entry
        }
        for entry in data["machines"]
    ]
    return block(data["words"][:1].upper() + data["words"][1:] + ".", rows, [data["command"]])


def prediction_speed() -> str:
    """Processor seconds of predictions: the first run of a process, and one in a warmed worker."""
    data = json.loads(SPEED.read_text(encoding="utf-8"))["predict-structure"]
    warm = {(row["formula"], row["effort"]): row for row in data["rows"] if row["warm_up"]}
    rows = []
    for first in data["rows"]:
        if first["warm_up"]:
            continue
        later = warm.get((first["formula"], first["effort"]))
        rows.append(
            {
                "formula": first["formula"],
                "effort": first["effort"],
                "nothing loaded: first card": f"{first['first_card_cpu_seconds']:.1f} s",
                "nothing loaded: done": f"{first['cpu_seconds']:.1f} s",
                "of it importing torch": f"{first['phases']['torch']:.1f} s",
                "after the warm-up: first card": None
                if later is None
                else f"{later['first_card_cpu_seconds']:.1f} s",
                "after the warm-up: done": None if later is None else f"{later['cpu_seconds']:.1f} s",
            }
        )
    return block(data["words"], rows, data["commands"])


TABLES: dict[str, Callable[[], str]] = {
    "models": models,
    "headline": headline,
    "structure-prediction": generators.structure_prediction,
    "new-crystals": generators.de_novo,
    "stability": generators.stability,
    "ablations": generators.ablations,
    "relaxing": generators.relaxing,
    "first-card": first_card.first_card,
    "refinement": generators.refinement,
    "text-form": generators.text_form,
    "conditions": conditions.conditions,
    "property-conditions": conditions.property_conditions,
    "properties": predictors.properties,
    "adapters": predictors.adapters,
    "pretraining": predictors.pretraining,
    "speed": speed,
    "prediction-speed": prediction_speed,
}


def table_named(name: str) -> str:
    """The Markdown of one table.

    Raises:
        RequestError: there is no table of that name.
    """
    if name not in TABLES:
        raise RequestError(f"There is no table '{name}'; choose one of {', '.join(sorted(TABLES))}.")
    return TABLES[name]()


def fill_documents(root: Path | None = None, *, write: bool = True) -> dict[str, bool]:
    """Fill every marked place of README.md and docs/ from the cards and the stored results.

    Args:
        root: folder of the documents; the repository where absent.
        write: whether the files change; else they are only compared.

    Returns:
        file, relative to ``root`` → whether its text was out of date.
    """
    stale, root = {}, root or REPOSITORY
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        new = filled(text, table_named, figure, root)
        stale[str(path.relative_to(root))] = new != text
        if write and new != text:
            write_whole(path, new)
    return stale
