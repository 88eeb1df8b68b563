"""Train CrysLLMGen's small language model: its sequences, loss, configuration and checkpoint."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crystal_core.cards import ModelCard
from crystal_core.checks import check_choice
from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.conditions import PROPERTIES, prompt_tokens
from crystal_core.generators.crysllmgen.config import TinyConfig, build_network
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals
from crystal_core.generators.crysllmgen.tokenizer import ATOM, CELL, TokenBatch, assemble, crystal_tokens
from crystal_core.training.checkpoint import load_exactly, read_shards, write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import (
    Batch,
    PreparedCrystals,
    RowSettings,
    data_statistics,
    draws_per_epoch,
    epoch_order,
    fixed_sample,
    load_rows,
)
from crystal_core.training.fit import Trained
from crystal_core.training.settings import parse_settings
from crystal_core.training.slices import SliceOptions, fit

STATISTICS = "statistics.json"  # of the training crystals, in a run's folder
TIED = "lm_head.weight"  # the embedding once more
PUBLISHED = {"temperature": 1.0, "top_p": 0.7}  # of sampling, until others are chosen on validation crystals
BUCKET = 32  # batches that are sorted by length together


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """Which conditions precede a training crystal; drawn at each access, so the model learns both ways.

    Attributes:
        unconditional: share of crystals without any condition.
        composition, elements: share of the others that name the atoms of their cell, or their elements alone.
        properties: conditions on properties; a known value stands in the prompt with
            probability ``property_share``.
    """

    unconditional: float = 0.25
    composition: float = 0.5
    elements: float = 0.25
    properties: tuple[str, ...] = ("formation_energy", "band_gap", "e_above_hull")
    property_share: float = 0.3

    def __post_init__(self) -> None:
        for name in self.properties:
            check_choice("condition", name, tuple(PROPERTIES))
        in_order = tuple(name for name in PROPERTIES if name in self.properties)
        object.__setattr__(self, "properties", in_order)
        shares = (self.unconditional, self.composition, self.elements, self.property_share)
        if not all(0 <= share <= 1 for share in shares) or self.composition + self.elements > 1:
            raise RequestError(
                "Shares of prompts lie between 0 and 1, and composition and elements add up to 1 at most."
            )


@dataclass(frozen=True, kw_only=True)
class TextTraining(RowSettings):
    """A training configuration file: which rows, which prompts, which sizes, how to optimise.

    Attributes:
        shuffled: share of crystals whose groups of elements, and atoms within a group, stand in random order.
        init_from: checkpoint whose EMA weights start the run, or "".
    """

    name: str
    shuffled: float = 0.5
    init_from: str = ""
    prompts: PromptSettings = field(default_factory=PromptSettings)
    network: TinyConfig = field(default_factory=TinyConfig)
    fit: FitConfig = field(default_factory=FitConfig)


def settings_from(text: str) -> TextTraining:
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, TextTraining)


class Sequences:
    """Crystals as token sequences, with a new prompt, origin and order of sites at each access.

    Raises:
        RequestError: a row that the tokens cannot write, a label that the file lacks, or a
            sequence beyond ``max_tokens``.
    """

    def __init__(self, rows: PreparedCrystals, settings: TextTraining) -> None:
        self.rows, self.prompts, self.shuffled = rows, settings.prompts, settings.shuffled
        self._known = known_labels(rows, self.prompts.properties, "prompts")
        # a row that cannot be written is refused now, not in the middle of a run
        crystal_tokens(_grid_of(rows))
        self._compositions = [
            Counter(numbers.tolist()) for numbers in rows.atomic_numbers.split(rows.n_atoms.tolist())
        ]
        most = max(map(len, self._compositions))
        longest = 4 + 3 * most + 9 * len(self._known) + CELL + ATOM * int(rows.n_atoms.max()) + 1
        if longest > settings.network.max_tokens:
            raise RequestError(
                f"A sequence may have {longest} tokens and [network] max_tokens is "
                f"{settings.network.max_tokens}; raise it."
            )

    def batches(
        self, size: int, generator: torch.Generator, repeats: Tensor | None = None
    ) -> Iterator[TokenBatch]:
        """An epoch; sorting ``BUCKET`` batches at a time by length avoids most of the padding."""
        order = epoch_order(len(self.rows), generator, repeats)
        for chosen in order.split(BUCKET * size):
            prompts = self.random_prompts(chosen, generator)
            lengths = torch.tensor([len(prompt) for prompt in prompts]) + ATOM * self.rows.n_atoms[chosen]
            batches = torch.argsort(lengths, stable=True).split(size)
            for i in torch.randperm(len(batches), generator=generator).tolist():
                crystals = chosen[batches[i]]
                yield self.encode(crystals, [prompts[j] for j in batches[i].tolist()], generator)

    def random_prompts(self, crystals: Tensor, generator: torch.Generator) -> list[list[int]]:
        """A prompt of each crystal, with the shares of the settings."""
        shares = self.prompts
        draws = torch.rand(len(crystals), 2 + len(shares.properties), generator=generator).tolist()
        prompts = []
        for i, (any_at_all, atoms, *of_property) in zip(crystals.tolist(), draws, strict=True):
            if any_at_all < shares.unconditional:
                prompts.append(prompt_tokens(Conditions()))
                continue
            given: dict[str, Any] = {}
            if atoms < shares.composition:
                given["composition"] = self._compositions[i]
            elif atoms < shares.composition + shares.elements:
                given["elements"] = tuple(self._compositions[i])
            for name, draw in zip(shares.properties, of_property, strict=True):
                value = self._known[name][i]
                if draw < shares.property_share and not math.isnan(value):
                    given[name] = int(value) if name == "space_group" else value
            prompts.append(prompt_tokens(Conditions(**given)))
        return prompts

    def composition_prompts(self, crystals: Tensor) -> list[list[int]]:
        """The prompt of each crystal that names its atoms alone."""
        return [prompt_tokens(Conditions(composition=self._compositions[i])) for i in crystals.tolist()]

    def encode(self, crystals: Tensor, prompts: list[list[int]], generator: torch.Generator) -> TokenBatch:
        """Prompts and crystals, each crystal moved by a random vector."""
        batch = shuffle_sites(self.rows.select(crystals), self.shuffled, generator)
        shift = torch.rand(len(crystals), 3, generator=generator)
        moved = batch.frac_coords + torch.repeat_interleave(shift, batch.n_atoms, 0)
        return assemble(prompts, _grid_of(replace(batch, frac_coords=moved)))


def known_labels(rows: PreparedCrystals, properties: Sequence[str], table: str) -> dict[str, list[float]]:
    """The values of conditions on properties, one per row, NaN where unknown.

    Raises:
        RequestError: the file lacks a label; ``table`` names the conditions in the configuration.
    """
    columns = {name: PROPERTIES[name][1] for name in properties}
    missing = [column for column in columns.values() if column not in rows.labels]
    if missing:
        raise RequestError(
            f"The prepared file has no label {', '.join(missing)}; prepare it anew, "
            f"or leave the condition out of [{table}]."
        )
    return {name: rows.labels[column].tolist() for name, column in columns.items()}


def shuffle_sites(batch: Batch, share: float, generator: torch.Generator) -> Batch:
    """The crystals, a ``share`` of them with element groups, and atoms in each group, in random order."""
    crystals, atoms = len(batch.n_atoms), len(batch.atomic_numbers)
    index = torch.repeat_interleave(torch.arange(crystals), batch.n_atoms)
    shuffled = (torch.rand(crystals, generator=generator) < share)[index]
    group = torch.rand(crystals, vocabulary.MAX_Z + 1, generator=generator)[index, batch.atomic_numbers]
    place = torch.where(shuffled, torch.rand(atoms, generator=generator), torch.arange(atoms))
    keys = (place.numpy(), torch.where(shuffled, group, 0.0).numpy(), index.numpy())
    order = torch.from_numpy(np.lexsort(keys))  # by crystal, then group, then place
    return replace(batch, atomic_numbers=batch.atomic_numbers[order], frac_coords=batch.frac_coords[order])


def text_loss(network: torch.nn.Module, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Cross entropy of every token after the first, (crystals, longest - 1), and where a token stands there.

    Positions count by length: a mask by the padding's id would hide the end of a sequence
    where both share one.
    """
    device = next(network.parameters()).device
    ids = batch.ids.to(device)
    logits = network(input_ids=ids[:, :-1], use_cache=False).logits
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    places = torch.arange(1, ids.shape[1], device=device)
    return losses.view(len(batch), -1), places < batch.lengths.to(device)[:, None]


@torch.no_grad()
def validation_loss(network: torch.nn.Module, held: Sequences, size: int) -> dict[str, float]:
    """Nats per token of the crystals, without a condition and with their composition; a fixed draw."""
    order = torch.argsort(held.rows.n_atoms, stable=True)
    means = {}
    for name in ("unconditional", "composition"):
        generator = torch.Generator().manual_seed(0)
        total, count = 0.0, 0
        for crystals in order.split(size):
            free = [prompt_tokens(Conditions())] * len(crystals)
            prompts = held.composition_prompts(crystals) if name == "composition" else free
            batch = held.encode(crystals, prompts, generator)
            losses, present = text_loss(network, batch)
            places = torch.arange(1, batch.ids.shape[1])
            counted = present & (places >= batch.prompts[:, None]).to(present.device)
            total, count = total + float(losses[counted].sum()), count + int(counted.sum())
        means[f"nats_{name}"] = round(total / count, 5)
    return means


def train(
    config: TextTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> Trained:
    """Run one slice."""
    torch.manual_seed(config.fit.seed)
    rows, validation = load_rows(config, data_file, "cpu")  # sequences are built on the CPU
    train_set = Sequences(rows, config)
    held = Sequences(fixed_sample(validation, config.validation_rows), config) if validation else None
    network = build_network(config.network)
    if options["device"].type == "cpu":
        use_plain_attention(network)
    if initial is not None:
        load_into(network, initial)
    repeats = draws_per_epoch(config, rows)

    def loss(net: torch.nn.Module, batch: TokenBatch, _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        losses, present = text_loss(net, batch)
        return (losses * present).sum() / present.sum(), {}

    return fit(
        network,
        config.fit,
        loss=loss,
        batches=lambda generator: train_set.batches(config.fit.batch_size, generator, repeats),
        files={STATISTICS: data_statistics(rows) | space_group_statistics(rows)},
        held=held,
        validate=lambda current, rows: validation_loss(current.ema, rows, config.fit.batch_size),
        **options,
    )


def use_plain_attention(network: Any) -> None:
    """Let a transformers model attend by plain products, for training on a CPU.

    The fused attention takes 26 to 40 % of a step there; plain products make it 1.2 to 1.4 times as fast.
    """
    network.set_attn_implementation("eager")


def space_group_statistics(rows: PreparedCrystals) -> dict[str, Any]:
    """How often each space group occurs among the rows that name one; nothing where none does."""
    numbers = rows.labels.get(PROPERTIES["space_group"][1])
    if numbers is None or not bool(torch.isfinite(numbers).any()):
        return {}
    known = numbers[torch.isfinite(numbers)].long()
    counts = Counter(known.tolist())
    return {"space_group_frequencies": {str(n): round(c / len(known), 6) for n, c in sorted(counts.items())}}


def trained_conditions(
    properties: Sequence[str], statistics: Mapping[str, Any], *, composition: bool, elements: bool
) -> list[str]:
    """What a model can be told, as its card names it: the conditions of its training prompts.

    Args:
        properties: named in prompts. statistics: of the training rows.
        composition, elements: whether prompts named the formula, or the elements alone.
    """
    conditions = [
        *(["composition"] if composition else []),
        *(["elements"] if elements else []),
        *properties,
    ]
    if "space_group" in conditions and "space_group_frequencies" in statistics:
        conditions.append("crystal_system")
    return conditions


def export_checkpoint(name: str, *, trained: Trained, settings: TextTraining, log: Path) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, validation curve, and a card without metrics yet.

    The card names the conditions that the model can be told: those of its training prompts.
    """
    statistics = json.loads((log.parent / STATISTICS).read_text(encoding="utf-8"))
    prompts = settings.prompts
    conditions = trained_conditions(
        prompts.properties,
        statistics,
        composition=prompts.composition > 0,
        elements=prompts.elements > 0,
    )
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "task": "de novo generation",
            "method": "CrysLLMGen (NeurIPS 2025)",
            "loader": "crysllmgen",
            "network": asdict(settings.network),
            "sampling": statistics | {"conditions": conditions, "draft": PUBLISHED},
        },
        about_training={"prompts": asdict(settings.prompts)},
        without=(TIED,),
    )


def initial_weights(card: ModelCard) -> dict[str, Tensor]:
    """The weights of a checkpoint, as the start of another run.

    Raises:
        CheckpointMismatch: a file is missing or changed.
    """
    return read_shards(card)


def load_into(network: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put the weights of a checkpoint into a network; the embedding also serves as its output layer.

    Raises:
        CheckpointMismatch: names or shapes differ.
    """
    load_exactly(network, state, "The weights do not fit the network of this configuration", without=(TIED,))


def _grid_of(crystals: Batch | PreparedCrystals) -> GridCrystals:
    return GridCrystals.from_parameters(
        crystals.cell_parameters, crystals.frac_coords, crystals.atomic_numbers, crystals.n_atoms
    )
