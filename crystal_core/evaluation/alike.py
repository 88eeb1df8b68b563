"""Which crystals are the same one: groups of cells that pymatgen's StructureMatcher maps onto each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.evaluation.csp import PAIR_SECONDS
from crystal_core.evaluation.parallel import time_limit

if TYPE_CHECKING:
    from pymatgen.core import Structure

SAME: dict[str, Any] = {"ltol": 0.2, "stol": 0.3, "angle_tol": 5}  # pymatgen's defaults; MatterGen's for unique and novel


def alike_groups(structures: Sequence[Structure], known: dict[tuple[int, int], bool] | None = None, tolerances: dict[str, Any] = SAME) -> list[int]:
    """A group number per structure: equal cells share one; group 0 is the largest.

    Args:
        known: answers of earlier calls, by the identity of both structures; they must be alive as long as this is used.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(**tolerances)
    known = {} if known is None else known
    groups: list[list[int]] = []
    for i, structure in enumerate(structures):
        for members in groups:
            pair = (id(structures[members[0]]), id(structure))
            if pair not in known:
                try:
                    with time_limit(PAIR_SECONDS):
                        known[pair] = bool(matcher.fit(structures[members[0]], structure))
                except Exception:  # noqa: BLE001 (a cell the matcher cannot handle is alike to none)
                    known[pair] = False
            if known[pair]:
                members.append(i)
                break
        else:
            groups.append([i])
    groups.sort(key=lambda members: -len(members))
    number = {i: g for g, members in enumerate(groups) for i in members}
    return [number[i] for i in range(len(structures))]
