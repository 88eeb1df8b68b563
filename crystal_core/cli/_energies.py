"""An energy above the hull in words, with its measured error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def above_hull_words(energies: Mapping[str, Any]) -> str:
    """The energy above the hull of a row or record, in words.

    >>> known_error = {"e_above_hull_error_ev": 0.048, "e_above_hull_bias_ev": -0.037}
    >>> above_hull_words({"e_above_hull_ev": 0.1} | known_error)
    '0.100 ± 0.048 eV/atom, on average 0.037 too low'
    >>> above_hull_words({"e_above_hull_ev": 0.1} | dict.fromkeys(known_error))
    '0.100 eV/atom'
    """
    error, bias = energies["e_above_hull_error_ev"], energies.get("e_above_hull_bias_ev")
    bar = f" ± {error:.3f}" if error is not None else ""
    usual = (
        f", on average {abs(bias):.3f} too {'low' if bias < 0 else 'high'}"
        if bias and round(abs(bias), 3)
        else ""
    )
    return f"{energies['e_above_hull_ev']:.3f}{bar} eV/atom{usual}"
