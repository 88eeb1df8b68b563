"""A comparison as the call on the command line that makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crystal_core.workflows.compare.request import LETTERS, ModelColumn

USUAL = {"sampler": "fast", "start": "noise", "tuning": "card", "name": ""}


def compare_words(request: Mapping[str, Any]) -> list[str]:
    """The words of the call; given crystals are named as folders that hold them."""
    words = ["crystal-core", "compare"]
    for letter, column in zip(LETTERS, request["columns"], strict=False):
        words += ["--column", _column(column) if "model" in column else f"folder=column-{letter.lower()}"]
    for formula in request.get("formulas") or ():
        words += ["--formula", formula]
    words += ["--data", "targets.parquet"] if request.get("targets") else []
    words += ["--z", str(request["z"])] if request.get("z") else []
    words += ["--cell"] if request.get("exact_cell") else []
    words += ["--reference", "reference.cif"] if request.get("reference") else []
    words += ["--n", str(request.get("n", 4))]
    words += ["--energies"] if request.get("energies") else []
    properties = request.get("properties")
    words += ["--properties", ",".join(properties) or "none"] if properties is not None else []
    return words + (["--seed", str(request["seed"])] if request.get("seed") is not None else [])


def _column(column: Mapping[str, Any]) -> str:
    names = [name for name in ModelColumn.__dataclass_fields__ if name != "model"]
    set_here = {name: column.get(name) for name in names if column.get(name) not in (None, USUAL.get(name))}
    return ",".join(
        [f"model={column['model']}", *(f"{k}={str(v).replace(',', '')}" for k, v in set_here.items())]
    )
