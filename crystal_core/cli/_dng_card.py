"""Card entries of a de novo evaluation: shares and distances, the protocol, and the command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.cli._evaluation import drafts_words, relax_words

if TYPE_CHECKING:
    from crystal_core.requests import SamplerTuning

SHARES = (
    "structure_valid",
    "composition_valid",
    "valid",
    "plausible",
    "cov_recall",
    "cov_precision",
    "unique",
    "novel",
)
AFTER_RELAXING = ("stable", "metastable", "sun", "msun")
DISTANCES = ("wdist_density", "wdist_n_elements", "rmsd_relaxed")
TUNING = {
    "tau_used": "corrector strength",
    "noise_scale_used": "its noise",
    "type_temperature_used": "temperature of the types",
    "remasking_used": "remasking",
}
CORRECTOR = ("tau_used", "noise_scale_used")
# draft setting → command-line option, where the names differ
OPTIONS = {
    "start_draft": "start",
    "refine_from": "tau",
    "top_p": "top-p",
    "back_end": "back-end",
    "charge_balance": "charge-balance",
}


def keep_report(
    model: str, report: dict[str, Any], tuned: SamplerTuning, baseline: str | None = None
) -> None:
    """One entry per share on the card; distances, the loose tolerances and the command stand with ``valid``.

    What only relaxing tells has the command, too: a later report without relaxing takes the place of
    ``valid``. The shares of a baseline go into the stored results of baselines, with one command for all.
    """
    from crystal_core.cards import write_card
    from crystal_core.evaluation.generation_references import keep_de_novo_baseline
    from crystal_core.registry.store import find_card
    from crystal_core.requests import tuning_words
    from crystal_core.workflows.evaluate_dng import cutoffs_named

    folder, used = None if baseline else find_card(model).folder, report["settings"]
    split, cutoffs, relaxed = used["split"], report["cutoffs"], used.get("relax", False)
    rows = f"{report['n_known']} rows" + (
        " (fixed random subset, seed 0)" if used["limit"] else " (the whole split)"
    )
    sampler, draft = used.get("sampler_used"), used.get("draft", {})
    corrects = (sampler or "").startswith("pc")
    values = {
        words: used[key]
        for key, words in TUNING.items()
        if key in used and (corrects or key not in CORRECTOR)
    }
    strength = "".join(f", {words} {value:g}" for words, value in values.items())
    how = f"{sampler}, {used['steps_used']} steps{strength}, " if sampler else ""
    balanced = "charge_balance_used" in used
    how += "compositions charge-balanced by exchanging elements, " if balanced and "draft" not in used else ""
    if "draft" in used:
        how = f"{drafts_words({key.removesuffix('_used'): value for key, value in used.items()})}, {how}"
    calls = "" if baseline else f"{how}{used['network_calls_per_sample']} network calls, "
    protocol = (
        f"{report['n']} crystals, {calls}seed {used['seed']}; against {rows} of {split}; SMACT table "
        f"{used['oxidation_states']}; coverage cut-offs {cutoffs['structure']:g} and "
        f"{cutoffs['composition']:g}; new: not among {report['novel_means']['rows']} "
        f"{report['novel_means']['name']}, StructureMatcher(0.2, 0.3, 5); {report['ci95_means']}"
        + (f"; relaxed with {used['potential']}{_bias_words(report['relaxation'])}" if relaxed else "")
    )
    options = f" --limit {used['limit']}" if used["limit"] else ""
    options += f" --sampler {sampler} --steps {used['steps_used']}" if sampler else ""
    options += "".join(
        f" --{OPTIONS.get(name, name)}" + ("" if value is True else f" {value}")
        for name, value in draft.items()
    )
    options += " --charge-balance" if balanced and "draft" not in used else ""
    options += "".join(f" {word}" for word in tuning_words(asdict(tuned)))
    options += f" --reference-set {used['reference_set']}" if used["reference_set"] != used["data"] else ""
    options += (
        f" --cutoffs {cutoffs['of']}" if cutoffs["of"] != cutoffs_named(None, Path(used["data"])) else ""
    )
    options += relax_words(used)
    source = f"--baseline {baseline}" if baseline else f"--model {model}"
    command = (
        f"crystal-core evaluate dng --data {used['data']} {source} --split {split} --n "
        f"{report['n']}{options} --seed {used['seed']}"
    )
    if baseline:
        shares = {
            key: {"value": report[key], "ci95": report["ci95"][key]}
            for key in (*SHARES, *AFTER_RELAXING)
            if report.get(key) is not None
        }
        about = {"data": used["data"], "protocol": protocol, "command": command}
        keep_de_novo_baseline(baseline, {"n": report["n"], **shares, **about})
    if folder is None:
        return
    # other than the card's own way of drafting and refining
    way = f"_{Path(draft['back_end']).name}" if "back_end" in draft else ""
    way += f"_{draft['refiner']}" if "refiner" in draft else ""
    way += "_charge_balanced" if balanced else ""
    entries: dict[str, dict[str, Any]] = {
        f"{key}{way}_{split}": {
            "value": report[key],
            "ci95": report["ci95"][key],
            "n": report["n_known" if key == "cov_recall" else "n"],
            "data": used["data"],
            "protocol": protocol,
        }
        | ({"command": command} if key in AFTER_RELAXING else {})
        for key in (*SHARES, *AFTER_RELAXING)
        if report.get(key) is not None
    }
    entries[f"valid{way}_{split}"] |= {
        key: report[key] for key in DISTANCES if report.get(key) is not None
    } | {
        "unique_loose": report["loose"]["unique"],
        "novel_loose": report["loose"]["novel"],
        "n_failed": report["n_failed"],
        "command": command,
    }
    write_card(folder, {"metrics": entries})


def _bias_words(relaxation: dict[str, Any]) -> str:
    """By how much the potential is off on average; empty if unmeasured.

    The shares of stable crystals do not correct for it.
    """
    bias = relaxation["e_above_hull_bias_ev"]
    return (
        ""
        if not bias
        else f", whose energy above the hull is {abs(bias):g} eV/atom too "
        f"{'low' if bias < 0 else 'high'} on average"
    )
