"""Options that the evaluations share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.conditions import REFINER_STEPS

if TYPE_CHECKING:
    from crystal_core.relax.potential import Potential

RELAX_SECONDS = 120.0


def named_path(path: Path) -> str:
    """A file as a command on a card names it: relative paths as they were given, others by name."""
    return path.name if path.is_absolute() else path.as_posix()


def rates_by_kind(report: Mapping[str, Any], by_formula: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Match rates by number of atoms, of elements, and by known formula, named as on cards.

    Args:
        report: with ``by_n_atoms`` and ``by_n_elements``. by_formula: "seen" and "unseen" → rate and number.
    """
    parts = {
        f"atoms_{key.replace('-', '_to_')}": part["match_rate"] for key, part in report["by_n_atoms"].items()
    }
    parts |= {f"elements_{key}": part["match_rate"] for key, part in report["by_n_elements"].items()}
    parts |= {f"elements_{key}_n": part["n"] for key, part in report["by_n_elements"].items()}
    parts |= {f"{key}_formulas": part["match_rate"] for key, part in by_formula.items()}
    return parts | {f"{key}_formulas_n": part["n"] for key, part in by_formula.items()}


def relax_words(used: Mapping[str, Any]) -> str:
    """The words for relaxed crystals in a card's command; empty without relaxing."""
    if not used.get("relax"):
        return ""
    seconds = used["relax_seconds"]
    return " --relax" + (f" --relax-seconds {seconds:g}" if seconds != RELAX_SECONDS else "")


def loaded_potential(device: str) -> Potential:
    """The potential that evaluations relax with."""
    from crystal_core.relax.potential import load_potential

    return load_potential("chgnet", device)


def drafts_words(used: Mapping[str, Any]) -> str:
    """Words on drafting and refinement for a card's protocol.

    Args:
        used: ``settings_used`` of a model that writes drafts, names without their ending.
    """
    words = f"drafts of {used['back_end']} at temperature {used['temperature']:g}, top-p {used['top_p']:g}"
    words += ", charge-balanced by SMACT's test" if used.get("charge_balance") else ""
    if used["refiner"] == "none":
        return f"{words}, not refined"
    start = used["start_draft"]
    begins = "from noise" if start == "none" else f"{start} at t = {used['refine_from'] / REFINER_STEPS:g}"
    return f"{words}, refined by {used['refiner']} ({begins})"
