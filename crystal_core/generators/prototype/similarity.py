"""How readily elements replace each other in an arrangement: training counts smoothed by a scale.

For every pair of training formulas that differ in one element only (same counts), it is counted whether both
have a common prototype. Where few such pairs exist, Pettifor's order of the elements (Mendeleev numbers of
Villars and Daams 2004, as tabulated in pymatgen) takes over. Idea: Glawe, Sanna, Gross, Marques, New J.
Phys. 18 (2016) 093011.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_ELEMENTS = 119  # indexed by atomic number
PRIOR_WEIGHT = 4.0  # how many counted pairs weigh as much as the scale
MAX_GROUP = 400


@cache
def pettifor_positions() -> NDArray[np.float64]:
    """(119,) places on the Mendeleev–Pettifor axis; elements without one stand by atomic number."""
    from pymatgen.core import Element

    out = np.zeros(N_ELEMENTS)
    for z in range(1, N_ELEMENTS):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            number = Element.from_Z(z).mendeleev_no
        out[z] = float(z) if number is None else float(number)
    return out


def count_replacements(
    members: Iterable[tuple[tuple[int, ...], tuple[int, ...], object]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(119, 119) how often A and B could be compared, and how often they shared a prototype.

    Args:
        members: per training crystal, its elements, their counts and its prototype (anything hashable).
    """
    by_rest: dict[tuple[Any, ...], dict[int, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for elements, counts, prototype in members:
        pairs = sorted(zip(elements, counts, strict=True))
        for i, (element, count) in enumerate(pairs):
            by_rest[(*pairs[:i], *pairs[i + 1 :], count)][element].add(prototype)
    compared, shared = np.zeros((N_ELEMENTS, N_ELEMENTS)), np.zeros((N_ELEMENTS, N_ELEMENTS))
    for prototypes in by_rest.values():
        if not 2 <= len(prototypes) <= MAX_GROUP:
            continue
        exchanged = sorted(prototypes)
        for i, a in enumerate(exchanged):
            for b in exchanged[i + 1 :]:
                both = len(prototypes[a] & prototypes[b]) / min(len(prototypes[a]), len(prototypes[b]))
                compared[a, b] += 1
                compared[b, a] += 1
                shared[a, b] += both
                shared[b, a] += both
    return compared, shared


def distances(
    compared: NDArray[Any], shared: NDArray[Any], element_volumes: NDArray[Any]
) -> NDArray[np.float64]:
    """(119, 119) −log probability that A replaces B, plus gaps in electronegativity and log volume.

    The two gaps tell apart what the counts cannot: a replacement that is common over all crystals need not be
    the next of kin in this one. Both enter with weight one (validation rows of MP-20: 72.8 % match with, 72.0
    % without; n = 800).

    Args:
        compared: from :func:`count_replacements`, with ``shared``. element_volumes: (119,) Å3 per atom.
    """
    place = pettifor_positions()
    gap = np.abs(place[:, None] - place[None])
    total = compared.sum()
    # the prior falls with the gap on the scale as the counted pairs do, in bins of five
    bins = np.minimum(gap // 5, 15).astype(int)
    seen = np.bincount(bins.ravel(), compared.ravel(), 16)
    same = np.bincount(bins.ravel(), shared.ravel(), 16)
    mean = shared.sum() / total if total else 0.1
    prior = ((same + 10 * mean) / (seen + 10))[bins] if total else np.exp(-gap / 20.0)
    prior = np.clip(prior, 1e-3, 1.0)  # never impossible: a handful of crystals cannot know that
    out = -np.log((shared + PRIOR_WEIGHT * prior) / (compared + PRIOR_WEIGHT))
    out += 1e-3 * gap  # breaks ties the way the scale would
    affinity, size = electronegativities(), np.log(element_volumes)
    out += np.abs(affinity[:, None] - affinity[None]) + np.abs(size[:, None] - size[None])
    np.fill_diagonal(out, 0.0)
    return out


@cache
def electronegativities() -> NDArray[np.float64]:
    """(119,) Pauling electronegativity; 1.5 where none is tabulated."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = [1.5, *(float(Element.from_Z(z).X) for z in range(1, N_ELEMENTS))]
    return np.where(np.isfinite(values), values, 1.5)
