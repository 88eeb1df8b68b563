"""Numbers of a model card as rows of tables, and their names in words.

Most have two to five short columns, so that a phone shows them whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crystal_core.evaluation.statistics import hundredfold
from crystal_core.workflows.documents.numbers import digits

_QUANTITIES = {
    "match_rate": "match rate",
    "match_rate_smact": "match rate, charge-balanced cells only",
    "structure_valid": "valid structures",
    "composition_valid": "valid compositions",
    "valid": "both valid",
    "plausible": "plausible distances",
    "cov_recall": "coverage, recall",
    "cov_precision": "coverage, precision",
    "unique": "distinct",
    "novel": "new",
    "stable": "on or below the hull",
    "metastable": "at most 0.1 eV/atom above the hull",
    "sun": "on or below the hull, distinct and new",
    "msun": "at most 0.1 eV/atom above the hull, distinct and new",
    "elements_right": "elements decoded from true latents",
    "compositions_right": "compositions decoded from true latents",
    "formula_match": "formula of the prompt met",
    "space_group_match": "space group of the prompt met",
    "band_gap_mae": "distance from the target band gap",
    "formation_energy_mae": "distance from the target formation energy",
    "e_above_hull_mae": "distance from the target energy above the hull",
    "rebuilt": "crystals rebuilt from true latents",
    "first_card": "first card of a prediction",
    "parse_rate": "drafts that parse without the grammar",
}
_CIRCUMSTANCES = {
    r"val(?=_|$)": "validation",
    r"test(?=_|$)": "test",
    "relaxed": "relaxed",
    "prior": "without energies",
    "quick": "quick",
    "normal": "normal",
    "thorough": "thorough",
    "generated": "new crystals",
    "alone": "not refined",
    "rewritten": "drafts written again for the space group",
    "smollm2": "drafts of SmolLM2",
    "kldm": "refined by KLDM",
    "diffcsp": "refined by DiffCSP",
    "from_prototypes": "from prototypes",
    "charge_balanced": "charge-balanced drafts",
    r"best_of_(\d+)": r"best of \1",
    "shipped": "table as shipped",
    "full": "full table",
    "perov5": "Perov-5",
    r"(\d+)-(\d+)_atoms": r"cells of \1 to \2 atoms",
    "unseen_formulas": "formulas outside the training",
    "seen_formulas": "formulas in the training",
}
SECOND_FILTER = "only sound, charge-balanced cells (DiffCSP's filter)"
_SIZES = re.compile(r"atoms_(\d+)_to_(\d+)")
_SHARES = {
    "unique_loose": "distinct, loose tolerances",
    "novel_loose": "new, loose tolerances",
    "by_chance": "always the most frequent element",
    "first_three": "one of the first three cards",
    "first_ten": "one of the first ten cards",
    "any_candidate": "any candidate",
    "parsed_with_grammar": "drafts that parse with the grammar",
    "structures_without_grammar": "valid structures among drafts without the grammar",
    "structures_with_grammar": "valid structures among drafts with the grammar",
}
_OF_SAMPLES = {
    "before_relaxing": "before relaxing",
    "first_sample": "first sample, relaxed",
    "lowest_energy": "lowest energy of the relaxed samples",
}
_NUMBERS = {
    "wdist_density": ("Wasserstein distance, density", " g/cm³"),
    "wdist_n_elements": ("Wasserstein distance, elements per crystal", ""),
    "rmsd_relaxed": ("displacement by relaxing (RMSD)", " Å"),
    "lengths_off": ("error of the cell lengths", " %"),
    "angles_off": ("error of the cell angles", "°"),
    "volume_off": ("error of the cell volume", " %"),
    "shuffled": ("distance from the targets of other rows", ""),
    "correlation": ("correlation with the target", ""),
    "removed_percent": ("probability of a token that the grammar removes", " %"),
    "charge_percent": ("probability of a token that charge balance removes", " %"),
    "volume_by_count": ("error of the volume guessed from the number of atoms", " %"),
}


def metric_words(name: str, metric: Mapping[str, Any]) -> str:
    """The name of a measured number in words: what was measured, and on what.

    An unknown name is split into its words.

    >>> metric_words("cov_recall_val", {"protocol": "100 crystals, pc, 50 steps"})
    'coverage, recall (validation, 100 made)'
    >>> metric_words("match_rate_test_twice", {}), metric_words("odd_one_out", {})
    ('match rate (test, twice)', 'odd one out')
    """
    key = max((key for key in _QUANTITIES if f"{name}_".startswith(f"{key}_")), key=len, default=None)
    if key is None:
        return name.replace("_", " ")
    rest = name.removeprefix(key)
    for pattern, words in _CIRCUMSTANCES.items():
        rest = re.sub(f"_{pattern}", f"|{words}|", rest)
    parts = [part.replace("_", " ").strip() for part in rest.split("|") if part.strip("_")]
    if match := re.match(r"(\d+) crystals,", metric.get("protocol", "")):  # recall, for one, rises with it
        parts.append(f"{int(match[1]):,} made")
    return _QUANTITIES[key] + (f" ({', '.join(parts)})" if parts else "")


def measured(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The measured numbers of a card, those on validation rows last."""
    entries = {
        name: value for name, value in metrics.items() if isinstance(value, Mapping) and "value" in value
    }
    return dict(sorted(entries.items(), key=lambda item: "val" in item[0].split("_")))


def metric_row(name: str, metric: Mapping[str, Any]) -> dict[str, Any]:
    """One measured number with its interval, in words."""
    value, ci95 = metric["value"], metric.get("ci95")
    is_error = "metric" in metric
    return {
        "metric": metric_words(name, metric),
        "value": f"{digits(value, None)} {metric.get('unit', '')}".strip() if is_error else percent(value),
        "95 % interval": f"{hundredfold(ci95[0])} – {hundredfold(ci95[1])} %"
        if ci95 and not is_error
        else None,
        "RMSE": metric.get("rmse"),
        "n": metric.get("n"),
        "measured on": metric.get("data"),
        "protocol": metric.get("protocol"),
    }


def percent(share: float, ci95: Any = None) -> str:
    """A share in words, with its interval where there is one.

    >>> percent(0.299, [0.2714, 0.3281])
    '29.9 % (27.1 – 32.8 %)'
    """
    interval = f" ({hundredfold(ci95[0])} – {hundredfold(ci95[1])} %)" if ci95 else ""
    return f"{hundredfold(share)} %{interval}"


def part_rows(metric: Mapping[str, Any]) -> list[dict[str, str]]:
    """A card's values beside a main number: by size, formulas seen, second filter, distances.

    A single size class says what the number itself says, and is left out.
    """
    values_of_size = [(size, value) for key, value in metric.items() if (size := _SIZES.fullmatch(key))]
    sizes = sorted((int(size[1]), int(size[2]), value) for size, value in values_of_size)
    rows = (
        [(f"cells of {low} to {high} atoms", percent(value)) for low, high, value in sizes]
        if len(sizes) > 1
        else []
    )
    by_size: Mapping[str, float] = metric.get("by_n_atoms", {})
    rows += [(f"cells of {size.replace('-', ' to ')} atoms", percent(v)) for size, v in by_size.items()]
    for key, words in (("seen", "formulas in the training"), ("unseen", "formulas outside the training")):
        if f"{key}_formulas" in metric:
            n = metric.get(f"{key}_formulas_n")
            rows.append((words, percent(metric[f"{key}_formulas"]) + (f" of {n}" if n else "")))
    if "second_filter_match_rate" in metric:
        rows.append(
            (SECOND_FILTER, percent(metric["second_filter_match_rate"], metric.get("second_filter_ci95")))
        )
    rows += [
        (
            words,
            percent(metric[f"{key}_match_rate"])
            + (f", RMSE {rmse:.3f}" if (rmse := metric.get(f"{key}_rmse")) else ""),
        )
        for key, words in _OF_SAMPLES.items()
        if f"{key}_match_rate" in metric
    ]
    rows += [(words, percent(metric[key])) for key, words in _SHARES.items() if key in metric]
    rows += [(words, f"{metric[key]:.3f}{unit}") for key, (words, unit) in _NUMBERS.items() if key in metric]
    return [{"part": part, "value": value} for part, value in rows]


def parts_table(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Parts of several measured numbers: a row per part, a column per number that has any."""
    rows: dict[str, dict[str, str]] = {}
    for name, metric in metrics.items():
        for row in part_rows(metric):
            rows.setdefault(row["part"], {"part": row["part"]})[metric_words(name, metric)] = row["value"]
    return list(rows.values())


def table_rows(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """Match rates of samplers with so many network calls."""
    rows = zip(table["sampler"], table["network_calls"], table["match_rate"], table["rmse"], strict=True)
    return [
        {"sampler": s, "calls": str(calls), "match": percent(rate), "RMSE": f"{rmse:.3f}" if rmse else "–"}
        for s, calls, rate, rmse in rows
    ]


def refine_rows(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """Match rates of prototypes refined from several times, the prototypes as they are first."""
    columns = (
        table["sampler"],
        table["start_time"],
        table["network_calls"],
        table["match_rate"],
        table["rmse"],
    )
    rows = list(zip(*columns, strict=True))
    if "without_refinement_match_rate" in table:
        rows.insert(
            0,
            (
                "as placed",
                "–",
                0,
                table["without_refinement_match_rate"],
                table.get("without_refinement_rmse"),
            ),
        )
    return [
        {
            "sampler": sampler,
            "t": str(start),
            "calls": str(calls),
            "match": percent(rate),
            "RMSE": f"{rmse:.3f}" if rmse else "–",
        }
        for sampler, start, calls, rate, rmse in rows
    ]


def sampling_notes(sampling: Mapping[str, Any]) -> list[str]:
    """The sentences on a card about how its sampler was chosen."""
    return [value for key, value in sampling.items() if key.endswith("_note") and isinstance(value, str)]
