"""Write a card: fields a program knows are replaced, those people wrote (limits, source, metrics) are kept."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEFAULTS = {"trained_on": "", "source": "trained here", "licence": "MIT", "limits": "", "good_for": ""}
NOT_MEASURED = "These weights are new and not measured yet; what stands here of data and source was written of earlier ones."


def write_card(folder: Path, fields: Mapping[str, Any]) -> Path:
    """Merge ``fields`` into the folder's card (top level and one table deep for metrics) and write it; returns the folder."""
    path = folder / "card.toml"
    old = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    merged = {**DEFAULTS, **old, **fields}
    for table in ("metrics", "sampling", "extra"):
        if table in old and table in fields:
            merged[table] = {**old[table], **fields[table]}
    path.write_text(to_toml(merged), encoding="utf-8")
    return folder


def forget_measurements(folder: Path) -> None:
    """Take from a card what was measured with weights that are about to be replaced: metrics, tables of samplers and limits.

    What was chosen (corrector strength, steps) stays in use; data and source are for whoever exported to correct.
    """
    path = folder / "card.toml"
    if not path.is_file():
        return
    card = tomllib.loads(path.read_text(encoding="utf-8"))
    chosen = {key: value for key, value in card.get("sampling", {}).items() if not (isinstance(value, dict) and "match_rate" in value)}
    card = {key: value for key, value in card.items() if key != "metrics"} | {"sampling": chosen, "limits": NOT_MEASURED}
    path.write_text(to_toml(card), encoding="utf-8")


def to_toml(data: Mapping[str, Any]) -> str:
    """TOML text of plain nested values: scalars first, then tables."""
    lines: list[str] = []
    _table(data, (), lines)
    return "\n".join(lines).strip() + "\n"


def _table(data: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    scalars = {k: v for k, v in data.items() if not isinstance(v, Mapping)}
    if path and (scalars or not data):
        lines += ["", "[" + ".".join(_key(p) for p in path) + "]"]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in scalars.items() if v is not None]
    for key, value in data.items():
        if isinstance(value, Mapping):
            _table(value, (*path, str(key)), lines)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
