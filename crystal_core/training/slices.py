"""One slice of a training, as every method runs it: common keywords, network, loss and data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Required, TypedDict

import torch
from torch import Tensor, nn

from crystal_core.training.config import FitConfig
from crystal_core.training.fit import Rows, Trained, Trainer
from crystal_core.whole_files import write_whole


class SliceOptions(TypedDict, total=False):
    """Keywords that every method's ``train`` takes and passes on to :func:`fit`.

    Attributes:
        minutes: until the slice stops; None for the whole plan. resume: from the snapshot in ``folder``.
        on_line, about: as in :class:`Trainer`.
    """

    folder: Required[Path]
    device: Required[torch.device]
    minutes: float | None
    resume: bool
    on_line: Callable[[dict[str, Any]], None] | None
    about: Mapping[str, Any] | None


def fit(
    network: nn.Module,
    config: FitConfig,
    *,
    loss: Callable[[Any, Any, torch.Generator], tuple[Tensor, dict[str, Tensor]]],
    batches: Callable[[torch.Generator], Iterator[Any]],
    held: Rows | None,
    validate: Callable[[Trainer, Rows], dict[str, Any]],
    folder: Path,
    device: torch.device,
    batch_crystals: Callable[[Any], int] = len,
    files: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    resume: bool = False,
    on_line: Callable[[dict[str, Any]], None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Run one slice of a method; arguments as in :class:`Trainer` and :meth:`Trainer.run_slice`.

    Args:
        files: name → JSON value, written into ``folder`` for the export.
    """
    trainer = Trainer(
        network,
        config,
        loss=loss,
        batches=batches,
        batch_crystals=batch_crystals,
        folder=folder,
        device=device,
        about=about,
    )
    for name, value in (files or {}).items():
        write_whole(folder / name, json.dumps(value))
    return trainer.run_slice(minutes, held, validate, resume=resume, on_line=on_line)
