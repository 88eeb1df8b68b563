"""Tables of generators: match rates, new crystals, stability, ablations, relaxing, refinement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from crystal_core.cards import ModelCard
from crystal_core.evaluation.generation_references import (
    de_novo_baselines,
    published_de_novo,
    published_stability,
    published_structure_prediction,
)
from crystal_core.evaluation.statistics import rounded, wilson
from crystal_core.paths import checkpoints_dir
from crystal_core.registry.store import find_card, list_cards
from crystal_core.workflows.documents.markdown import block, seeds_of
from crystal_core.workflows.documents.numbers import measured, percent, plain

SHIPPED = (  # in the order of the tables
    "kldm-csp-mp",
    "kldm-csp-perov5",
    "prototype",
    "kldm-dng-mp",
    "kldm-dng-perov5",
    "crysllmgen-mp",
    "crysllmgen-tiny",
    "crysllmgen-smollm2",
    "diffcsp-refiner-mp",
    "crysldnet",
    "crysldnet-generator",
    "crysldnet-ranking",
)
MATCH, VALID = "match_rate_test", "structure_valid_test"
SHARES = {
    "structure_valid": "structures valid",
    "composition_valid": "compositions valid",
    "plausible": "plausible distances",
    "cov_recall": "coverage, recall",
    "cov_precision": "coverage, precision",
    "unique": "distinct",
    "novel": "new",
}
WAYS = {  # of generating, other than the card's own: part of a metric's name → words after the model
    "_smollm2": ", drafts of SmolLM2",
    "_kldm": ", refined by KLDM",
    "_diffcsp": ", refined by DiffCSP",
    "_charge_balanced": ", charge-balanced",
}
STABLE = {
    "stable": "on or below the hull",
    "metastable": "at most 0.1 eV/atom above the hull",
    "sun": "on or below the hull, distinct and new",
    "msun": "at most 0.1 eV/atom above the hull, distinct and new",
}
SIZES = {"atoms_1_to_5": "1–5 atoms", "atoms_6_to_10": "6–10", "atoms_11_to_20": "11–20"}
BASELINES = {
    "random": "random symmetric cells (PyXtal)",
    "substitution": "elements substituted into known prototypes",
    "training": "training rows",
}
ABLATIONS = {
    "baseline": "the published method, simplified parametrisation",
    "no-mean-free": "noise, velocities and targets keep their mean; the network's output has none",
    "full": "the network predicts the whole velocity score",
    "initial-velocity": "as `full`, and atoms start with unit normal velocities",
    "brownian": "wrapped-normal noise without velocities (Riemannian)",
    "euclidean": "Gaussian noise on unwrapped coordinates",
}
ABLATED = "kldm-csp-perov5"
REFINERS = ("kldm", "diffcsp")
UNREFINED = {"noise": "noise, without the draft"}
REFINED = {"drafts": "the draft, not refined", "rows": "the known crystal, rounded as text"}  # by source
INTERVALS = "95 % intervals: Wilson for shares, bootstrap for RMSE."


def structure_prediction() -> str:
    """Match rates of every card on test rows, beside published ones."""
    measured_cards = [(card, card.metrics[MATCH]) for card in _cards_with(MATCH) if not _is_ablation(card)]
    rows: list[dict[str, str | None]] = [
        {
            "model": f"`{card.name}`",
            "test rows": f"{plain(metric['n'])} of {data_words(metric)}",
            "match": measured(metric),
            **{words: percent(metric[key]) for key, words in SIZES.items() if key in metric},
            "RMSE": rmse(metric),
            "sampler": sampler_words(metric),
        }
        for card, metric in measured_cards
    ]
    rows += [
        {
            "model": f"{entry['method']}, published",
            "test rows": f"{entry['data']}, {entry['protocol']}",
            "match": percent(entry["match_rate"]),
            "RMSE": rounded(entry["rmse"], 3) if "rmse" in entry else None,
        }
        for entry in published_structure_prediction()
    ]
    metrics = [metric for _, metric in measured_cards]
    caption = (
        f"One sample a row, {seeds_of(metrics)}. A match: StructureMatcher(ltol 0.3, stol 0.5, 10°); RMSE "
        f"over matched cells, in units of (V/N)^(1/3). {INTERVALS} Published values: "
        f"{_sources(published_structure_prediction())}."
    )
    return block(caption, rows, (metric["command"] for metric in metrics))


def de_novo() -> str:
    """Validity, coverage, repeats, novelty of 1,000 new crystals per card, baseline and publication."""
    rows: list[dict[str, str | None]] = []
    metrics: list[Mapping[str, Any]] = []
    measured_ways = [(card, way) for card in _cards_with(VALID) for way in _ways(card.metrics)]
    for card, way in measured_ways:
        metric = card.metrics[f"valid{way}_test"]
        metrics.append(metric)
        rows.append(
            {
                "model": f"`{card.name}`{_way_words(way)}",
                "crystals": plain(metric["n"]),
                "test rows": f"{plain(_compared_rows(metric))} of {data_words(metric)}",
            }
            | {words: _share(key, card.metrics.get(f"{key}{way}_test")) for key, words in SHARES.items()}
            | {"sampler": sampler_words(metric)}
        )
    for name, entry in de_novo_baselines().items():
        row: dict[str, str | None] = {
            "model": BASELINES[name],
            "crystals": plain(entry["n"]),
            "test rows": f"{plain(_compared_rows(entry))} of {data_words(entry)}",
        }
        rows.append(row | {words: measured(entry[key]) for key, words in SHARES.items() if key in entry})
    for entry in published_de_novo():
        row = {
            "model": f"{entry['method']}, published",
            "crystals": "10,000",
            "test rows": f"{entry['data']}, complete",
        }
        rows.append(row | {words: percent(entry[key]) for key, words in SHARES.items() if key in entry})
    caption = (
        f"{seeds_of(metrics).capitalize()}; published rows state no interval. 95 % intervals: Wilson for "
        "shares of the crystals, bootstrap for coverage (no interval where only another kind was measured). "
        "Fewer crystals recall less of a test set. Published "
        f"values: {_sources(published_de_novo())}."
    )
    commands = [metric["command"] for metric in metrics]
    return block(caption, rows, [*commands, *(entry["command"] for entry in de_novo_baselines().values())])


def stability() -> str:
    """Shares of new crystals near the hull after relaxing, per card and way, beside published ones."""
    rows: list[dict[str, str | None]] = []
    metrics: list[Mapping[str, Any]] = []
    for card, way, split in _relaxed_ways():
        of = {key: card.metrics[f"{key}{way}_{split}"] for key in STABLE}
        metrics.append(of["stable"])
        moved = card.metrics[f"valid{way}_{split}"].get("rmsd_relaxed")
        row: dict[str, str | None] = {
            "model": f"`{card.name}`{_way_words(way)}",
            "n": plain(of["stable"]["n"]),
        }
        row |= {words: measured(of[key]) for key, words in STABLE.items()}
        rows.append(row | {"moved by relaxing (RMSD, Å)": None if moved is None else f"{moved:.2f}"})
    for entry in published_stability():
        shares = {words: percent(entry[k]) for k, words in STABLE.items()}
        rows.append({"model": f"{entry['method']}, published", **shares})
    bias = re.search(r"energy above the hull is (.+? on average)", metrics[0]["protocol"])
    caption = (
        f"New crystals relaxed with CHGNet, {seeds_of(metrics)}; 95 % intervals: Wilson."
        + (f" The energy above the hull is an estimate, {bias[1]}." if bias else "")
        + f" Published values, by other hulls and samples: {_sources(published_stability())}."
    )
    return block(caption, rows, [metric["command"] for metric in metrics])


def _relaxed_ways() -> list[tuple[ModelCard, str, str]]:
    """Card, way and split of every measured stability; validation rows only where no test rows were used."""
    found = []
    for card in list_cards("generator"):
        if not is_shipped(card):
            continue
        matches = [match for key in card.metrics if (match := re.fullmatch(r"stable(\w*)_(test|val)", key))]
        # in falling order of the splits' names, so that test comes after val and stays
        splits = sorted(((match[1], match[2]) for match in matches), key=lambda pair: pair[1], reverse=True)
        ways: dict[str, str] = dict(splits)
        found += [(card, way, split) for way, split in sorted(ways.items())]
    return sorted(
        found, key=lambda one: SHIPPED.index(one[0].name) if one[0].name in SHIPPED else len(SHIPPED)
    )


def ablations() -> str:
    """Match rates of the trained ablations of KLDM."""
    cards = {name: find_card(f"{ABLATED}-{name}") for name in ABLATIONS}
    rows = [
        {
            "model": f"`{name}`: {words}",
            "match": measured(cards[name].metrics[MATCH]),
            "RMSE": rmse(cards[name].metrics[MATCH]),
        }
        for name, words in ABLATIONS.items()
    ]
    metrics = [card.metrics[MATCH] for card in cards.values()]
    samples = sorted({round(card.training["samples"], -5) for card in cards.values()})
    caption = (
        f"{plain(metrics[0]['n'])} Perov-5 test rows, one sample a row, {seeds_of(metrics)}; each model saw "
        f"about {' or '.join(map(plain, samples))} training samples. Sampler: "
        f"{sampler_words(metrics[0])}. {INTERVALS}"
    )
    return block(caption, rows, (metric["command"] for metric in metrics))


def relaxing() -> str:
    """The effect of relaxing and ranking by energy on the match rate."""
    metric = find_card("kldm-csp-mp").metrics["match_rate_val_relaxed_best_of_4"]
    parts = {
        "one sample, relaxed": (metric["first_sample_match_rate"], metric["first_sample_rmse"]),
        "the relaxed sample of lowest energy": (
            metric["lowest_energy_match_rate"],
            metric["lowest_energy_rmse"],
        ),
        "any of four, as sampled": (metric["before_relaxing_match_rate"], metric["before_relaxing_rmse"]),
        "any of four, relaxed": (metric["value"], metric["rmse"]),
    }
    rows = [
        {
            "candidate": words,
            "match": percent(share, wilson(share * metric["n"], metric["n"])),
            "RMSE": rounded(off, 3),
        }
        for words, (share, off) in parts.items()
    ]
    caption = (
        f"{metric['n']} MP-20 validation rows, four samples of `kldm-csp-mp` a row, {seeds_of([metric])}; "
        f"{sampler_words(metric)}; 95 % intervals: Wilson."
    )
    return block(caption, rows, [metric["command"]])


def refinement() -> str:
    """What becomes of a language model's drafts, and of right drafts, refined from several times."""
    sampling = find_card("crysllmgen-mp").sampling
    rows: dict[tuple[str, str, str], dict[str, str | None]] = {}
    tables = {
        (source, name): table
        for source in REFINED
        for name in REFINERS
        if (table := sampling.get(f"refinement_of_{source}_{name}"))
    }
    times = sorted({time for table in tables.values() for time in table["start_time"] if time != ""})
    for (source, name), table in tables.items():
        energies = table.get("energy_above_known", [""] * len(table["start"]))
        columns = (table["start"], table["start_time"], table["match_rate"], table["rmse"], energies)
        for start, time, rate, off, energy in zip(*columns, strict=True):
            words = {**UNREFINED, "draft": REFINED[source]}.get(start, f"`{start}`")
            row = rows.setdefault(
                (source, name, start), {"refiner": name, "begins with": words, "no start time": None}
            )
            row |= {f"t = {each:g}": row.get(f"t = {each:g}") for each in times}
            parts = [percent(rate), rounded(off, 3), *([f"{energy:+.2f}"] if energy != "" else [])]
            row["no start time" if time == "" else f"t = {time:g}"] = ", ".join(parts)
    caption = (
        "Match rate, RMSE and, where a third number stands, the median of CHGNet's energy above the known "
        "crystal in eV/atom (single points), by refiner and start time. "
        + "; ".join(f"{name}: {table['protocol']}" for (_, name), table in tables.items())
        + ". These validation rows chose the start time, so no interval is given."
    )
    return block(caption, list(rows.values()), (table["command"] for table in tables.values()))


def text_form() -> str:
    """How well language models know the form of a crystal, and what their grammar removes."""
    rows, metrics = [], []
    for name in SHIPPED:
        for key, words in (("parse_rate", ""), ("parse_rate_charge_balanced", ", charge-balanced")):
            if (metric := find_card(name).metrics.get(key)) is None:
                continue
            metrics.append(metric)
            balance = metric.get("charge_percent")
            rows.append(
                {
                    "model": f"`{name}`{words}",
                    "n": plain(metric["n"]),
                    "parse without the grammar": measured(metric),
                    "parse with it": percent(metric["parsed_with_grammar"]),
                    "structures valid without the grammar": percent(metric["structures_without_grammar"]),
                    "structures valid with it": percent(metric["structures_with_grammar"]),
                    "removed of a token's probability": f"{metric['removed_percent']:.2g} %",
                    "of it for charge balance": None if balance is None else f"{balance:.2g} %",
                }
            )
    caption = (
        f"Drafts without a condition, {seeds_of(metrics)}. 95 % intervals: Wilson. The removed probability "
        "is a mean over the tokens of drafts written under the grammar."
    )
    return block(caption, rows, (metric["command"] for metric in metrics))


def sampler_words(metric: Mapping[str, Any]) -> str | None:
    """Sampler, steps and tuning, as the protocol of an entry states them.

    >>> used = "pc, 50 steps, corrector strength 0.5"
    >>> sampler_words({"protocol": f"9 rows of val, from noise; {used}, 100 network calls, seed 0"})
    'pc, 50 steps, corrector strength 0.5'
    """
    match = re.search(r"\b((?:pc-pf|pc|exp-em|em|ode), \d+ steps.*?), \d+ network calls", metric["protocol"])
    return match[1].replace(", its noise", ", noise").replace(" and noise", ", noise") if match else None


def rmse(metric: Mapping[str, Any]) -> str:
    """RMSE of the matched cells with its interval where one was measured."""
    ci95 = metric.get("rmse_ci95")
    return rounded(metric["rmse"], 3) + (f" ({rounded(ci95[0], 3)}–{rounded(ci95[1], 3)})" if ci95 else "")


def data_words(metric: Mapping[str, Any]) -> str:
    """The data set of an entry in words."""
    return {
        "perov5.parquet": "Perov-5",
        "mp20.parquet": "MP-20",
        "mp20_exact_partial.parquet": "MP-20, mostly binary and ternary",
        "mp20_assembled.parquet": "MP-20, mostly binary and ternary",
    }.get(metric["data"], metric["data"])


def _compared_rows(metric: Mapping[str, Any]) -> int:
    match = re.search(r"against (\d+) rows", metric["protocol"])
    return int(match[1]) if match else 0


def _share(key: str, metric: Mapping[str, Any] | None) -> str | None:
    if metric is None:
        return None
    # an interval of coverage counts only where it was resampled over the crystals
    other_kind = key.startswith("cov_") and "bootstrap" not in metric["protocol"]
    return percent(metric["value"]) if other_kind else measured(metric)


def _way_words(way: str) -> str:
    """A way in words; one without words stands as it is, so that no two rows look alike.

    >>> _way_words("_diffcsp_charge_balanced")
    ', refined by DiffCSP, charge-balanced'
    """
    for part, words in WAYS.items():
        way = way.replace(part, words)
    return way


def _ways(metrics: Iterable[str]) -> list[str]:
    """What stands between ``valid`` and ``_test`` in the names of a card's metrics, its own way first.

    >>> _ways(["valid_diffcsp_test", "structure_valid_test", "valid_test", "valid_val"])
    ['', '_diffcsp']
    """
    return sorted(match[1] for key in metrics if (match := re.fullmatch(r"valid(\w*)_test", key)))


def _cards_with(metric: str) -> list[ModelCard]:
    cards = [card for card in list_cards("generator") if metric in card.metrics and is_shipped(card)]
    return sorted(cards, key=lambda card: SHIPPED.index(card.name) if card.name in SHIPPED else len(SHIPPED))


def is_shipped(card: ModelCard) -> bool:
    """Whether the card lies in the repository, not in the user's folder."""
    return card.folder is not None and card.folder.parent == checkpoints_dir()


def _is_ablation(card: ModelCard) -> bool:
    return card.name.removeprefix(f"{ABLATED}-") in ABLATIONS


def _sources(entries: list[dict[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(f"{entry['method']}: {entry['source']}" for entry in entries))
