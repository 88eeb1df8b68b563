"""Which elements are metals, by SMACT's list."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache


def all_metals(symbols: Iterable[str]) -> bool:
    """Whether SMACT counts every element among the metals: an alloy, which has no charges to balance."""
    return metals().issuperset(symbols)


@cache
def metals() -> frozenset[str]:
    """Symbols of the metals."""
    import smact

    return frozenset(smact.metals)
