"""Train a low-rank adapter on texts of crystals: write under conditions, name a hidden element."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from crystal_core.checks import check_choice
from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError
from crystal_core.generators.crysllmgen.backends.hf import BESIDE, base_folder, load_base
from crystal_core.generators.crysllmgen.backends.smollm2 import PACKAGES, SMOLLM2
from crystal_core.generators.crysllmgen.backends.text import Texts, answer_losses, check_digits
from crystal_core.generators.crysllmgen.conditions import (
    PROPERTIES,
    Wording,
    infill_prompt,
    prompt_text,
    read_wording,
)
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, to_lines
from crystal_core.generators.crysllmgen.lora import Adapter, LoraSettings
from crystal_core.generators.crysllmgen.training import (
    BUCKET,
    PUBLISHED,
    STATISTICS,
    initial_weights,
    known_labels,
    space_group_statistics,
    trained_conditions,
    use_plain_attention,
)
from crystal_core.generators.crysllmgen.vocabulary import SYMBOLS
from crystal_core.training.checkpoint import write_checkpoint
from crystal_core.training.config import FitConfig
from crystal_core.training.data import (
    PreparedCrystals,
    RowSettings,
    data_statistics,
    draws_per_epoch,
    epoch_order,
    fixed_sample,
    load_rows,
)
from crystal_core.training.fit import Trained
from crystal_core.training.precision import pick_dtype
from crystal_core.training.settings import parse_settings
from crystal_core.training.slices import SliceOptions, fit

# what every method of training has
__all__ = ["export_checkpoint", "initial_weights", "settings_from", "train"]
Pair = tuple[list[int], int]  # ids of a prompt, its answer and the end; tokens of the prompt


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What the adapter learns, with the published shares (Gruver et al. 2024, Khastagir et al. 2025).

    Attributes:
        generation: share of the items that ask for a crystal; the others hide an element and ask for it.
        properties: conditions of which a prompt names 0 to 4; one in five names none of them.
        composition, elements: share of the prompts that name the formula beside a property, as all
            published ones do, or the elements alone, with or without one; the others name properties only.
        prompt_loss: also learn the words of the prompts.
    """

    generation: float = 0.66
    properties: tuple[str, ...] = ("formation_energy", "band_gap", "e_above_hull", "space_group")
    composition: float = 1.0
    elements: float = 0.0
    prompt_loss: bool = True

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in (self.generation, self.composition, self.elements)):
            raise RequestError("Shares of items and prompts lie between 0 and 1.")
        if self.composition + self.elements > 1:
            raise RequestError("The shares composition and elements add up to 1 at most.")
        for name in self.properties:
            check_choice("condition", name, tuple(PROPERTIES))
        object.__setattr__(self, "properties", tuple(self.properties))


@dataclass(frozen=True, kw_only=True)
class AdapterTraining(RowSettings):
    """A training configuration file of an adapter.

    Attributes:
        base: "smollm2", or a folder with a language model.
        init_from: checkpoint of an adapter to begin with, or "".
    """

    name: str
    base: str = SMOLLM2
    init_from: str = ""
    tasks: TaskSettings = field(default_factory=TaskSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    fit: FitConfig = field(default_factory=FitConfig)


def settings_from(text: str) -> AdapterTraining:
    """A typed configuration from TOML text; raises as :func:`parse_settings`."""
    return parse_settings(text, AdapterTraining)


class Tasks:
    """The crystals of a data set as prompts and answers, drawn anew at every access.

    Raises:
        RequestError: a label that the file lacks, or a row that the lines cannot write.
    """

    def __init__(
        self, rows: PreparedCrystals, settings: TaskSettings, wording: Wording, texts: Texts
    ) -> None:
        self.rows, self.settings, self.wording, self.texts = rows, settings, wording, texts
        self._known = known_labels(rows, settings.properties, "tasks")
        # what cannot be written is refused now
        grid_of(rows, torch.arange(len(rows)), torch.zeros(len(rows), 3))

    def batches(
        self, size: int, generator: torch.Generator, repeats: Tensor | None = None
    ) -> Iterator[list[Pair]]:
        """An epoch; sorting ``BUCKET`` batches at a time by length avoids half of the padding."""
        for chosen in epoch_order(len(self.rows), generator, repeats).split(BUCKET * size):
            pairs = sorted(self.pairs(chosen, generator), key=lambda pair: len(pair[0]))
            starts = torch.arange(0, len(pairs), size)
            for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
                yield pairs[start : start + size]

    def pairs(
        self, crystals: Tensor, generator: torch.Generator, *, generation: float | None = None
    ) -> list[Pair]:
        """Prompt and answer of each crystal, which is moved by a random vector first."""
        shift = torch.rand(len(crystals), 3, generator=generator)
        lines = to_lines(grid_of(self.rows, crystals, shift))
        draw = random.Random(int(torch.randint(2**62, (1,), generator=generator)))  # noqa: S311 (no secret)
        share = self.settings.generation if generation is None else generation
        pairs = []
        for i, text in zip(crystals.tolist(), lines, strict=True):
            if draw.random() < share:
                prompt, answer = prompt_text(self._conditions(i, text, draw), self.wording), text
            else:
                answer = draw.choice(sorted(set(text.split("\n")[2::2])))
                prompt = infill_prompt(text, answer, self.wording)
            pairs.append(self.texts.pair(prompt, answer))
        return pairs

    def _conditions(self, i: int, text: str, draw: random.Random) -> Conditions:
        count, atoms = draw.randrange(len(self.settings.properties) + 1), draw.random()
        named = atoms < self.settings.composition
        listed = not named and atoms < self.settings.composition + self.settings.elements
        if not (count or listed):
            return Conditions()
        values: dict[str, Any] = {}
        for name in draw.sample(self.settings.properties, count):
            value = self._known[name][i]
            if not math.isnan(value):  # unknown values stay out of the prompt
                values[name] = int(value) if name == "space_group" else value
        symbols = Counter(text.split("\n")[2::2])
        composition = {SYMBOLS.index(symbol) + 1: n for symbol, n in symbols.items()}
        if named:
            values["composition"] = composition
        elif listed:
            values["elements"] = tuple(composition)
        return Conditions(**values)


def grid_of(rows: PreparedCrystals, crystals: Tensor, shift: Tensor) -> GridCrystals:
    """Rows of a prepared file on the grid of the text, each moved by a fractional vector."""
    batch = rows.select(crystals)
    moved = batch.frac_coords + torch.repeat_interleave(shift, batch.n_atoms, 0)
    return GridCrystals.from_parameters(batch.cell_parameters, moved, batch.atomic_numbers, batch.n_atoms)


@torch.no_grad()
def validation_loss(network: Adapter, held: Tasks, size: int) -> dict[str, float]:
    """Nats per token of texts of crystals, and of hidden elements; the same draw at every epoch."""
    means, device = {}, next(network.parameters()).device
    for name, generation in (("nats_text", 1.0), ("nats_infill", 0.0)):
        generator = torch.Generator().manual_seed(0)
        total, count = 0.0, 0
        for crystals in torch.arange(len(held.rows)).split(size):
            pairs = held.pairs(crystals, generator, generation=generation)
            losses, counted = answer_losses(network, pairs, pad=held.texts.pad, device=device)
            total, count = total + float(losses[counted].sum()), count + int(counted.sum())
        means[name] = round(total / count, 5)
    return means


def train(
    config: AdapterTraining,
    *,
    data_file: Path,
    initial: dict[str, Tensor] | None = None,
    **options: Unpack[SliceOptions],
) -> Trained:
    """Run one slice."""
    device = options["device"]
    rows, validation = load_rows(config, data_file, "cpu")
    network, tokenizer = load_base(base_folder(config.base), device)
    check_digits(tokenizer)
    network.to(pick_dtype(config.fit.precision, device))
    if device.type == "cpu":
        use_plain_attention(network)
    torch.manual_seed(config.fit.seed)
    adapter = Adapter(network, config.lora)
    if initial is not None:
        adapter.load(initial)
    texts, wording = Texts(tokenizer), read_wording()
    tasks = Tasks(rows, config.tasks, wording, texts)
    held = (
        Tasks(fixed_sample(validation, config.validation_rows), config.tasks, wording, texts)
        if validation
        else None
    )
    repeats = draws_per_epoch(config, rows)

    def loss(net: Any, batch: list[Pair], _: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        losses, counted = answer_losses(
            net, batch, pad=texts.pad, device=device, with_prompts=config.tasks.prompt_loss
        )
        return (losses * counted).sum() / counted.sum(), {}

    return fit(
        adapter,
        config.fit,
        loss=loss,
        batches=lambda generator: tasks.batches(config.fit.batch_size, generator, repeats),
        files={STATISTICS: data_statistics(rows) | space_group_statistics(rows)},
        held=held,
        validate=lambda current, rows: validation_loss(current.ema, rows, config.fit.batch_size),  # type: ignore[arg-type]
        **options,
    )


def export_checkpoint(name: str, *, trained: Trained, settings: AdapterTraining, log: Path) -> Path:
    """Write ``checkpoints/<name>/``: EMA weights, wording, validation curve, a card without metrics."""
    statistics = json.loads((log.parent / STATISTICS).read_text(encoding="utf-8"))
    tasks = settings.tasks
    conditions = trained_conditions(
        tasks.properties, statistics, composition=tasks.composition > 0, elements=tasks.elements > 0
    )
    return write_checkpoint(
        name,
        trainer=trained.trainer,
        log=log,
        fields={
            "task": "de novo generation",
            "method": "CrysLLMGen (NeurIPS 2025)",
            "loader": "crysllmgen",
            "network": {"base": settings.base, "lora": asdict(settings.lora)},
            "extra": {"requires": list(PACKAGES) if settings.base == SMOLLM2 else []},
            "sampling": statistics | {"conditions": conditions, "draft": PUBLISHED},
        },
        about_training={"tasks": asdict(settings.tasks)},
        files={BESIDE: json.dumps(asdict(read_wording()), indent=1)},
    )
