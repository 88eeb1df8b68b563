"""Find checkpoints and load them by name. Cards are cheap to read; weights are loaded with a model only."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.cards import CURVE, ModelCard, checkpoint_folder, checkpoint_folders, read_card
from crystal_core.errors import CheckpointMismatch, CheckpointMissing
from crystal_core.registry.combined import completed, is_combined
from crystal_core.registry.methods import LOADERS, PREDICTORS, RANKERS, find, place_of

if TYPE_CHECKING:
    from crystal_core.protocols import CandidateRanker, DeNovoGenerator, Generator, PropertyPredictor


log = logging.getLogger(__name__)


def list_cards(kind: str | None = None) -> list[ModelCard]:
    """Every readable card, of one ``kind`` ("generator", "predictor") or all.

    ``crystal-core models verify`` names the others.
    """
    cards = []
    for folder in checkpoint_folders():
        try:
            cards.append(_whole(read_card(folder)))
        except (CheckpointMismatch, CheckpointMissing) as error:
            log.warning("%s", error)
    return [card for card in cards if kind is None or card.kind == kind]


def runnable_cards(kind: str | None = None) -> list[ModelCard]:
    """As :func:`list_cards`, without models of which a package is missing: what a choice offers."""
    return [card for card in list_cards(kind) if not card.missing_packages]


def find_card(name: str) -> ModelCard:
    """The card of that name; that of a combined model with what its parts tell.

    Raises:
        CheckpointMissing: no such checkpoint, or a part of it is missing; the message lists those there are.
    """
    return _whole(_card_as_written(name))


def _card_as_written(name: str) -> ModelCard:
    folder = checkpoint_folder(name)
    if folder is None:
        known = ", ".join(sorted({folder.name for folder in checkpoint_folders()})) or "none"
        raise CheckpointMissing(f"No checkpoint named '{name}' is installed. Installed are: {known}.")
    return read_card(folder)


def _whole(card: ModelCard) -> ModelCard:
    return completed(card, _card_as_written) if is_combined(card) else card


def training_log(card: ModelCard) -> list[dict[str, Any]]:
    """The validation curve that lies beside a card: one row per epoch kept; empty where there is none."""
    path = (card.folder or Path()) / CURVE
    if card.folder is None or CURVE not in card.files or not path.is_file():
        return []
    return json.loads(path.read_text(encoding="utf-8"))


def load_generator(name: str, device: str = "auto") -> Generator | DeNovoGenerator:
    """A generator with its weights, ready to sample, on the given device ("auto", "cpu", "cuda").

    Raises:
        CheckpointMissing: no checkpoint of that name. CheckpointMismatch: the weights do not fit the card.
    """
    card = find_card(name)
    if card.kind != "generator" or place_of(LOADERS, card.loader, "loader") is None:
        raise CheckpointMissing(
            f"'{name}' is not a generator this version can load (its loader is '{card.loader}')."
        )
    return find(LOADERS, card.loader, "loader")(card, device)


def load_predictor(name: str, device: str = "auto") -> PropertyPredictor:
    """A property predictor with its weights, on the given device ("auto", "cpu", "cuda").

    Raises:
        CheckpointMissing: no checkpoint of that name. CheckpointMismatch: the weights do not fit the card.
    """
    card = find_card(name)
    if card.kind != "predictor" or place_of(PREDICTORS, card.loader, "predictor") is None:
        raise CheckpointMissing(
            f"'{name}' is not a predictor this version can load (its loader is '{card.loader}')."
        )
    return find(PREDICTORS, card.loader, "predictor")(card, device)


def load_ranker(name: str, device: str = "auto") -> CandidateRanker:
    """A network that ranks the candidates of a formula, on the given device ("auto", "cpu", "cuda").

    Raises:
        CheckpointMissing: no checkpoint of that name. CheckpointMismatch: the weights do not fit the card.
    """
    card = find_card(name)
    if card.loader not in RANKERS:
        raise CheckpointMissing(f"'{name}' ranks no candidates (its loader is '{card.loader}').")
    return find(RANKERS, card.loader, "ranker")(card, device)
