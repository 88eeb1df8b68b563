"""One property on the shared encoder: its own heads and low-rank changes of maps (LoRA, by peft).

The encoder itself stays as it is, with the statistics of its batch norms, so an adapter is a few hundred
kB. To predict, the low-rank products are added to a copy of the maps: that needs no peft and costs what
the encoder costs. Full fine-tuning, the published way, trains a copy of the whole encoder instead and
keeps it with the heads.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from crystal_core.checks import check_whole
from crystal_core.errors import CheckpointMismatch
from crystal_core.geometry import mean_per_crystal
from crystal_core.predictors.crysldnet.heads import HeadsConfig, PropertyHeads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float

    from crystal_core.predictors.crysldnet.encoders.matformer import Matformer
    from crystal_core.predictors.crysldnet.encoders.pddformer import Pddformer
    from crystal_core.predictors.crysldnet.graph_rows import GraphBatch

# maps called as modules; changes of maps whose weights are split by hand would have no effect
TARGETS = (
    "lin_query",
    "lin_key",
    "lin_value",
    "lin_concate",
    "key_update.2",
    "lin_msg_update.2",
    "lin1",
    "lin2",
    "lin3",
    "lin_skip",
    "msg_layer.0",
)
LORA = "lora."  # begins the names of the low-rank factors in a file of weights
ENCODER = "encoder."  # begins the names of an encoder that was trained as a whole
NAME = "property"  # of the adapter, for peft
EncoderT = TypeVar("EncoderT", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Sizes of an adapter.

    Attributes:
        rank: of the changes; 0 leaves the encoder as it is and trains heads alone.
        alpha: their factor is alpha / rank.
        full: train the whole encoder instead; ``rank`` is then not used.

    Raises:
        RequestError: a value is out of range.
    """

    rank: int = 8
    alpha: int = 16
    full: bool = False
    heads: HeadsConfig = field(default_factory=HeadsConfig)

    def __post_init__(self) -> None:
        check_whole("rank", self.rank, 0, 256)
        check_whole("alpha", self.alpha, 1, 1024)

    @property
    def scaling(self) -> float:
        """The factor on the products of the low-rank factors."""
        return self.alpha / max(1, self.rank)


class AdapterNetwork(nn.Module):
    """The adapted encoder, the mean over a crystal's atoms, and one property's heads.

    The encoder has low-rank changes, or is trained as a whole.
    """

    def __init__(self, encoder: Pddformer | Matformer, name: str, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = copy.deepcopy(encoder).requires_grad_(config.full)
        if config.rank and not config.full:
            _add_lora(self.encoder, config)
        self.heads = PropertyHeads((name,), encoder.width, config.heads)
        self.train()

    def train(self, mode: bool = True) -> AdapterNetwork:
        """:meth:`Module.train`; an untrained encoder stays in evaluation mode and keeps its batch norms."""
        super().train(mode)
        if not self.config.full:
            self.encoder.eval()
        return self

    def pooled(self, batch: GraphBatch) -> Float[Tensor, "crystals width"]:
        """One vector per crystal."""
        graphs = batch.graphs
        return mean_per_crystal(self.encoder(graphs), graphs.crystal_index, len(graphs))

    def adapter_state(self) -> dict[str, Tensor]:
        """The tensors of a weights file: low-rank factors or the encoder, and heads without first axis."""
        if self.config.full:
            state = {f"{ENCODER}{key}": value for key, value in self.encoder.state_dict().items()}
        else:
            state = self._low_rank_factors()
        return state | {f"heads.{key}": value[0] for key, value in self.heads.state_dict().items()}

    def _low_rank_factors(self) -> dict[str, Tensor]:
        return {
            f"{LORA}{name}.{side}": factors[NAME].weight.detach()
            for name, module in self.encoder.named_modules()
            for side in ("lora_A", "lora_B")
            if (factors := getattr(module, side, None))
        }


def _add_lora(encoder: nn.Module, config: AdapterConfig) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(
        LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(TARGETS)),
        encoder,
        adapter_name=NAME,
    )


def adapted_encoder(encoder: EncoderT, state: Mapping[str, Tensor], scaling: float) -> EncoderT:
    """A copy of the encoder with an adapter's changes added to its maps, or with the adapter's weights.

    The encoder itself where there are none.

    Raises:
        CheckpointMismatch: the changes are of another encoder.
    """
    if whole := {key.removeprefix(ENCODER): v for key, v in state.items() if key.startswith(ENCODER)}:
        own = copy.deepcopy(encoder)
        try:
            own.load_state_dict(whole)
        except RuntimeError as error:
            raise CheckpointMismatch("The adapter holds the weights of another kind of encoder.") from error
        return own
    names = sorted({key.rpartition(".")[0] for key in state if key.startswith(LORA)})
    if not names:
        return encoder
    changed = copy.deepcopy(encoder)
    modules = dict(changed.named_modules())
    for name in names:
        module = modules.get(name.removeprefix(LORA))
        inner, outer = state[f"{name}.lora_A"], state[f"{name}.lora_B"]
        if not isinstance(module, nn.Linear) or module.weight.shape != (outer.shape[0], inner.shape[1]):
            raise CheckpointMismatch(
                f"The adapter changes {name.removeprefix(LORA)}, and the encoder has no such map."
            )
        with torch.no_grad():
            module.weight += scaling * (outer @ inner).to(module.weight)
    return changed
