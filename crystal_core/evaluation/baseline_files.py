"""Stored results of the baselines; only ``crystal-core evaluate … --write-card`` writes them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from crystal_core.whole_files import write_whole

ABOUT = "Written by 'crystal-core evaluate … --write-card' with the command that each entry names."


@lru_cache(maxsize=8)
def read_baselines(path: Path) -> dict[str, dict[str, Any]]:
    """Baseline → its entries; empty without a file."""
    return json.loads(path.read_text(encoding="utf-8"))["baselines"] if path.is_file() else {}


def store_baseline(name: str, entries: dict[str, Any], path: Path) -> None:
    """Put entries of a baseline into a file, in place of earlier ones of the same names."""
    known = read_baselines(path)
    baselines = {**known, name: known.get(name, {}) | entries}
    data = {"about": ABOUT, "baselines": dict(sorted(baselines.items()))}
    write_whole(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    read_baselines.cache_clear()
