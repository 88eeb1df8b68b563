"""The elements of one site: shares that rounding keeps from 1 are scaled to it, vacancies remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crystal_core.errors import StructureParseError

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


def shared_sites(
    elements: Sequence[str], places: Sequence[Sequence[float]], shares: Sequence[float | None]
) -> tuple[list[int], list[dict[str, float]]]:
    """The first row of each site, and its element → share; rows at the same place share a site.

    Args:
        elements, places, shares: of each row; rows with an occupancy of 0 hold no atom.

    Raises:
        StructureParseError: an occupancy is no number from 0 to 1, those of a site exceed 1, or all are 0.
    """
    sites: dict[tuple[float, ...], tuple[int, dict[str, float]]] = {}
    for row, (element, place, share) in enumerate(zip(elements, places, shares, strict=True)):
        if share is None or not 0 <= share <= 1 + MOST_ROUNDING:
            words = "missing" if share is None else f"{share:g}"
            raise StructureParseError(
                f"The occupancy of atom {row + 1} is {words}; write a number from 0 to 1."
            )
        if share:
            _, site = sites.setdefault(tuple(place), (row, {}))
            site[element] = site.get(element, 0.0) + share
    if not sites:
        raise StructureParseError("All occupancies of this file are 0, so it holds no atoms. Correct them.")
    whole = [(row, scaled(site)) for row, site in sites.values()]
    for row, shares_of_site in whole:
        if shares_of_site is None:
            raise StructureParseError(
                f"The occupancies at the place of atom {row + 1} add up to more than 1: correct them."
            )
    return [row for row, _ in whole], [site for _, site in whole if site]
