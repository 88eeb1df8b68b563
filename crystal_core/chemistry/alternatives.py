"""Lists of elements of which a crystal holds at least one each: what it still needs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from crystal_core.chemistry.formula import parse_elements
from crystal_core.errors import RequestError

MOST_LISTS = 6
Alternatives = tuple[frozenset[int], ...]  # atomic numbers of each list


def parse_alternatives(text: str) -> tuple[tuple[str, ...], ...]:
    """The lists of "F, Cl; Fe, Co", each as of :func:`parse_elements`, which it raises as.

    >>> parse_alternatives("F, Cl; Fe-Co;")
    (('F', 'Cl'), ('Fe', 'Co'))
    """
    return tuple(symbols for part in text.split(";") if (symbols := parse_elements(part)))


@lru_cache(maxsize=4096)
def fewest_elements(lists: Alternatives) -> int:
    """The fewest elements that hold one of every list."""
    if not lists:
        return 0
    rests = {tuple(other for other in lists if z not in other) for z in lists[0]}
    if not rests:
        raise RequestError("A list of elements of which one must occur is empty; name some.")
    return 1 + min(map(fewest_elements, rests))


@lru_cache(maxsize=4096)
def still_needed(
    lists: Alternatives, held: frozenset[int], missing: frozenset[int] = frozenset()
) -> tuple[int, frozenset[int]]:
    """The fewest further elements of a crystal, and those that bring this number down.

    Args:
        held: what it holds. missing: what it must hold and does not, beside one of each list.

    >>> halogen_and_metal = (frozenset({9, 17}), frozenset({26, 27}))
    >>> still_needed(halogen_and_metal, frozenset({17}))
    (1, frozenset({26, 27}))
    """
    unmet = tuple(one for one in lists if not one & (held | missing))
    n = fewest_elements(unmet)
    useful = {
        z
        for z in frozenset().union(*unmet)
        if fewest_elements(tuple(one for one in unmet if z not in one)) < n
    }
    return n + len(missing), missing | useful


def in_words(lists: Sequence[Sequence[str]]) -> list[str]:
    """Each list in words.

    >>> in_words([["Fe", "Co"], ["F", "Cl", "Br"]])
    ['Fe or Co', 'F, Cl or Br']
    """
    return [" or ".join(filter(None, (", ".join(symbols[:-1]), symbols[-1]))) for symbols in lists]
