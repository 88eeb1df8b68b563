"""A formula with fractional counts as the one of a cell that holds whole atoms."""

from __future__ import annotations

import re

MOST_MULTIPLIED = 20  # larger cells are beyond what models make


def in_whole_atoms(formula: str) -> str:
    """The smallest multiple of a formula that has whole counts; "" without one, or if it is none.

    >>> in_whole_atoms("Na0.5CoO2"), in_whole_atoms("CaSO4·0.5H2O"), in_whole_atoms("Ti0.33O0.67")
    ('NaCo2O4', 'Ca2S2O9H2', '')
    """
    amounts: dict[str, float] = {}
    for part in formula.replace(",", ".").split("·"):
        lead = re.match(r"\d*\.?\d*", part)
        number = lead.group() if lead else ""
        for symbol, amount in _amounts_of(part[len(number) :]).items():
            amounts[symbol] = amounts.get(symbol, 0.0) + float(number or 1) * amount
    if not amounts:
        return ""
    for multiple in range(2, MOST_MULTIPLIED + 1):
        counts = {symbol: multiple * amount for symbol, amount in amounts.items()}
        if all(abs(n - round(n)) < 1e-6 and round(n) >= 1 for n in counts.values()):
            return "".join(f"{symbol}{round(n) if round(n) > 1 else ''}" for symbol, n in counts.items())
    return ""


def _amounts_of(part: str) -> dict[str, float]:
    from pymatgen.core import Composition

    try:
        return Composition(part).get_el_amt_dict()
    except (ValueError, KeyError):
        return {}
