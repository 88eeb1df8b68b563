"""One verdict on a crystal, as a badge shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "bad", "open", "known"]


@dataclass(frozen=True)
class Verdict:
    """One verdict.

    Attributes:
        tone: good, bad, open where nothing is decided, or known: the crystal that was sought.
        word: two or three words for a badge.
        reason: one sentence.
    """

    tone: Tone
    word: str
    reason: str
