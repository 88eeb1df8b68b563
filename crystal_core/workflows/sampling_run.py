"""Shared by sampling runs: updates from frames, paths for the player, provenance of crystals."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from crystal_core import __version__
from crystal_core.conditions import DraftOptions, check_declared
from crystal_core.errors import MemoryFull, RequestError
from crystal_core.evaluation.validity import OXIDATION_TABLE
from crystal_core.files.records import snapshot
from crystal_core.frames import Frame, RunUpdate
from crystal_core.requests import CARD_TUNING, DeNovoRequest, GenerationRequest, SamplerTuning, tuning_words

if TYPE_CHECKING:
    from crystal_core.protocols import DeNovoGenerator
    from crystal_core.protocols import Generator as StructureGenerator
    from crystal_core.records import Provenance, Snapshot, Trajectory

AnyModel = TypeVar("AnyModel")
AnyRequest = TypeVar("AnyRequest", GenerationRequest, DeNovoRequest)
BATCH = {"cpu": 16, "cuda": 256}  # crystals sampled together; a smaller batch shows finished crystals sooner
HALVED = (
    "The memory was full once, so crystals were sampled in smaller batches: "
    "the same seed makes others on a larger machine."
)
PART_STEPS = 100  # steps of the progress bar per part of a run, whatever its sampler
# of models that work in two of them
STAGES = {
    "draft": "drafting",
    "refine": "refining",
    "propose": "proposing atoms and cells",
    "place": "placing atoms",
}
SNAPSHOT_FRAMES = 60  # frames of sample 1 kept per part, for the player


def sampled(
    generator: StructureGenerator | DeNovoGenerator,
    request: GenerationRequest | DeNovoRequest,
    *,
    stage: str,
    part: int,
    n_steps: int,
    watched: int = 1,
    drawn: Callable[[Snapshot], Snapshot] = lambda cell: cell,
) -> Generator[RunUpdate, None, tuple[Frame | None, list[list[Snapshot]]]]:
    """Sample one part, an update per frame; returns the last frame and the first ``watched`` paths.

    The snapshot of an update is that of sample 1; where more are watched, its ``cells`` are those
    of all of them.

    Args:
        drawn: gives a cell the form in which it is shown and kept.

    Raises:
        MemoryFull: of the device; what this part held is released.
    """
    paths: list[list[Snapshot]] = []
    frame: Frame | None = None
    n_watched = 0  # step of the last cell on the paths
    for frame in _within_memory(generator.sample(request)):  # type: ignore[arg-type]
        done = PART_STEPS * part + round(PART_STEPS * frame.step / max(1, frame.n_steps))
        crystals = frame.crystals
        cells = (
            [drawn(snapshot(crystals, i)) for i in range(min(watched, len(crystals)))]
            if crystals is not None
            else []
        )
        if cells and (frame.finished or frame.step - n_watched >= max(1, frame.n_steps // SNAPSHOT_FRAMES)):
            n_watched = frame.step
            paths = paths or [[] for _ in cells]
            for path, cell in zip(paths, cells, strict=True):
                path.append(cell)
        last_snapshot: Snapshot | None = cells[0] if cells else None
        if last_snapshot is not None and watched > 1:
            last_snapshot = {**last_snapshot, "cells": [*cells]}
        doing = f"{stage}, {STAGES[frame.stage]}" if frame.stage in STAGES else stage
        yield RunUpdate(stage=doing, step=done, n_steps=n_steps, snapshot=last_snapshot, text=frame.text)
    return frame, paths


def last_frame(
    generator: StructureGenerator | DeNovoGenerator, request: GenerationRequest | DeNovoRequest
) -> Frame:
    """The last frame of sampling.

    Raises:
        MemoryFull: of the device; what the run held is released.
    """
    return last_of(generator.sample(request))  # type: ignore[arg-type]


def last_of(frames: Iterator[Frame]) -> Frame:
    """The last of the frames; raises as :func:`last_frame`."""
    *_, frame = _within_memory(frames)
    return frame


def _within_memory(frames: Iterator[Frame]) -> Iterator[Frame]:
    import torch

    try:
        yield from frames
    except torch.OutOfMemoryError:
        pass  # raise outside of the handler: its traceback would keep the tensors alive
    else:
        return
    torch.cuda.empty_cache()
    raise MemoryFull(
        "The memory of the device is full: ask for fewer atoms, "
        "end other programs that use it, or choose --device cpu."
    )


def with_back_end(model: AnyModel, name: str | None) -> AnyModel:
    """The model, with another language model where one is named.

    Raises:
        RequestError: it writes no drafts. CheckpointMissing: there is no such language model.
    """
    if name is None:
        return model
    writer: Any = model
    check_declared(writer.card, (), DraftOptions(back_end=name))
    return writer.with_back_end(name)


def path_for_player(label: str, frames: list[Snapshot], *, keep: bool) -> Trajectory | None:
    """The trajectory of an update: nothing where none is wanted, or nothing moves."""
    return {"label": label, "frames": frames} if keep and len(frames) > 1 else None


def sampler_used(model: Any, request: GenerationRequest | DeNovoRequest) -> dict[str, Any]:
    """Names and defaults of ``request`` resolved: sampler, steps, tuning, drafting; empty without any.

    Charge balance names SMACT's table of oxidation states.
    """
    balance = {"charge_balance_used": OXIDATION_TABLE} if request.draft.charge_balance else {}
    if hasattr(model, "settings_used"):
        return model.settings_used(request) | balance
    if not hasattr(model, "settings"):
        return {}
    chosen = model.settings(request)
    return (
        {"sampler_used": chosen.name, "steps_used": chosen.steps}
        | {f"{name}_used": value for name, value in chosen.tuning.items()}
        | balance
    )


def with_tuning_in_use(model: Any, request: AnyRequest) -> AnyRequest:
    """The request without tuning values that change nothing in this part, because other parts use them."""
    if hasattr(model, "idle_tuning"):
        idle: dict[str, Any] = dict.fromkeys(model.idle_tuning(request))
        return replace(request, **idle)
    return replace(request, **CARD_TUNING.tuning_fields)


def check_tuning(
    name: str, model: Any, tuning: SamplerTuning, requests: Sequence[GenerationRequest | DeNovoRequest]
) -> None:
    """Check the tuning of a run before any of its parts is sampled.

    Args:
        tuning: the tuning of the whole run. requests: one of each kind that the run hands to the model.

    Raises:
        RequestError: a value changes nothing in any of them, or the model has no sampler.
    """
    if not hasattr(model, "idle_tuning"):
        words = tuning_words(asdict(tuning))
        if words:
            raise RequestError(
                f"{name} has no sampler to tune, so {words[0]} would change nothing; "
                "leave it out or choose another model."
            )
        return
    idle = [model.idle_tuning(request) for request in requests]
    for value in tuning.tuning_values:
        if idle and all(value in reasons for reasons in idle):
            raise RequestError(f"{idle[0][value]}, so {value} would change nothing; leave it out.")


def provenance(
    name: str, model: Any, *, seed: int | None, settings: dict[str, Any], with_energies: bool = False
) -> Provenance:
    """The record that repeats a crystal: model, weights, seed, settings, versions, device."""
    return {
        "model": name,
        "weights_sha256": model.card.weights_sha256,
        "version": __version__,
        "seed": seed,
        "settings": settings,
        "device": str(getattr(model, "device", "cpu")),
        "libraries": library_versions(with_energies=with_energies),
        "note": "Generated by a model. Same seed, settings, version and device give the same crystals; "
        "other devices give close ones.",
    }


def library_versions(*, with_energies: bool = False) -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    names = ("torch", "numpy", "pymatgen", *(("chgnet", "ase") if with_energies else ()))
    return {name: _version(name) for name in names}


@lru_cache(maxsize=16)
def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)
