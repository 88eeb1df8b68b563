"""Numbers as Fortran writes them, with the exponent D."""

from __future__ import annotations

import re

_EXPONENT = re.compile(r"(?<=[\d.])[dD](?=[-+\d])")


def float_of(word: str) -> float:
    """A number with the exponent E or D.

    >>> float_of("0.25D+01")
    2.5

    Raises:
        ValueError: it is no number.
    """
    return float(_EXPONENT.sub("e", word))
