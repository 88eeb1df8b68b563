"""Whole numbers of a sentence: atoms of a cell, and crystals."""

from __future__ import annotations

import re

from crystal_core.workflows.sentence.reader import Reader
from crystal_core.workflows.sentence.vocabulary import ANIONS, NUMBERS, PREFIX, STRUCTURE_TYPES

USUAL_MOST = 20  # atoms of the largest training cell, where only the least is asked for
WHOLE = rf"(\d+|{'|'.join(NUMBERS)})"
ATOMS = r"\s*-?\s*atoms?\b(?:\s*(?:per|in the|in a|in each)?\s*(?:primitive\s+)?(?:unit\s+)?cells?)?"
AT_MOST = r"(?:\b(?:at most|up to|no more than|not more than|max(?:imum)?(?: of)?)|≤|<=)\s*"
FEWER = r"(?:\b(?:fewer|less) than|<(?!=))\s*"
AT_LEAST = r"(?:\b(?:at least|no fewer than|no less than|min(?:imum)?(?: of)?)|≥|>=)\s*"
MORE = r"(?:\bmore than|>(?!=))\s*"
OR_FEWER, OR_MORE = r"\s*,?\s+or\s+(?:fewer|less)\b", r"\s*,?\s+or\s+more\b"
UNITS = r"m?eV|atom|element|component|dimension|g/|fold|valent|layer|wt|at\b"

KINDS = ("crystal", "structure", "candidate", "material", "compound", "sample")


def atoms(reader: Reader) -> None:
    """A number or range of atoms in a cell."""
    between = reader.take(rf"\b(?:between\s+|from\s+)?{WHOLE}\s*(?:to|and|-)\s*{WHOLE}{ATOMS}")
    if between:
        low, high = sorted(map(_whole, (between[1], between[2])))
    elif match := reader.take(rf"\b{WHOLE}\s*(?:±|\+\s*/?\s*-)\s*{WHOLE}{ATOMS}"):
        middle, spread = map(_whole, match.groups())
        low, high = max(1, middle - spread), middle + spread
    elif match := reader.take(rf"{AT_MOST}{WHOLE}{ATOMS}"):
        low, high = 1, _whole(match[1])
    elif match := reader.take(rf"{FEWER}{WHOLE}{ATOMS}"):
        low, high = 1, _whole(match[1]) - 1
    elif match := reader.take(rf"{AT_LEAST}{WHOLE}{ATOMS}"):
        low, high = _whole(match[1]), max(USUAL_MOST, _whole(match[1]))
    elif match := reader.take(rf"{MORE}{WHOLE}{ATOMS}"):
        low, high = _whole(match[1]) + 1, max(USUAL_MOST, _whole(match[1]) + 1)
    elif match := reader.take(rf"\b{WHOLE}(?:{ATOMS}{OR_FEWER}|{OR_FEWER}{ATOMS})"):
        low, high = 1, _whole(match[1])
    elif match := reader.take(rf"\b{WHOLE}(?:{ATOMS}{OR_MORE}|{OR_MORE}{ATOMS})"):
        low, high = _whole(match[1]), max(USUAL_MOST, _whole(match[1]))
    elif match := reader.take(rf"\b{WHOLE}{ATOMS}"):
        low = high = _whole(match[1])
    else:
        return
    reader.put("n_atoms", (low, high), f"{low} atoms" if low == high else f"{low} to {high} atoms")


def crystals(reader: Reader) -> None:
    """How many crystals."""
    groups = ("halide", "chalcogenide", "pnictide", "alloy")
    plural = "|".join(f"{name}s" for name in (*KINDS, *groups, *STRUCTURE_TYPES, *ANIONS))
    reader.rest = re.sub(
        rf"\b(?:{WHOLE}|an?)\s+(dozen|hundred)\b", _multiple, reader.rest, flags=re.IGNORECASE
    )
    number = rf"(?<![\w.-]){WHOLE}\b(?![\s-]*(?:{UNITS}|of\b|or more of\b))"
    if match := reader.take(rf"{number}(?=[\s,]+(?:[\w-]+[\s,]+){{0,3}}?(?i:{PREFIX})?(?:{plural})\b)"):
        reader.put("n", _whole(match[1]), f"{_whole(match[1])} crystals")


def _whole(word: str) -> int:
    return NUMBERS.get(word.lower()) or int(word)


def _multiple(match: re.Match[str]) -> str:
    """The digits of ``two dozen`` or ``a hundred``."""
    return str(_whole(match[1] or "one") * {"dozen": 12, "hundred": 100}[match[2].lower()])
