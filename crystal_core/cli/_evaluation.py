"""Options that the evaluations share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystal_core.conditions import REFINER_STEPS
from crystal_core.paths import data_file

if TYPE_CHECKING:
    from crystal_core.relax.potential import Potential

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        callback=data_file,
        help="Parquet file of the data schema, CSV with CIFs, or folder of CIFs; also by name from CRYSTAL_DATA.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option("--split", help="train, val, test or all; default: val where the data have it, else all."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="Size of a fixed random subset (seed 0) of the rows.")
]
RELAX_SECONDS = 120.0
RelaxSeconds = Annotated[
    float, typer.Option("--relax-seconds", min=1.0, help="Time limit of one relaxation.")
]
WriteCard = Annotated[bool, typer.Option("--write-card", help="Write the result onto the model's card.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="Processes that judge and relax.")]


def shown(path: Path) -> str:
    """A file as a command on a card names it: relative paths as they were given, others by name."""
    return path.name if path.is_absolute() else path.as_posix()


def loaded_potential(device: str) -> Potential:
    """The potential that evaluations relax with."""
    from crystal_core.relax.potential import load_potential

    return load_potential("chgnet", device)


def drafts_words(used: Mapping[str, Any]) -> str:
    """How drafts were written and refined, for the protocol of a card.

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
