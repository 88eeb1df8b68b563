"""A comparison as the call on the command line that makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crystal_core.workflows.compare.request import LETTERS, ModelColumn

USUAL = {"sampler": "fast", "start": "noise", "tuning": "card", "name": ""}


def compare_words(asked: Mapping[str, Any]) -> list[str]:
    """The words of the call; given crystals are named as folders that hold them."""
    words = ["crystal-core", "compare"]
    for letter, column in zip(LETTERS, asked["columns"], strict=False):
        words += ["--column", _column(column) if "model" in column else f"folder=column-{letter.lower()}"]
    for formula in asked.get("formulas") or ():
        words += ["--formula", formula]
    words += ["--data", "targets.parquet"] if asked.get("targets") else []
    words += ["--z", str(asked["z"])] if asked.get("z") else []
    words += ["--cell"] if asked.get("exact_cell") else []
    words += ["--reference", "reference.cif"] if asked.get("reference") else []
    words += ["--n", str(asked.get("n", 4))]
    words += ["--energies"] if asked.get("energies") else []
    properties = asked.get("properties")
    words += ["--properties", ",".join(properties) or "none"] if properties is not None else []
    return words + (["--seed", str(asked["seed"])] if asked.get("seed") is not None else [])


def _column(column: Mapping[str, Any]) -> str:
    names = [name for name in ModelColumn.__dataclass_fields__ if name != "model"]
    set_here = {name: column.get(name) for name in names if column.get(name) not in (None, USUAL.get(name))}
    return ",".join(
        [f"model={column['model']}", *(f"{k}={str(v).replace(',', '')}" for k, v in set_here.items())]
    )
