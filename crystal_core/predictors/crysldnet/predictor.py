"""The property predictor: one encoder, and every installed head that was trained on it.

Heads are found by their cards, so one that a user trains on a property of their own joins the
others without further ado.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from crystal_core.cards import ModelCard, checkpoint_folders, read_card
from crystal_core.chemistry.elements import periodic_table
from crystal_core.device import pick_device
from crystal_core.errors import CheckpointMismatch, CheckpointMissing, CrystalCoreError
from crystal_core.geometry import mean_per_crystal
from crystal_core.graphs.crystal_graphs import build_graphs
from crystal_core.predictors.crysldnet.adapters import adapted_encoder
from crystal_core.predictors.crysldnet.encoders.build import encoder_of
from crystal_core.predictors.crysldnet.export import ADAPTER, encoder_hash, expected_errors
from crystal_core.predictors.crysldnet.guide import PropertyTarget
from crystal_core.predictors.crysldnet.heads import IS_METAL, HeadsConfig, PropertyHeads
from crystal_core.predictors.latent_index import INDEX, LatentIndex
from crystal_core.properties import (
    PROPERTIES,
    CrystalPredictions,
    Prediction,
    PropertySpec,
    chosen_properties,
    spec_of,
)
from crystal_core.training.checkpoint import read_shards

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.crystal import CrystalBatch
    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer

log = logging.getLogger(__name__)
NEAREST = 3  # training crystals that are named, whatever is known of them
AT_ONCE = 64  # crystals of one forward pass


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The parts that turn the encoder's features into one property.

    Attributes:
        encoder: the shared one, or a copy of it with the changes of this adapter.
        interval, std: factors on the expected error, or None for a probability.
        lowest, highest: of the training values, in the form that is learned; no prediction goes beyond them.
    """

    spec: PropertySpec
    card: ModelCard
    encoder: Pddformer | Matformer
    heads: PropertyHeads
    interval: float | None
    std: float | None
    lowest: float = -math.inf
    highest: float = math.inf

    @torch.no_grad()
    def predict(self, vectors: Float[Tensor, "crystals width"]) -> list[Prediction]:
        """One prediction per crystal."""
        outputs = self.heads(vectors)
        mean, std = float(self.heads.mean[0]), float(self.heads.std[0])
        if self.spec.name == IS_METAL:
            odds = torch.sigmoid(outputs.members[:, 0]).mean(dim=-1)
            return [Prediction(value=value) for value in odds.tolist()]
        expected = expected_errors(outputs.members, outputs.log_scale)[:, 0] * std
        # far from the training crystals a logarithm that runs away would become a value of a
        # hundred times the largest
        values = (outputs.value[:, 0] * std + mean).clamp(self.lowest, self.highest)
        return [self._prediction(v, e) for v, e in zip(values.tolist(), expected.tolist(), strict=True)]

    def _prediction(self, learned: float, expected: float) -> Prediction:
        spec, value = self.spec, self.spec.from_learned(learned)
        if self.interval is None or self.std is None:
            return Prediction(value=value)
        half, one = self.interval * expected, self.std * expected
        return Prediction(
            value=value,
            std=0.5 * (spec.from_learned(learned + one) - spec.from_learned(learned - one)),
            low=spec.from_learned(learned - half),
            high=spec.from_learned(learned + half),
        )


class CrysldnetPredictor:
    """The :class:`crystal_core.protocols.PropertyPredictor` of this method."""

    def __init__(
        self,
        card: ModelCard,
        encoder: Pddformer | Matformer,
        adapters: tuple[Adapter, ...],
        index_file: Path,
        device: torch.device,
    ) -> None:
        self.card, self.encoder, self.adapters, self.device = card, encoder, adapters, device
        self._index_file = index_file

    @property
    def properties(self) -> tuple[PropertySpec, ...]:
        """Those of the installed heads: first in the order of :data:`crystal_core.properties.PROPERTIES`.

        Others follow by name.
        """
        return tuple(adapter.spec for adapter in self.adapters)

    @cached_property
    def index(self) -> LatentIndex:
        """The training crystals, with the true values that the encoder and the adapters learned."""
        index = LatentIndex.load(self._index_file)
        for adapter in self.adapters:
            index = index.with_known(adapter.spec.name, adapter.card.folder)
        return index

    @cached_property
    def unseen_elements(self) -> frozenset[int]:
        """Atomic numbers that no training crystal of the encoder holds."""
        seen = set(re.findall("[A-Z][a-z]?", " ".join(self.index.formulas)))
        return frozenset(one.number for symbol, one in periodic_table().items() if symbol not in seen)

    @cached_property
    def training_ids(self) -> frozenset[str]:
        """Ids of the encoder's training crystals, with any labels."""
        return frozenset(self.index.ids)

    def predict(
        self,
        crystals: CrystalBatch,
        properties: tuple[str, ...] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> list[CrystalPredictions]:
        """See :meth:`crystal_core.protocols.PropertyPredictor.predict`.

        Raises:
            RequestError: it has no such property, or a cell that no graph can be built of.
        """
        chosen = chosen_properties(properties, self.properties)
        adapters = [adapter for adapter in self.adapters if adapter.spec in chosen]
        encoders = [self.encoder]
        encoders += [a.encoder for a in adapters if a.encoder is not self.encoder]
        vectors = self.vectors(crystals, encoders, on_progress)
        places = {id(encoder): i for i, encoder in enumerate(encoders)}
        columns = {a.spec.name: a.predict(vectors[places[id(a.encoder)]]) for a in adapters}
        shared = vectors[0].cpu().numpy()
        examples, domains = self.index.nearest(shared, NEAREST, list(columns))
        places = self.index.places(shared).tolist()
        foreign = [self.unseen_elements & set(one.atomic_numbers.tolist()) for one in crystals]
        return [
            CrystalPredictions(
                predictions={name: column[i] for name, column in columns.items()},
                # a place near training crystals says nothing where the vector of an element was never learned
                domain="outside" if foreign[i] else domains[i],
                nearest=examples[i],
                place=(places[i][0], places[i][1]),
            )
            for i in range(len(crystals))
        ]

    def values(self, crystals: CrystalBatch, name: str) -> list[float]:
        """See :meth:`crystal_core.protocols.PropertyPredictor.values`."""
        adapter = self._adapter(name)
        (vectors,) = self.vectors(crystals, [adapter.encoder])
        return [prediction.value for prediction in adapter.predict(vectors)]

    def guide(self, name: str, target: float) -> PropertyTarget:
        """See :meth:`crystal_core.protocols.PropertyPredictor.guide`."""
        adapter = self._adapter(name)
        return PropertyTarget(adapter.encoder, adapter.heads, adapter.spec, target)

    def _adapter(self, name: str) -> Adapter:
        (spec,) = chosen_properties((name,), self.properties)
        return next(adapter for adapter in self.adapters if adapter.spec == spec)

    @torch.no_grad()
    def vectors(
        self,
        crystals: CrystalBatch,
        encoders: Sequence[Pddformer | Matformer] = (),
        on_progress: Callable[[int], None] | None = None,
    ) -> Float[Tensor, "encoders crystals width"]:
        """The mean feature of every crystal's atoms, in order, by the shared encoder or each of several."""
        graphs = build_graphs(crystals, self.encoder.graph)
        order = torch.argsort(graphs.n_atoms, stable=True)
        parts = []
        for done, chosen in enumerate(order.split(AT_ONCE)):
            some = graphs.select(chosen).to(self.device)
            parts.append(
                torch.stack(
                    [
                        mean_per_crystal(encoder(some), some.crystal_index, len(some))
                        for encoder in encoders or (self.encoder,)
                    ]
                )
            )
            if on_progress:
                on_progress(min(len(order), (done + 1) * AT_ONCE))
        return torch.cat(parts, dim=1)[:, torch.argsort(order).to(self.device)]


def load_crysldnet(card: ModelCard, device: str = "auto") -> CrysldnetPredictor:
    """The encoder that the bundle's card names, with all installed heads that were trained on it.

    Raises:
        CheckpointMissing: the encoder is not installed, or no head of it.
        CheckpointMismatch: a file is missing or changed.
    """
    folders = {folder.name: folder for folder in reversed(checkpoint_folders())}
    name = str(card.network.get("encoder", ""))
    if name not in folders:
        raise CheckpointMissing(f"The checkpoint '{card.name}' needs '{name}', which is not installed.")
    where = pick_device(device)
    encoder_card = read_card(folders[name])
    encoder = load_encoder(encoder_card).to(where)
    adapters = tuple(_adapters(list(folders.values()), encoder_card, encoder))
    if not adapters:
        raise CheckpointMissing(f"No property head of the encoder '{name}' is installed.")
    return CrysldnetPredictor(card, encoder, adapters, folders[name] / INDEX, where)


def load_encoder(card: ModelCard) -> Pddformer | Matformer:
    """The encoder of a card, on the CPU, in evaluation mode.

    Raises:
        CheckpointMismatch: a file is missing or changed, or the weights do not fit the card.
    """
    state = {key.removeprefix("encoder."): value for key, value in read_shards(card).items()}
    encoder = encoder_of(card.network)
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointMismatch(f"The weights of '{card.name}' do not fit its card: {error}.") from error
    return encoder.eval().requires_grad_(False)


def _adapters(folders: list[Path], encoder_card: ModelCard, encoder: Pddformer | Matformer) -> list[Adapter]:
    """The heads of this encoder, shown properties first; one that cannot be read is named in the log."""
    adapters: dict[str, Adapter] = {}
    for folder in folders:
        try:
            card = read_card(folder)
            if card.loader != ADAPTER or card.network.get("encoder") != encoder_card.name:
                continue
            if card.network.get("encoder_sha256") != encoder_hash(encoder_card):
                raise CheckpointMismatch(
                    f"The head '{card.name}' was trained on other weights of "
                    f"'{encoder_card.name}'; train it again."
                )
            adapter = load_adapter(card, encoder)
        except CrystalCoreError as error:
            log.warning("%s", error)
            continue
        adapters.setdefault(adapter.spec.name, adapter)
    order = {name: i for i, name in enumerate(PROPERTIES)}
    return sorted(adapters.values(), key=lambda a: (order.get(a.spec.name, math.inf), a.spec.name))


def load_adapter(card: ModelCard, encoder: Pddformer | Matformer) -> Adapter:
    """The heads of one property, on the device of the encoder.

    Raises:
        CheckpointMismatch: a file is missing or changed, or the weights do not fit.
    """
    device = next(encoder.parameters()).device
    state = read_shards(card)
    own = {key.removeprefix("heads."): v.unsqueeze(0) for key, v in state.items() if key.startswith("heads.")}
    spec = spec_of(str(card.network["property"]), card.network)
    n_members, hidden = own["weight_1"].shape[1:3]
    heads = PropertyHeads(
        (spec.name,),
        encoder.width,
        HeadsConfig(n_members=n_members, hidden=hidden, form=card.network.get("head_form", "mlp")),
    )
    try:
        heads.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointMismatch(f"The weights of '{card.name}' do not fit its encoder: {error}.") from error
    calibration = card.extra.get("calibration", {})
    return Adapter(
        spec=spec,
        card=card,
        encoder=adapted_encoder(encoder, state, float(card.network.get("scaling", 1.0))),
        heads=heads.eval().requires_grad_(False).to(device),
        interval=calibration.get("interval"),
        std=calibration.get("std"),
        lowest=calibration.get("lowest", -math.inf),
        highest=calibration.get("highest", math.inf),
    )
