"""A sentence in one spelling: plain digits and dashes, a decimal point, and slips of one letter."""

from __future__ import annotations

import re
from functools import lru_cache

from crystal_core.workflows.sentence.vocabulary import (
    ANIONS,
    GROUPS,
    KEYWORDS,
    NUMBERS,
    SILENT,
    SPELLINGS,
    SYSTEMS,
    element_names,
)

SIGNS = str.maketrans("₀₁₂₃₄₅₆₇₈₉–—−‐‑’", "0123456789-----'")
# English words a letter away from ours
OTHER_WORDS = set("table tables stale staple groups grope spaced spaces podium sliver cubit carbons".split())
SHOUTED = 4  # letters of a word in capitals alone that is no formula


def in_one_spelling(sentence: str) -> tuple[str, list[str]]:
    """The sentence to read, and which of its words were taken for others."""
    text = " ".join(sentence.translate(SIGNS).split())
    # 1,200 meV are thousands, but 1,200 eV and 1,5 meV have a decimal comma
    text = re.sub(r"(?<![\d,.])([1-9]\d{0,2}),(\d{3})(?!\d|,|\s*(?:eV|g)\b)", r"\1\2", text)
    text = re.sub(r"(?<![\d,])(\d+),(\d{1,3})(?=\s*(?:m?eV|g\b))", r"\1.\2", text)
    text = re.sub(rf"(?<![\w-])[A-Z]{{{SHOUTED},}}(?![\w-])", lambda match: match[0].lower(), text)
    notes: list[str] = []

    def corrected(match: re.Match[str]) -> str:
        word = match[0]
        meant = _meant(word.lower()) if word[1:].islower() else None
        if meant is None:
            return word
        notes.append(f"'{word}' read as {meant}")
        return meant

    return re.sub(r"(?<![\w-])[A-Za-z]{4,}(?![\w])", corrected, text), notes


def _meant(word: str) -> str | None:
    """The one word of ours that is a slip away; None where the word is known or no such word is near."""
    targets = _targets()
    single = word.removesuffix("s")
    of_groups = {part for pattern in GROUPS for part in re.findall("[a-z]{4,}", pattern)}
    if {word, single, f"{single}s"} & (targets | SILENT | OTHER_WORDS | set(NUMBERS) | of_groups):
        return None
    near = [target for target in targets if _is_slip(word, target)]
    near = near or [f"{target}s" for target in targets if word.endswith("s") and _is_slip(single, target)]
    return near[0] if len(near) == 1 else None


@lru_cache(maxsize=1)
def _targets() -> frozenset[str]:
    names = [name for name in (*element_names(), *SPELLINGS) if len(name) >= 5]
    return frozenset({*names, *ANIONS, *SYSTEMS, *KEYWORDS})


def _is_slip(word: str, target: str) -> bool:
    """One letter left out, doubled or too many, two exchanged, or one replaced before the ending.

    The ending of a long word alone tells nitrides from nitrites, so no letter is replaced there.
    """
    n = len(target)
    if word[0] != target[0]:
        return False
    if len(word) == n - 1:
        return any(target[:i] + target[i + 1 :] == word for i in range(n))
    if len(word) == n + 1:
        return any(word[:i] + word[i + 1 :] == target for i in range(n + 1))
    if len(word) != n:
        return False
    differing = [i for i in range(n) if word[i] != target[i]]
    if len(differing) == 2:
        i, j = differing
        return j == i + 1 and word[i] == target[j] and word[j] == target[i]
    return len(differing) == 1 and n >= 6 and differing[0] < n - 3
