"""Which elements are metals, by SMACT's list."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from crystal_core.chemistry.smact_lists import smact_elements


def all_metals(symbols: Iterable[str]) -> bool:
    """Whether SMACT counts every element among the metals: an alloy, which has no charges to balance."""
    return metals().issuperset(symbols)


@cache
def metals() -> frozenset[str]:
    """Symbols of the metals."""
    return frozenset(symbol for symbol, element in smact_elements().items() if element.is_metal)
