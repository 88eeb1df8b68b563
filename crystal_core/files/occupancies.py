"""The elements of one site: shares that rounding keeps from 1 are scaled to it, vacancies remain."""

from __future__ import annotations

from collections.abc import Mapping

MOST_ROUNDING = 0.03  # above 1, from rounded shares such as 0.51 and 0.50
LEAST_VACANCY = 1e-3  # below 1; a smaller one is rounding, as of three thirds
EXACT = 1e-6  # a difference that needs no remark


def scaled(shares: Mapping[str, float]) -> dict[str, float] | None:
    """Element → share with a sum of 1 where rounding explains the difference.

    None where they add up to more than that.
    """
    total = sum(shares.values())
    if total > 1 + MOST_ROUNDING:
        return None
    if total <= 1 - LEAST_VACANCY:
        return dict(shares)
    return {element: share / total for element, share in shares.items()}


def scaling_note(shares: Mapping[str, float], names: str) -> str:
    """A note on what :func:`scaled` changed at the site of ``names``.

    Empty where it changed nothing.
    """
    total = sum(shares.values())
    if total <= 1 - LEAST_VACANCY or abs(total - 1) < EXACT:
        return ""
    return f"The occupancies of {names} on one site add up to {total:.6g} and are scaled to 1."
