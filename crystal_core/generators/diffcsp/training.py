"""Train DiffCSP on a prepared file: configuration, validation, and the checkpoint folder at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from crystal_core.cards import ModelCard
from crystal_core.checks import check_whole
from crystal_core.errors import CheckpointMismatch
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.match_rate import match_rates
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.process import diffcsp_loss
from crystal_core.generators.diffcsp.schedules import Schedules, schedules_of
from crystal_core.generators.diffcsp.weights import SCORE_NORMS, load_network, write_score_norms
from crystal_core.training.checkpoint import write_checkpoint
from crystal_core.training.data import (
    Batch,
    PreparedCrystals,
    RowSettings,
    data_statistics,
    draws_per_epoch,
    epoch_batches,
    fixed_sample,
    load_rows,
)
from crystal_core.training.fit import FitConfig, Trainer
from crystal_core.training.settings import parse_settings

if TYPE_CHECKING:
    from torch import Tensor

STATISTICS = "statistics.json"  # of the training crystals, in a run's folder
MIN_MEMBERS = 10  # training crystals of an atom count that count as known


@dataclass(frozen=True, kw_only=True)
class DiffcspTraining(RowSettings):
    """A training configuration file: which rows, which sizes, which process, how to optimise.

    Attributes:
        init_from: checkpoint or run folder whose EMA weights start the run, or "".
        match_rows: fixed random validation rows whose match rates are measured every ``match_every_epochs``
            with ``match_steps`` predictor-corrector steps; 0 for none. Needs pymatgen, and is left out
            without it.
    """

    name: str
    init_from: str = ""
    match_rows: int = 0
    match_every_epochs: int = 5
    match_steps: int = 50
    network: CspNetworkConfig = field(default_factory=CspNetworkConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("match_rows", self.match_rows, 0, 100_000)
        check_whole("match_every_epochs", self.match_every_epochs, 1, 100_000)
        check_whole("match_steps", self.match_steps, 1, self.process.n_times)


def settings_from(text: str) -> DiffcspTraining:
    """A typed configuration from TOML text.

    Raises:
        RequestError: no TOML, unknown key.
    """
    sections = {"network": CspNetworkConfig, "process": ProcessConfig, "fit": FitConfig}
    return parse_settings(text, DiffcspTraining, sections)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a slice ends with: the trainer with its EMA weights, the noise levels and the last log line."""

    trainer: Trainer
    schedules: Schedules
    last: dict[str, Any]


@torch.no_grad()
def validation_loss(
    network: torch.nn.Module,
    data: PreparedCrystals,
    process: ProcessConfig,
    schedules: Schedules,
    batch_size: int,
) -> dict[str, float]:
    """The losses on fixed rows with fixed noise: the same draw at every epoch."""
    generator = torch.Generator(data.n_atoms.device).manual_seed(0)
    totals: dict[str, float] = {}
    for batch in epoch_batches(data, batch_size, torch.Generator().manual_seed(0)):
        _, parts = diffcsp_loss(network, batch, generator, process, schedules)
        of_cells = len(batch.n_atoms) / len(data)
        of_atoms = len(batch.atomic_numbers) / len(data.atomic_numbers)
        for name, value in parts.items():
            share = of_cells if name == "loss_l" else of_atoms
            totals[name] = totals.get(name, 0.0) + share * float(value)
    return {name: round(total, 5) for name, total in totals.items()}


def train(
    config: DiffcspTraining,
    *,
    data_file: Path,
    folder: Path,
    device: torch.device,
    minutes: float | None = None,
    resume: bool = False,
    initial: dict[str, Tensor] | None = None,
    on_line: Callable[[dict[str, Any]], None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Run one slice.

    Raises:
        RequestError: the data hold no training row, or there is no snapshot to resume from.
        CheckpointMismatch: ``initial`` are weights of another network.
    """
    torch.manual_seed(config.fit.seed)
    rows, held = load_rows(config, data_file, device)
    schedules = schedules_of(config.process)
    network = CspNetwork(config.network)
    # the lattice head is multiplied by a cell of 5 Å: random weights would begin with errors of several units
    torch.nn.init.zeros_(network.lattice_out.weight)
    if initial is not None:
        _start_from(network, initial)
    matched = fixed_sample(held, config.match_rows) if held is not None and config.match_rows else None
    if held is not None:
        held = fixed_sample(held, config.validation_rows)
    trainer = Trainer(
        network,
        config.fit,
        loss=partial(diffcsp_loss, process=config.process, schedules=schedules),
        batches=partial(_batches, rows, config.fit.batch_size, draws_per_epoch(config, rows)),
        batch_crystals=lambda batch: len(batch.n_atoms),
        folder=folder,
        device=device,
        about=about,
    )
    statistics = data_statistics(rows) | {"most_atoms": _most_atoms(rows)}
    (folder / STATISTICS).write_text(json.dumps(statistics), encoding="utf-8")

    def validation(current: Trainer, rows: PreparedCrystals) -> dict[str, Any]:
        line: dict[str, Any] = validation_loss(
            current.ema, rows, config.process, schedules, config.fit.batch_size
        )
        due = current.epoch > 0 and current.epoch % config.match_every_epochs == 0
        if matched is not None and (due or current.finished):
            line |= match_rates(
                cast("CspNetwork", current.ema),
                matched,
                schedules,
                steps=config.match_steps,
                centred=config.process.centred,
            )
        return line

    last = trainer.run_slice(minutes, held, validation, resume=resume, on_line=on_line)
    return Trained(trainer=trainer, schedules=schedules, last=last)


def export_checkpoint(name: str, *, trained: Trained, settings: DiffcspTraining, log: Path) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, score norms, validation curve, and a card without metrics.

    The card also states the elements of the training crystals, the atoms of the largest cell that at least
    ten of them have and, where all have one atom count, that count. Of an older card of that name, what was
    measured with other weights goes; data and source, which people write, stay.
    """
    known = json.loads((log.parent / STATISTICS).read_text(encoding="utf-8"))
    counts = [int(n) for n in known["atom_count_frequencies"]]
    sampling = {"elements": known["elements"], "most_atoms": known["most_atoms"]}
    if len(counts) == 1:
        sampling["atom_counts"] = counts
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "task": "structure prediction",
            "method": "DiffCSP (NeurIPS 2023), the refiner of CrysLLMGen (NeurIPS 2025)",
            "loader": "diffcsp",
            "network": settings.network.to_dict(),
            "sampling": sampling,
        },
        about_training={"process": settings.process.to_dict()},
        save_files={SCORE_NORMS: partial(write_score_norms, trained.schedules.norms)},
    )


def initial_weights(card: ModelCard) -> dict[str, Tensor]:
    """The weights of a checkpoint, as the start of another run; raises as ``load_network``."""
    return load_network(card).state_dict()


def _most_atoms(rows: PreparedCrystals) -> int:
    """The largest atom count that at least ten training crystals have, or where none has so many, any."""
    members = torch.bincount(rows.n_atoms.cpu())
    enough = torch.nonzero(members >= min(MIN_MEMBERS, int(members.max())))
    return int(enough.max())


def _batches(
    rows: PreparedCrystals, batch_size: int, repeats: Tensor | None, generator: torch.Generator
) -> Iterator[Batch]:
    return epoch_batches(rows, batch_size, generator, repeats)


def _start_from(network: CspNetwork, initial: Mapping[str, Tensor]) -> None:
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if {name: value.shape for name, value in initial.items()} != shapes:
        raise CheckpointMismatch(
            "Training cannot start from these weights: they are of a network of other sizes. "
            "Set the sizes in [network]."
        )
    network.load_state_dict(initial)
