"""Low-rank adapters: a few trained weights on top of a frozen language model (Hu et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from crystal_core.errors import RequestError
from crystal_core.training.checkpoint import load_exactly

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Size of an adapter; the published one has rank 8, scale 4, and the projections q and v alone.

    Attributes:
        alpha: scale of the product times the rank.
        dropout: of its input while training.
        targets: names of linear layers.
    """

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.05
    targets: tuple[str, ...] = ALL_LINEAR

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise RequestError("An adapter needs a rank of at least 1 and at least one target.")
        if not 0 <= self.dropout < 1:
            raise RequestError("The dropout of an adapter lies in [0, 1).")
        object.__setattr__(self, "targets", tuple(self.targets))


class Adapter(nn.Module):
    """The trained weights of low-rank layers; the copies share the frozen rest, which is in no state.

    Args:
        network: a causal language model; low-rank layers are put into it.
    """

    def __init__(self, network: Any, settings: LoraSettings) -> None:
        super().__init__()
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.targets),
            bias="none",
            task_type="CAUSAL_LM",
        )
        try:
            whole = get_peft_model(network, config)
        except ValueError as error:
            raise RequestError(f"This language model takes no such adapter: {error}.") from error
        self._set_base(whole)
        self.names = {
            name.replace(".", "/"): name for name, weight in whole.named_parameters() if weight.requires_grad
        }
        weights = dict(whole.named_parameters())
        self.weights = nn.ParameterDict(
            {key: nn.Parameter(weights[name].detach().float().clone()) for key, name in self.names.items()}
        )

    def _set_base(self, whole: Any) -> None:
        # past nn.Module: a registered base would be in every state, copy and optimiser
        object.__setattr__(self, "whole", whole)

    def forward(self, **inputs: Any) -> Any:
        """The language model's output."""
        whole: Any = self.whole
        whole.train(self.training)
        weights = {self.names[key]: weight for key, weight in self.weights.items()}
        return functional_call(whole, weights, args=(), kwargs=inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Adapter:
        copied = Adapter.__new__(Adapter)
        nn.Module.__init__(copied)
        memo[id(self)] = copied
        copied._set_base(self.whole)
        copied.names = dict(self.names)
        copied.weights = nn.ParameterDict(
            {key: nn.Parameter(weight.detach().clone()) for key, weight in self.weights.items()}
        )
        return copied.train(self.training)

    def merged(self) -> Any:
        """The language model with these weights added to its own; the adapter can no longer be trained."""
        whole: Any = self.whole
        targets = dict(whole.named_parameters())
        with torch.no_grad():
            for key, weight in self.weights.items():
                targets[self.names[key]].copy_(weight)
        return whole.merge_and_unload().eval()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a checkpoint.

        Raises:
            CheckpointMismatch: names or shapes differ.
        """
        load_exactly(self, state, "The adapter does not fit this language model")
