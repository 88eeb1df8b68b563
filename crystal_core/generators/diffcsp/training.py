"""Train DiffCSP on a prepared file: configuration, validation, and the checkpoint folder at the end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from torch import Tensor

from crystal_core.cards import ModelCard
from crystal_core.checks import check_whole
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.match_rate import match_rates
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.process import diffcsp_loss
from crystal_core.generators.diffcsp.schedules import Schedules, schedules_of
from crystal_core.generators.diffcsp.weights import SCORE_NORMS, load_network, write_score_norms
from crystal_core.training.checkpoint import load_exactly, write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import (
    PreparedCrystals,
    RowSettings,
    data_statistics,
    draws_per_epoch,
    epoch_batches,
    fixed_losses,
    fixed_sample,
    load_rows,
)
from crystal_core.training.fit import Trained, Trainer
from crystal_core.training.settings import parse_settings
from crystal_core.training.slices import SliceOptions, fit

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
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, DiffcspTraining)


@torch.no_grad()
def validation_loss(
    network: torch.nn.Module,
    data: PreparedCrystals,
    process: ProcessConfig,
    schedules: Schedules,
    batch_size: int,
) -> dict[str, float]:
    """The losses on fixed rows with fixed noise: the same draw at every epoch."""
    return fixed_losses(
        data,
        batch_size,
        lambda batch, generator: diffcsp_loss(network, batch, generator, process, schedules)[1],
        of_crystals=("loss_l",),
    )


def train(
    config: DiffcspTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> Trained:
    """Run one slice.

    Raises:
        RequestError: the data hold no training row, or there is no snapshot to resume from.
        CheckpointMismatch: ``initial`` are weights of another network.
    """
    torch.manual_seed(config.fit.seed)
    rows, held = load_rows(config, data_file, options["device"])
    schedules = schedules_of(config.process)
    network = CspNetwork(config.network)
    # the lattice head is multiplied by a cell of 5 Å: random weights would begin with errors of several units
    torch.nn.init.zeros_(network.lattice_out.weight)
    if initial is not None:
        load_exactly(
            network, initial, "Training cannot start from weights of other sizes than those in [network]"
        )
    matched = fixed_sample(held, config.match_rows) if held is not None and config.match_rows else None
    if held is not None:
        held = fixed_sample(held, config.validation_rows)
    repeats = draws_per_epoch(config, rows)

    def validation(current: Trainer, rows: PreparedCrystals) -> dict[str, Any]:
        line: dict[str, Any] = validation_loss(
            current.ema, rows, config.process, schedules, config.fit.batch_size
        )
        if matched is not None and current.is_due(config.match_every_epochs):
            line |= match_rates(
                cast("CspNetwork", current.ema),
                matched,
                schedules,
                steps=config.match_steps,
                centred=config.process.centred,
            )
        return line

    return fit(
        network,
        config.fit,
        loss=partial(diffcsp_loss, process=config.process, schedules=schedules),
        batches=lambda generator: epoch_batches(rows, config.fit.batch_size, generator, repeats),
        batch_crystals=lambda batch: len(batch.n_atoms),
        files={STATISTICS: data_statistics(rows) | {"most_atoms": _most_atoms(rows)}},
        held=held,
        validate=validation,
        **options,
    )


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
            "network": asdict(settings.network),
            "sampling": sampling,
        },
        about_training={"process": asdict(settings.process)},
        save_files={SCORE_NORMS: partial(write_score_norms, schedules_of(settings.process).norms)},
    )


def initial_weights(card: ModelCard) -> dict[str, Tensor]:
    """The weights of a checkpoint, as the start of another run; raises as ``load_network``."""
    return load_network(card).state_dict()


def _most_atoms(rows: PreparedCrystals) -> int:
    """The largest atom count that at least ten training crystals have, or where none has so many, any."""
    members = torch.bincount(rows.n_atoms.cpu())
    enough = torch.nonzero(members >= min(MIN_MEMBERS, int(members.max())))
    return int(enough.max())
