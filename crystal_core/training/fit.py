"""One training run in slices: any loss, EMA weights, schedule, snapshots that resume, a log of JSON lines.

Knows no paper: the training module of a paper gives the loss. Needs torch, numpy, safetensors.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from crystal_core.checks import check_choice
from crystal_core.errors import RequestError, TrainingDiverged
from crystal_core.interruption import postponed, saying
from crystal_core.networks.allocator import keep_freed_memory
from crystal_core.training.config import FitConfig
from crystal_core.training.optimisers import optimisers_of
from crystal_core.training.precision import pick_dtype
from crystal_core.training.schedules import constant_then_cosine, one_cycle
from crystal_core.whole_files import write_whole

Rows = TypeVar("Rows")
log = logging.getLogger(__name__)
# files of a run's folder; the snapshot before the last one stays, should the last one have gone wrong
SNAPSHOT, PREVIOUS, LOG, SLICES = "snapshot.pt", "snapshot-previous.pt", "log.jsonl", "slices.json"
STOPPING = "The training ends after this step and saves it. Interrupt again to end without saving."


class Trainer:
    """Owns network, EMA copy, optimiser and counters; ``run`` works until plan or minutes are used up.

    Args:
        network: trained in place.
        loss: (network, batch, generator) → (loss, parts by name).
        batches: epoch seed → batches of that epoch.
        batch_crystals: number of crystals in a batch.
        about: what the record of the slice states beside its samples: configuration text, hash of
            the data, commit, processor.
    """

    def __init__(
        self,
        network: nn.Module,
        config: FitConfig,
        *,
        loss: Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, dict[str, Tensor]]],
        batches: Callable[[torch.Generator], Iterator[Any]],
        batch_crystals: Callable[[Any], int],
        folder: Path,
        device: torch.device,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if config.planned_samples < 1 or config.batch_size < 1:
            raise RequestError("planned_samples and batch_size must be positive.")
        check_choice("schedule", config.schedule, ("constant", "one-cycle"))
        self.network, self.config, self.device, self.folder = network.to(device), config, device, folder
        self._loss, self._batches, self._batch_crystals = loss, batches, batch_crystals
        self.ema = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimisers = optimisers_of(self.network, config, device)
        self.step = self.epoch = self.samples = 0
        self.seconds = 0.0
        self._counted = time.monotonic()  # the moment up to which ``seconds`` counts
        self._epoch_ended = False
        self._about = dict(about or {})
        self._since_save = torch.zeros((), device=device)
        self.dtype = pick_dtype(config.precision, device)
        self._compiled = self.network
        if config.compile and can_compile(device):
            self._compiled = cast("nn.Module", torch.compile(self.network, dynamic=True))
        folder.mkdir(parents=True, exist_ok=True)
        if device.type == "cpu":
            keep_freed_memory()

    def learning_rate(self) -> float:
        """The rate of the next step; see :class:`FitConfig`."""
        config = self.config
        if config.schedule == "one-cycle":
            factor, _ = one_cycle(self.samples, config.planned_samples, config.batch_size)
            return config.learning_rate * factor
        rate = config.learning_rate * min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        return rate * constant_then_cosine(self.samples / config.planned_samples, config.decay_fraction)

    @property
    def finished(self) -> bool:
        """The plan is used up."""
        return self.samples >= self.config.planned_samples

    def is_due(self, every_epochs: int) -> bool:
        """Whether an every-so-many-epochs measurement is due: such an epoch has ended, or the plan.

        A slice may stop within an epoch: what was measured before that epoch is not measured again.
        """
        return self.finished or (self._epoch_ended and self.epoch % every_epochs == 0)

    def run(self, minutes: float | None, on_epoch: Callable[[Trainer], dict[str, Any]]) -> dict[str, Any]:
        """Train until the plan or the time is used up; save, and return the last line of the log.

        An interruption ends the step and saves; a second one ends everything at once.

        Raises:
            TrainingDiverged: the loss or a weight is no longer finite; the snapshots before it stay.
        """
        kept = f"Interrupted; the training so far is saved, and --resume {self.folder} goes on with it."
        with saying(kept), postponed(partial(log.warning, STOPPING)) as is_interrupted:
            steps = self.steps(minutes, on_epoch)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    return cast("dict[str, Any]", end.value)
                if is_interrupted():
                    self._count_seconds()
                    self.save()
                    return self._last_line()  # and the postponed interruption is raised

    def run_slice(
        self,
        minutes: float | None,
        held: Rows | None,
        validate: Callable[[Trainer, Rows], dict[str, Any]],
        *,
        resume: bool = False,
        on_line: Callable[[dict[str, Any]], None] | None = None,
    ) -> Trained:
        """:meth:`run` as every method trains: from the snapshot if asked, validating after each epoch.

        Args:
            held: validation rows, or None.
            validate: errors of the averaged weights on them.
            on_line: gets these with step and epoch.

        Raises:
            RequestError: there is no snapshot to resume from. TrainingDiverged: as in :meth:`run`.
        """
        if resume and not self.resume():
            raise RequestError(f"There is no snapshot in {self.folder.name} to resume from.")

        def on_epoch(current: Trainer) -> dict[str, Any]:
            if held is None:
                return {}
            line = validate(current, held)
            if on_line:
                on_line({"step": current.step, "epoch": current.epoch, "validation": line})
            return line

        return Trained(trainer=self, last=self.run(minutes, on_epoch))

    def steps(
        self, minutes: float | None, on_epoch: Callable[[Trainer], dict[str, Any]]
    ) -> Generator[dict[str, Any] | None, None, dict[str, Any]]:
        """:meth:`run` step by step: closing the iterator stops the training without another save.

        Yields:
            None after a step, and the line of the log after an epoch.

        Returns:
            The last line of the log.

        Raises:
            TrainingDiverged: as in :meth:`run`.
        """
        if self.finished and self.samples and (self.folder / SNAPSHOT).is_file():
            return self._last_line()  # only an export is wanted: no slice of nothing
        self._counted = start = time.monotonic()
        earlier = self._slices()
        self._slice = {"number": len(earlier) + 1, "samples_before": self.samples, **self._about}
        stop = math.inf if minutes is None else start + 60 * minutes
        last_save, line = start, self._last_line()
        while not self.finished and time.monotonic() < stop:
            generator = torch.Generator(self.device).manual_seed(
                self.config.seed + 7919 * (self.epoch + 1) + self.step
            )
            order = torch.Generator().manual_seed(self.config.seed + 104729 * (self.epoch + 1) + self.step)
            sums: dict[str, Tensor] = {}
            began, count, seen = time.monotonic(), 0, 0
            self._epoch_ended = False
            for batch in self._batches(order):
                parts = self._one_step(batch, generator)
                for name, value in parts.items():
                    sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
                count, seen = count + 1, seen + self._batch_crystals(batch)
                now = time.monotonic()
                if now - last_save > 60 * self.config.save_every_minutes:
                    self._count_seconds()
                    last_save = now
                    self.save()
                yield None
                if now > stop or self.finished:
                    break
            else:
                self.epoch += 1
                self._epoch_ended = True
            line = {
                "step": self.step,
                "epoch": self.epoch,
                "samples": self.samples,
                "lr": round(self.learning_rate(), 8),
                "crystals_per_second": round(seen / max(1e-9, time.monotonic() - began), 1),
                **{name: round(float(total) / max(1, count), 5) for name, total in sums.items()},
            }
            self._check_finite()
            line["validation"] = on_epoch(self)
            self._count_seconds()
            line["seconds"] = round(self.seconds, 1)
            with (self.folder / LOG).open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(line) + "\n")
            log.info("%s", json.dumps(line))
            yield line
        self.save()
        return line

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._counted
        self._counted = now

    def _last_line(self) -> dict[str, Any]:
        """The last line of the log, for a slice with nothing left to do."""
        path = self.folder / LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return json.loads(lines[-1]) if lines else {}

    def _one_step(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        config, rate = self.config, self.learning_rate()
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = rate
            if config.schedule == "one-cycle" and "betas" in group:
                _, beta = one_cycle(self.samples, config.planned_samples, config.batch_size)
                group["betas"] = (beta, group["betas"][1])
        enabled = self.dtype != torch.float32
        with torch.autocast(
            self.device.type, dtype=self.dtype if enabled else torch.bfloat16, enabled=enabled
        ):
            loss, parts = self._loss(self._compiled, batch, generator)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self.samples += self._batch_crystals(batch)
        decay = min(config.ema_decay, (1 + self.step) / (10 + self.step))
        self._since_save += loss.detach()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), [p.detach() for p in self.network.parameters()], 1 - decay
            )
            for mean, value in zip(self.ema.buffers(), self.network.buffers(), strict=True):
                # the running statistics of a batch norm belong to the weights: they are averaged alike
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)
        return {"loss": loss.detach(), **parts}

    def save(self) -> None:
        """Write the snapshot for ``resume`` and keep the previous one; a kill never leaves half a file.

        Raises:
            TrainingDiverged: the loss or a weight is no longer finite; no file is touched.
        """
        self._check_finite()
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "counters": {
                "step": self.step,
                "epoch": self.epoch,
                "samples": self.samples,
                "seconds": self.seconds,
            },
        }
        part = self.folder / f"{SNAPSHOT}.part"
        torch.save(state, part)
        if (self.folder / SNAPSHOT).is_file():
            os.replace(self.folder / SNAPSHOT, self.folder / PREVIOUS)
        os.replace(part, self.folder / SNAPSHOT)
        self._since_save.zero_()
        earlier = self._slices()[: self._slice["number"] - 1]
        record = [*earlier, {**self._slice, "samples": self.samples, "seconds": round(self.seconds, 1)}]
        write_whole(self.folder / SLICES, json.dumps(record, indent=1))

    def _check_finite(self) -> None:
        weights = torch.stack([p.detach().abs().sum() for p in self.network.parameters()]).sum()
        if not bool(torch.isfinite(self._since_save + weights)):
            raise TrainingDiverged(
                f"The loss is no longer finite at {self.samples:,} samples. The snapshots before it are kept "
                f"in {self.folder.name}; resume with a smaller learning rate."
            )

    def _slices(self) -> list[dict[str, Any]]:
        path = self.folder / SLICES
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

    def resume(self) -> bool:
        """Continue from the folder's snapshot, or the previous one if it is lost; False without any.

        Raises:
            RequestError: it is of another network or another optimiser.
        """
        path = next(
            (self.folder / name for name in (SNAPSHOT, PREVIOUS) if (self.folder / name).is_file()), None
        )
        if path is None:
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(saved)
        except (RuntimeError, ValueError):  # names, shapes or parameter groups that differ
            raise RequestError(
                f"The snapshot in {self.folder.name} is of another network or optimiser; resume it with the "
                "configuration that it was begun with."
            ) from None
        for name, value in state["counters"].items():
            setattr(self, name, value)
        return True


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of a slice: the trainer with its EMA weights, and the last line of the log."""

    trainer: Trainer
    last: dict[str, Any]


def can_compile(device: torch.device) -> bool:
    """Whether torch finds what it compiles with: on a CPU a C++ compiler, which a machine may lack."""
    names = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return device.type != "cpu" or any(shutil.which(name) for name in names if name)
