"""Output of a running sampler or job: frames, and updates with the result so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystal_core.crystal import CrystalBatch
    from crystal_core.records import Cell, RunResult, Snapshot, Trajectory

FEW = 3  # stored examples of omitted drafts per reason


@dataclass(frozen=True, kw_only=True)
class Template:
    """The known arrangement that a crystal was laid out on.

    Attributes:
        table: name of the table of prototypes, e.g. "prototype, shipped table".
        table_sha256: hash of its file.
        prototype: number in the table.
        members: how many known crystals have it.
        label: what it is, e.g. space group, Wyckoff letters and AFLOW name.
        formula: the crystal of this arrangement whose elements are nearest to the requested ones.
        distance: chemical distance to it; 0 is the same composition.
        repeats: how many of its cells make the requested cell.
        votes: weight of the nearest relatives that have it, of all votes for the composition.
        ordered: symbols of two elements that stand in order on the sites of one of them; else empty.
    """

    table: str
    table_sha256: str
    prototype: int
    members: int
    label: str
    formula: str
    distance: float
    repeats: int
    votes: float = 0.0
    ordered: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A language model's text for one crystal.

    Attributes:
        text: lengths, angles, then an element line and a coordinate line per atom; of a draft that is no
            crystal, its whole text.
        prompt: what it was asked. problem: why it is no crystal; "" where it is one.
        cell: the crystal as drafted (lattice in Å, atomic_numbers, frac_coords), where it was
            refined afterwards; else None.
        group_from: which cell has the requested space group: "refined", or "draft" where refinement lost
            it and the symmetric draft stands in; "" where neither has it or none was requested.
    """

    text: str
    prompt: str
    problem: str = ""
    cell: Cell | None = None
    group_from: str = ""


def few_of_each(drafts: Iterable[Draft]) -> list[Draft]:
    """The first :data:`FEW` drafts of each problem, in order.

    >>> [draft.text for draft in few_of_each(Draft(text=str(i), prompt="", problem="p") for i in range(9))]
    ['0', '1', '2']
    """
    counts: Counter[str] = Counter()
    chosen = []
    for draft in drafts:
        counts[draft.problem] += 1
        chosen += [draft] if counts[draft.problem] <= FEW else []
    return chosen


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One of several models that worked on a crystal, one after the other.

    Attributes:
        stage: what it did, e.g. "draft" or "refine". model, weights_sha256: the checkpoint that did.
        network_calls: how often its network ran, for all crystals of a batch together.
        settings: what its defaults came to.
    """

    stage: str
    model: str
    weights_sha256: str
    network_calls: int
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One moment of a running sampler.

    Attributes:
        stage: what is going on, e.g. "denoise".
        step: steps done, 0..n_steps.
        time: diffusion time, 1 (noise) to 0 (data).
        crystals: the current guess for every sample; None when no snapshot was taken at this step.
        sample_ids: index of each crystal of ``crystals`` in the request.
        finished: these crystals are final.
        templates: what each crystal was laid out on, where that is a known arrangement; empty where none was.
        text: what a language model has written of the first crystal so far.
        drafts: what it wrote of each crystal.
        rejected: why it wrote others that were left out, and how many of each kind.
        left_out: some of those others, with the reason as their problem.
        stages: of a finished frame, the models that worked on its crystals; empty where there was one.
    """

    stage: str
    step: int
    n_steps: int
    time: float
    crystals: CrystalBatch | None = None
    sample_ids: tuple[int, ...] = ()
    finished: bool = False
    templates: tuple[Template | None, ...] = ()
    text: str = ""
    drafts: tuple[Draft, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[Draft, ...] = ()
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunUpdate:
    """Progress of a running job, with a new frame to draw or the result so far where there is one.

    Attributes:
        stage: one short phrase for the progress line.
        step: work done in this run, 0..n_steps (over all stages).
        snapshot: crystal to draw now, as JSON (see :mod:`crystal_core.records`).
        result: the complete JSON result as far as it is finished; the last update carries the final one.
        trajectory: frames of one finished sample, ``{"label": str, "frames": [snapshot, ...]}``.
        text: what a language model has written of the first crystal so far.
    """

    stage: str
    step: int
    n_steps: int
    snapshot: Snapshot | None = None
    result: RunResult | None = None
    trajectory: Trajectory | None = None
    text: str = ""
