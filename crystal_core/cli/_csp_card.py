"""Card entries of a structure-prediction evaluation: rates, the protocol, and the command."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crystal_core.cli._evaluation import drafts_words, rates_by_kind, relax_words

if TYPE_CHECKING:
    from crystal_core.requests import SamplerTuning


def keep_report(model: str, report: dict[str, Any], tuned: SamplerTuning) -> None:
    """One entry on the card of the model, named after split, start and number of samples."""
    from crystal_core.cards import write_card
    from crystal_core.registry.store import find_card
    from crystal_core.requests import tuning_words

    card, used = find_card(model), report["settings"]
    if card.folder is None:
        return
    data, split, start = used["data"], used["split"], used["start"]
    moved = used.get("relax", False)
    name = (
        f"match_rate_{split}"
        + ("_relaxed" if moved else "")
        + ("" if start == "noise" else "_from_prototypes")
        + ("" if used.get("usual", True) else f"_{used['refiner']}")
        + ("" if used["samples"] == 1 else f"_best_of_{used['samples']}")
    )
    rows = f"{report['n']} rows" + (
        " (fixed random subset, seed 0)" if used["limit"] else " (the whole split)"
    )
    strength = f", corrector strength {used['tau']}" if "tau" in used else ""
    strength += f" and noise {used['noise_scale']}" if "noise_scale" in used else ""
    steps = (
        f"{used['sampler']}, {used['steps']} steps{strength}, "
        f"{used['network_calls_per_sample']} network calls"
        if used.get("steps")
        else "no network"
    )
    if start == "noise":
        origin = "from noise" if used.get("steps") else "placed on the nearest prototypes"
    else:
        origin = f"from the nearest prototypes at t = {used['start_time']}"
    if "refiner" in used:
        origin = drafts_words(used)
    limit = f" --limit {used['limit']}" if used["limit"] else ""
    options = f" --samples {used['samples']}" if used["samples"] != 1 else ""
    if "refiner" in used and not used["usual"]:
        options += f" --refiner {used['refiner']}"
    if used.get("steps") and used.get("usual", True):
        options += "".join(
            f" {word}" for word in ("--sampler", used["sampler"], "--steps", str(used["steps"]))
        )
        options += "".join(f" {word}" for word in tuning_words(asdict(tuned)))
    options += relax_words(used)
    options += f" --seen {used['seen']}" if "seen" in used else ""
    options += f" --start prototype --start-time {used['start_time']}" if start != "noise" else ""
    after = f"; relaxed with {used['potential']}" if moved else ""
    entry = {key: report[key] for key in ("rmse", "rmse_ci95", "ci95", "n", "n_failed")}
    for key in ("before_relaxing", "first_sample", "lowest_energy"):
        entry |= (
            {f"{key}_match_rate": report[key]["match_rate"], f"{key}_rmse": report[key]["rmse"]}
            if key in report
            else {}
        )
    parts = rates_by_kind(report, report["by_seen_formula"] or {})
    smact = report["filter"]["smact"]
    samples = f"{used['samples']} sample{'s' if used['samples'] > 1 else ''}"
    entry = (
        {"value": report["match_rate"]}
        | {k: v for k, v in entry.items() if v is not None}
        | parts
        | {
            "second_filter_match_rate": smact["match_rate"],
            "second_filter_ci95": smact["ci95"],
            "protocol": f"{rows} of {split}, {samples} a row, {origin}; {steps}, seed "
            f"{used['seed']}{after}; StructureMatcher(0.5, 0.3, 10), KLDM's filter; second filter: "
            "DiffCSP's (SMACT table smact14, structure, CrystalNN)",
            "data": data,
            "command": f"crystal-core evaluate csp --data {data} --model {model} --split "
            f"{split}{limit}{options} --seed {used['seed']}",
        }
    )
    write_card(card.folder, {"metrics": {name: entry}})
