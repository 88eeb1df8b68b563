"""Uniqueness and novelty: repeats within a set, and matches with a set of known crystals.

Both with StructureMatcher, among crystals of the same reduced formula: others cannot match. "New" always
means: not in the known set named beside the number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.evaluation.alike import SAME, alike_groups
from crystal_core.evaluation.matching import MATCHER, PAIR_SECONDS
from crystal_core.evaluation.parallel import in_parallel, time_limit

if TYPE_CHECKING:
    from pymatgen.core import Structure

# MatterGen's; that of structure prediction
TOLERANCES: dict[str, dict[str, Any]] = {
    "strict": SAME,
    "loose": MATCHER,
}


def group_numbers(
    structures: Sequence[Structure | None], tolerances: dict[str, Any] = SAME, *, workers: int = 1
) -> list[int | None]:
    """A group per crystal, equal crystals sharing one; None where there is no crystal."""
    by_formula: defaultdict[str, list[int]] = defaultdict(list)
    for i, structure in enumerate(structures):
        if structure is not None:
            by_formula[structure.composition.reduced_formula].append(i)
    members = list(by_formula.values())
    several = [[structures[i] for i in part] for part in members if len(part) > 1]
    grouped = iter(
        in_parallel(
            alike_groups, several, [None] * len(several), [tolerances] * len(several), workers=workers
        )
    )
    numbers: list[int | None] = [None] * len(structures)
    first = 0
    for part in members:
        groups = next(grouped) if len(part) > 1 else [0]
        for i, group in zip(part, groups, strict=True):
            numbers[i] = first + group
        first += max(groups) + 1
    return numbers


def are_known(
    structures: Sequence[Structure | None],
    known: Mapping[str, Sequence[Structure]],
    tolerances: dict[str, Any] = SAME,
    *,
    workers: int = 1,
    on_progress: Callable[[int], None] | None = None,
) -> list[bool]:
    """Whether each crystal matches one of the known set; False for a missing crystal.

    Args:
        known: reduced formula → the known crystals.
    """
    candidates = [() if s is None else known.get(s.composition.reduced_formula, ()) for s in structures]
    return in_parallel(
        _is_among,
        structures,
        candidates,
        [tolerances] * len(candidates),
        workers=workers,
        on_progress=on_progress,
    )


def _is_among(structure: Structure | None, known: Sequence[Structure], tolerances: dict[str, Any]) -> bool:
    if structure is None or not known:
        return False
    from crystal_core.evaluation.reduced_matcher import ReducedMatcher

    matcher = ReducedMatcher(**tolerances)
    for other in known:
        try:
            with time_limit(PAIR_SECONDS):
                if matcher.fit(structure, other):
                    return True
        except Exception:  # noqa: BLE001, S112 (a pair the matcher cannot handle is no match)
            continue
    return False
