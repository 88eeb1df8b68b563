"""Crystals that are drafted and refined anew while they miss their space group or a target.

A draft is judged before it is refined, and refinement moves its cell and atoms. What counts for the reader is
the refined crystal, so it is judged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from crystal_core.crystal import CrystalBatch
from crystal_core.evaluation.alike import alike_groups
from crystal_core.frames import Draft, Frame, Stage, few_of_each
from crystal_core.guides.protocol import target_distances
from crystal_core.structures import to_structures

if TYPE_CHECKING:
    from crystal_core.requests import DeNovoRequest

LOST_GROUP = "refined, without the requested space group"
OFF_TARGET = "refined, too far from a target, as predicted"
REPEATED = "refined, a repeat of another crystal"
OTHER_SEED = 15_485_863  # far from the seeds of other batches and of repeated refinements

Order = tuple[bool, float]  # without the space group; distance from the targets. Smaller is better


def made_anew(
    request: DeNovoRequest,
    end: Frame,
    make: Callable[[DeNovoRequest], Iterator[Frame]],
    *,
    chances: int,
    begun: int,
) -> Generator[Frame, None, Frame]:
    """The finished frame with crystals made anew where they missed what was asked; yields the progress.

    Args:
        end: the finished frame of the first pass. make: frames of a pass, the last one finished.
        chances: passes at most. begun: the step of the progress that the first pass has reached.
    """
    best = _orders(request, end)
    for attempt in range(1, 1 + chances):
        which = [i for i, order in enumerate(best) if _is_missed(order)]
        if not which:
            break
        some, again, rest = _part_of(request, which, attempt), end, end.n_steps - begun
        for frame in make(some):
            again = frame
            step = begun + rest * (attempt - 1) // chances + rest * frame.step // (frame.n_steps * chances)
            yield Frame(stage=frame.stage, step=step, n_steps=end.n_steps, time=0.0, text=end.text)
        end, best = _with_better(end, best, again, _orders(some, again), which)
    return end


def _orders(request: DeNovoRequest, frame: Frame) -> list[Order]:
    """How far each crystal of a finished frame is from what was requested of it; see :func:`_is_missed`."""
    assert frame.crystals is not None
    conditions, structures = request.conditions or (), to_structures(frame.crystals)
    cells = [
        None if structure is None else cell
        for cell, structure in zip(frame.crystals, structures, strict=True)
    ]
    distances = target_distances(request.judge, cells, conditions)
    return [
        (True, float("inf"))
        if cell is None
        else (one.space_group is not None and not draft.group_from, distance)
        for cell, one, draft, distance in zip(cells, conditions, frame.drafts, distances, strict=True)
    ]


def _is_missed(order: Order) -> bool:
    """Whether a crystal misses its space group or a target."""
    return order[0] or order[1] > 1


def _part_of(request: DeNovoRequest, which: Sequence[int], attempt: int) -> DeNovoRequest:
    """The request for some of its crystals alone, from other noise."""
    least, conditions = request.at_least, request.conditions
    return replace(
        request,
        n_atoms=tuple(request.n_atoms[i] for i in which),
        at_least=None if least is None else tuple(least[i] for i in which),
        conditions=None if conditions is None else tuple(conditions[i] for i in which),
        seed=request.seed + OTHER_SEED * attempt,
    )


def _with_better(
    end: Frame, before: Sequence[Order], again: Frame, after: Sequence[Order], which: Sequence[int]
) -> tuple[Frame, list[Order]]:
    """A finished frame with each crystal that came out better when it was made anew, and their orders.

    A crystal that equals another one of the frame is no better: likely crystals that meet a target would
    otherwise stand in many places.

    Args:
        before: of ``end``. again, after: a frame of the crystals ``which`` alone, and their orders.
    """
    assert end.crystals is not None
    assert again.crystals is not None
    cells, drafts, best = list(end.crystals), list(end.drafts), list(before)
    rejected = Counter(end.rejected) + Counter(again.rejected)
    left_out = [*end.left_out, *again.left_out]
    for i, cell, draft, order in zip(which, again.crystals, again.drafts, after, strict=True):
        repeats = order < best[i] and _is_repeat(cell, [other for k, other in enumerate(cells) if k != i])
        is_better = order < best[i] and not repeats
        worse, missed = (drafts[i], best[i]) if is_better else (draft, order)
        if not worse.problem:  # else it is counted already
            reason = REPEATED if repeats else LOST_GROUP if missed[0] else OFF_TARGET
            rejected[reason] += 1
            left_out.append(replace(worse, problem=reason))
        if is_better:
            cells[i], drafts[i], best[i] = cell, draft, order
    merged = replace(
        end,
        crystals=CrystalBatch.concat(cells),
        drafts=tuple(drafts),
        rejected=dict(rejected),
        left_out=tuple(few_of_each(left_out)),
        stages=_of_both(end.stages, again.stages, drafts),
    )
    return merged, best


def _is_repeat(cell: CrystalBatch, others: Sequence[CrystalBatch]) -> bool:
    """Whether a crystal equals one of the others."""
    elements = Counter(cell.atomic_numbers.tolist())
    same = [one for one in others if Counter(one.atomic_numbers.tolist()) == elements]
    structures = to_structures(CrystalBatch.concat([cell, *same]))
    groups = alike_groups([one for one in structures if one is not None])
    return structures[0] is not None and groups[0] in groups[1:]


def _of_both(stages: Sequence[Stage], again: Sequence[Stage], drafts: Sequence[Draft]) -> tuple[Stage, ...]:
    """The stages of both frames, with what the crystals that stay count."""
    first = {one.stage: one for one in stages}
    for other in again:
        one = first.get(other.stage)
        first[other.stage] = other if one is None else _added(one, other)
    if (refine := first.get("refine")) is not None:
        origins = Counter(draft.group_from for draft in drafts)
        counts = {"symmetrised": origins["refined"], "drafts_kept": origins["draft"]}
        settings = {name: value for name, value in refine.settings.items() if name not in counts}
        settings |= {name: n for name, n in counts.items() if n}
        first["refine"] = replace(refine, settings=settings)
    return tuple(first.values())


def _added(one: Stage, other: Stage) -> Stage:
    repeated = one.settings.get("refined_again", 0) + other.settings.get("refined_again", 0)
    return replace(
        one,
        network_calls=one.network_calls + other.network_calls,
        settings={**one.settings, **({"refined_again": repeated} if repeated else {})},
    )
