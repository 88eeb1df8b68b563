"""The encoders by name: from a configuration or from a card's tables to the untrained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from crystal_core.checks import check_choice
from crystal_core.errors import CheckpointMismatch, RequestError
from crystal_core.graphs.crystal_graphs import GraphConfig
from crystal_core.predictors.crysldnet.encoders.matformer import Matformer, MatformerConfig
from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer, PddformerConfig

EncoderKind = Literal["pddformer", "matformer"]
KINDS: tuple[EncoderKind, ...] = ("pddformer", "matformer")
DEFAULT: EncoderKind = "pddformer"  # of cards that name no kind


def build_encoder(config: PddformerConfig | MatformerConfig, graph: GraphConfig) -> Pddformer | Matformer:
    """The untrained encoder of a configuration.

    Raises:
        RequestError: the graphs hold another number of distances per atom than the encoder reads.
    """
    if isinstance(config, MatformerConfig):
        return Matformer(config, graph)
    if config.n_nearest != graph.n_nearest:
        raise RequestError(
            f"The encoder reads {config.n_nearest} distances per atom and the graphs hold {graph.n_nearest}. "
            "Give [encoder] and [graph] the same n_nearest."
        )
    return Pddformer(config, graph)


def encoder_tables(config: PddformerConfig | MatformerConfig, graph: GraphConfig) -> dict[str, Any]:
    """An encoder in the form of a card, which :func:`encoder_of` reads."""
    kind = "matformer" if isinstance(config, MatformerConfig) else "pddformer"
    return {"encoder_kind": kind, "encoder": asdict(config), "graph": asdict(graph)}


def encoder_of(network: Mapping[str, Any]) -> Pddformer | Matformer:
    """The untrained encoder that a card's table ``network`` describes.

    Raises:
        CheckpointMismatch: a size is missing, unknown or out of range.
    """
    try:
        kind = network.get("encoder_kind", DEFAULT)
        check_choice("encoder_kind", kind, KINDS)
        sizes = MatformerConfig if kind == "matformer" else PddformerConfig
        return build_encoder(sizes(**network["encoder"]), GraphConfig(**network["graph"]))
    except (RequestError, KeyError, TypeError) as error:
        raise CheckpointMismatch(
            f"The card describes no encoder that this version knows: {error}."
        ) from error
