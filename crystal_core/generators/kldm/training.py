"""Train KLDM on a prepared file: loss, validation, configuration, and the checkpoint at the end."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

import torch
from torch import Tensor
from torch.nn import functional

from crystal_core.cards import ModelCard
from crystal_core.checks import check_choice
from crystal_core.errors import RequestError
from crystal_core.generators.kldm.codec import LATTICE, LatticeCodec
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.match_rate import match_rate
from crystal_core.generators.kldm.process import noisy_state
from crystal_core.generators.kldm.species import species_process
from crystal_core.generators.kldm.weights import EXACT, load_weights, starting_weights
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.training.checkpoint import write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import (
    Batch,
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

log = logging.getLogger(__name__)
T_MIN = 0.001


@dataclass(frozen=True, kw_only=True)
class KldmTraining(RowSettings):
    """A training configuration file: which data, which sizes, which process, how to optimise.

    Attributes:
        task: "csp" (structure prediction: the types are given) or "dng" (de novo generation:
            ``process.species`` says how they diffuse, and sets the network's type input and output).
        type_weight: factor on the loss of the types; the mean of the terms is what falls.
        init_from: checkpoint whose EMA weights start the run, or ""; a de novo run may start from a model of
            structure prediction with the same layers (see ``starting_weights``).
        match_rows: fixed random rows of the validation split whose match rate is measured every
            ``match_every_epochs`` with ``match_steps`` predictor–corrector steps; 0 for none. Needs pymatgen,
            and is left out without it.
    """

    name: str
    task: str = "csp"
    type_weight: float = 1.0
    init_from: str = ""
    match_rows: int = 0
    match_every_epochs: int = 5
    match_steps: int = 50
    network: PairNetworkConfig = field(default_factory=PairNetworkConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("task", self.task, ("csp", "dng"))
        if (self.task == "dng") != (self.process.species != "fixed"):
            raise RequestError(
                "Task 'dng' needs [process] species = one-hot, analog-bits or masking; "
                "task 'csp' needs it fixed."
            )
        if self.task == "dng" and self.match_rows:
            raise RequestError("A match rate needs given compositions: leave out match_rows for task 'dng'.")
        species = species_process(self.process)
        if species is not None:
            object.__setattr__(self, "network", replace(self.network, **species.network_sizes))


def settings_from(text: str) -> KldmTraining:
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, KldmTraining)


def kldm_loss(
    network: torch.nn.Module,
    batch: Batch,
    generator: torch.Generator,
    codec: LatticeCodec,
    process: ProcessConfig,
    type_weight: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean of the terms present, one time per crystal in (0.001, 1].

    L_v and L_l are plain mean squared errors over atoms × 3 and crystals × 6; L_h is that of the types'
    option, times ``type_weight`` (see :mod:`crystal_core.generators.kldm.species`).
    """
    packing = pack(batch.n_atoms)
    t = T_MIN + (1 - T_MIN) * (
        1 - torch.rand(packing.n_crystals, generator=generator, device=batch.n_atoms.device)
    )
    lattice = codec.encode(batch.cell_parameters, batch.n_atoms)
    # lengths and angles fit a crystal and its mirror image, which the network cannot tell apart: learn both
    hand = torch.randint(0, 2, (packing.n_crystals,), generator=generator, device=batch.n_atoms.device)
    mirrored = (1 - 2 * hand)[packing.crystal_index].unsqueeze(-1) * batch.frac_coords
    state = noisy_state(mirrored, lattice, t, packing, process, generator)
    species = species_process(process)
    if species is None:
        velocity, cell = network(
            t, state.frac_coords, state.velocity, batch.atomic_numbers, state.lattice, packing
        )
    else:
        types = species.noisy(batch.atomic_numbers, t[packing.crystal_index], generator)
        velocity, cell, output = network(
            t, state.frac_coords, state.velocity, types.value, state.lattice, packing
        )
    loss_v = functional.mse_loss(velocity.float(), state.velocity_target)
    loss_l = functional.mse_loss(cell.float(), state.lattice_target)
    parts = {"loss_v": loss_v.detach(), "loss_l": loss_l.detach()}
    if species is None:
        return 0.5 * (loss_v + loss_l), parts
    loss_h = species.loss(output, types)
    return (loss_v + loss_l + type_weight * loss_h) / 3.0, parts | {"loss_h": loss_h.detach()}


@torch.no_grad()
def validation_loss(
    network: torch.nn.Module,
    data: PreparedCrystals,
    codec: LatticeCodec,
    process: ProcessConfig,
    batch_size: int,
) -> dict[str, float]:
    """The losses on fixed rows with fixed noise: the same draw at every epoch."""
    return fixed_losses(
        data,
        batch_size,
        lambda batch, generator: kldm_loss(network, batch, generator, codec, process)[1],
        of_crystals=("loss_l",),
    )


def train(
    config: KldmTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> Trained:
    """Run one slice."""
    torch.manual_seed(config.fit.seed)
    rows, held = load_rows(config, data_file, options["device"])
    codec = LatticeCodec.from_training(rows.cell_parameters[:, :3].cpu(), rows.n_atoms.cpu())
    network = PairNetwork(config.network)
    if initial is not None:
        network.load_state_dict(starting_weights(initial, network, config.process.species))
    matched = fixed_sample(held, config.match_rows) if held is not None and config.match_rows else None
    if held is not None:
        held = fixed_sample(held, config.validation_rows)
    repeats = draws_per_epoch(config, rows)

    def validation(current: Trainer, rows: PreparedCrystals) -> dict[str, Any]:
        line: dict[str, Any] = validation_loss(
            current.ema, rows, codec, config.process, config.fit.batch_size
        )
        if matched is not None and current.is_due(config.match_every_epochs):
            line |= match_rate(
                cast("PairNetwork", current.ema), matched, codec, config.process, steps=config.match_steps
            )
        return line

    return fit(
        network,
        config.fit,
        loss=partial(kldm_loss, codec=codec, process=config.process, type_weight=config.type_weight),
        batches=lambda generator: epoch_batches(rows, config.fit.batch_size, generator, repeats),
        batch_crystals=lambda batch: len(batch.n_atoms),
        files={LATTICE: json.loads(codec.to_json()), "statistics.json": data_statistics(rows)},
        held=held,
        validate=validation,
        **options,
    )


def export_checkpoint(name: str, *, trained: Trained, settings: KldmTraining, log: Path) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, lattice statistics, validation curve and card.

    The card also states the elements of the training crystals, the atoms of the largest cell with statistics
    of its own, and the atom counts as the run's folder holds them: for de novo models how often each occurs,
    for the others only where there is a single one. Of an older card of that name, what was measured with
    other weights goes; data and source, which people write, stay.
    """
    codec = LatticeCodec.from_json((log.parent / LATTICE).read_text(encoding="utf-8"))
    seen = json.loads((log.parent / "statistics.json").read_text(encoding="utf-8"))
    if settings.task == "csp":
        counts = [int(n) for n in seen.pop("atom_count_frequencies")]
        seen |= {"atom_counts": counts} if len(counts) == 1 else {}
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "task": "structure prediction" if settings.task == "csp" else "de novo generation",
            "method": "KLDM (ICML 2025)",
            "loader": "kldm",
            "network": asdict(settings.network),
            "sampling": seen | {"most_atoms": codec.most_atoms},
        },
        about_training={"process": asdict(settings.process)},
        files={LATTICE: codec.to_json()},
        exact=EXACT,
    )


def initial_weights(card: ModelCard) -> dict[str, Tensor]:
    """The weights of a checkpoint, as the start of another run; raises as ``load_weights``."""
    return load_weights(card)[0]
