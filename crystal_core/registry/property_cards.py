"""What a property predictor's cards declare: its models, properties, and spread of training values."""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from crystal_core.cards import ModelCard, checkpoint_folders
from crystal_core.errors import RequestError
from crystal_core.paths import checkpoints_dir, home_dir
from crystal_core.properties import PROPERTIES, PropertySpec, spec_of
from crystal_core.registry.methods import PREDICTORS
from crystal_core.registry.store import list_cards

if TYPE_CHECKING:
    from crystal_core.predictors.latent_index import LatentIndex


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often the training crystals have a property between two edges.

    Attributes:
        edges: in the unit of the property, rising, one more than ``counts``.
        counts: crystals between two edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def share_below(self, value: float) -> float:
        """Share of the training crystals below ``value``, 0 to 1; the bin it lies in counts in proportion.

        >>> Histogram(edges=(0.0, 1.0, 3.0), counts=(30, 10)).share_below(2.0)
        0.875
        """
        if value <= self.edges[0]:
            return 0.0
        if value >= self.edges[-1]:
            return 1.0
        k = bisect_right(self.edges, value) - 1
        inside = (value - self.edges[k]) / (self.edges[k + 1] - self.edges[k])
        return (sum(self.counts[:k]) + inside * self.counts[k]) / sum(self.counts)


def is_installed(model: str) -> bool:
    """Whether there is a checkpoint of that name; no card is read, so a page may ask at every click."""
    return any(folder.name == model for folder in checkpoint_folders())


def predictor_cards() -> dict[str, ModelCard]:
    """Name → card of every loadable predictor, without parts, whose names follow that of another."""
    cards = {card.name: card for card in list_cards("predictor") if card.loader in PREDICTORS}
    return {
        name: card for name, card in cards.items() if not any(name.startswith(f"{other}-") for other in cards)
    }


def declared_properties(model: str) -> tuple[PropertySpec, ...]:
    """Properties installed for a predictor, from cards alone: known ones in table order, others by name."""
    parts = property_parts(model)
    known = [name for name in PROPERTIES if name in parts]
    others = sorted(set(parts) - set(known))
    return tuple(spec_of(name, parts[name].network) for name in (*known, *others))


def shipped_property(encoder: str, name: str) -> bool:
    """Whether a checkpoint that came with this program predicts that property from that encoder."""
    return any(
        card.network.get("property") == name and card.network.get("encoder") == encoder
        for card in list_cards("predictor")
        if card.folder is not None and card.folder.parent == checkpoints_dir()
    )


def property_parts(model: str) -> dict[str, ModelCard]:
    """Property → card of the part that predicts it and names the encoder of ``model``, shipped ones first."""
    cards = list_cards("predictor")
    encoder = next((card.network.get("encoder") for card in cards if card.name == model), None)
    parts: dict[str, ModelCard] = {}
    for card in cards:
        if encoder is not None and "property" in card.network and card.network.get("encoder") == encoder:
            parts.setdefault(str(card.network["property"]), card)
    return parts


def property_part(model: str, name: str) -> ModelCard:
    """The card of the part of a predictor that predicts a property.

    Raises:
        RequestError: it has no such property.
    """
    parts = property_parts(model)
    if name not in parts:
        raise RequestError(f"'{model}' predicts no {name}. It has: {', '.join(parts)}.")
    return parts[name]


def own_properties(model: str) -> dict[str, ModelCard]:
    """Property → card of each that was learned on this machine and that ``model`` predicts."""
    return {name: card for name, card in property_parts(model).items() if _is_own(card)}


def remove_own_property(model: str, name: str) -> None:
    """Delete the checkpoint of a property that was learned on this machine.

    Raises:
        RequestError: there is none; one that came with this program stays.
    """
    card = own_properties(model).get(name)
    if card is None or card.folder is None:
        raise RequestError(
            f"No property '{name}' was learned on this machine, so there is nothing to remove."
        )
    shutil.rmtree(card.folder)


def installed_parts(model: str) -> tuple[tuple[str, str], ...]:
    """Folder and weights hash of all parts of a predictor; another set means another predictor."""
    cards = list_cards("predictor")
    encoder = next((card.network.get("encoder") for card in cards if card.name == model), None)
    chosen = [
        card
        for card in cards
        if card.name in (model, encoder) or (encoder is not None and card.network.get("encoder") == encoder)
    ]
    return tuple((str(card.folder), card.weights_sha256) for card in chosen)


def _is_own(card: ModelCard) -> bool:
    return card.folder is not None and card.folder.parent == home_dir() / "checkpoints"


def training_histograms(model: str) -> dict[str, Histogram]:
    """Property → its training values, where the cards of a predictor's parts record them."""
    histograms = {
        name: _histogram(card.extra.get("histogram")) for name, card in property_parts(model).items()
    }
    return {name: histogram for name, histogram in histograms.items() if histogram is not None}


def known_crystals(model: str) -> LatentIndex | None:
    """The training crystals of a predictor's encoder, or None where they are not installed."""
    from crystal_core.predictors.latent_index import INDEX, LatentIndex

    encoder = next((c.network.get("encoder") for c in list_cards("predictor") if c.name == model), None)
    folder = next((folder for folder in checkpoint_folders() if folder.name == encoder), None)
    if folder is None or not (folder / INDEX).is_file():
        return None
    index = LatentIndex.load(folder / INDEX)
    for name, part in property_parts(model).items():
        index = index.with_known(name, part.folder)
    return index


def _histogram(stored: Any) -> Histogram | None:
    if not isinstance(stored, Mapping):
        return None
    edges, counts = tuple(stored.get("edges", ())), tuple(stored.get("counts", ()))
    rising = all(low < high for low, high in pairwise(edges))
    if not counts or len(edges) != len(counts) + 1 or not rising or sum(counts) <= 0:
        return None
    return Histogram(edges=edges, counts=counts)
