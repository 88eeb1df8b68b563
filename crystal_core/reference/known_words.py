"""Sentences on how a cell compares with the known crystal whose arrangement it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KNOWN_ARRANGEMENT = "known type"


def known_word(novelty: Mapping[str, Any], same: str = "known") -> str:
    """``same`` for a crystal that matches a known one, or that it is an arrangement where lengths differ."""
    return KNOWN_ARRANGEMENT if is_strained(novelty) else same


def is_strained(novelty: Mapping[str, Any]) -> bool:
    """Whether a known crystal has lengths along linked atoms that differ from the published ones."""
    return bool(novelty.get("known")) and novelty.get("lengths") == "differ"


def lengths_words(novelty: Mapping[str, Any]) -> str:
    """How the lengths differ from those of the known crystal; empty where they agree."""
    kind, strain = novelty.get("lengths", "agree"), novelty.get("strain")
    if strain is None or kind not in ("differ", "spacing differs"):
        return ""
    what = "lengths differ" if kind == "differ" else "the spacing of its layers, chains or molecules differs"
    return f"{what} by up to {100 * strain:.0f} %"


def difference_words(novelty: Mapping[str, Any]) -> str:
    """How a cell differs from the crystal whose arrangement it has at another volume, to follow "but"."""
    volume = f"{novelty['volume_ratio']:.2f} times its volume"
    strain = novelty.get("strain")
    return f"{volume} and lengths that differ by up to {100 * strain:.0f} %" if strain else volume
