"""Property values from the features of a crystal's atoms, by an ensemble of small heads, with trust.

The published head is one linear map, SiLU and one linear map on the mean over atoms. Here every property has
several of them, each trained on a bootstrap sample of the crystals, and one more that learns how large their
error is. The gradient of that last one stops at the features, so the encoder serves the values alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.checks import check_choice, check_whole
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from jaxtyping import Float

IS_METAL = "is_metal"  # a probability: its heads give the logarithm of the odds


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Sizes of the heads of one property, and the loss of their values.

    Attributes:
        n_members: heads of the ensemble. hidden: width between the two linear maps.
        loss: "l1" suits a mean absolute error; "mse" is published.
        form: "mlp" is W_2 silu(W_1 h); "residual" is PDDFormer's W_2 (h + silu(W_1 h)), whose ``hidden`` is
            the width of h.

    Raises:
        RequestError: a value is out of range.
    """

    n_members: int = 4
    hidden: int = 128
    loss: Literal["l1", "mse"] = "l1"
    form: Literal["mlp", "residual"] = "mlp"

    def __post_init__(self) -> None:
        check_whole("n_members", self.n_members, 1, 64)
        check_whole("hidden", self.hidden, 1, 4096)
        check_choice("loss", self.loss, ("l1", "mse"))
        check_choice("form", self.form, ("mlp", "residual"))


@dataclass(frozen=True, kw_only=True)
class HeadOutputs:
    """The heads' outputs on crystals, in standard deviations of the training labels.

    Attributes:
        members: (crystals, properties, members).
        log_scale: (crystals, properties), logarithm of the expected absolute error.
    """

    members: Float[Tensor, "crystals properties members"]
    log_scale: Float[Tensor, "crystals properties"]

    @property
    def value(self) -> Float[Tensor, "crystals properties"]:
        """Mean over the members."""
        return self.members.mean(dim=-1)


class PropertyHeads(nn.Module):
    """The heads of several properties over one vector per crystal.

    Args:
        names: of the properties, in order. width: of the vector.

    Raises:
        RequestError: a residual head of another width than the vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, names: tuple[str, ...], width: int, config: HeadsConfig | None = None) -> None:
        super().__init__()
        self.names, self.config = names, config or HeadsConfig()
        n, k, hidden = len(names), self.config.n_members, self.config.hidden
        if self.config.form == "residual" and hidden != width:
            raise RequestError(f"A residual head has the width of the encoder: set hidden to {width}.")
        bound = 1 / math.sqrt(width)
        self.weight_1 = nn.Parameter(torch.empty(n, k, hidden, width).uniform_(-bound, bound))
        self.bias_1 = nn.Parameter(torch.zeros(n, k, hidden))
        bound = 1 / math.sqrt(hidden)
        self.weight_2 = nn.Parameter(torch.empty(n, k, hidden).uniform_(-bound, bound))
        self.bias_2 = nn.Parameter(torch.zeros(n, k))
        self.scale_1 = nn.Parameter(torch.empty(n, 32, width).uniform_(-0.1, 0.1))
        self.scale_bias_1 = nn.Parameter(torch.zeros(n, 32))
        self.scale_2 = nn.Parameter(torch.zeros(n, 32))
        self.scale_bias_2 = nn.Parameter(torch.zeros(n))
        # of the training labels, in the form that is learned
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))

    def forward(self, pooled: Float[Tensor, "crystals width"]) -> HeadOutputs:
        hidden = functional.silu(torch.einsum("cw,pkhw->cpkh", pooled, self.weight_1) + self.bias_1)
        if self.config.form == "residual":
            hidden = hidden + pooled[:, None, None, :]
        members = (hidden * self.weight_2).sum(dim=-1) + self.bias_2
        still = pooled.detach()
        scale = functional.silu(torch.einsum("cw,phw->cph", still, self.scale_1) + self.scale_bias_1)
        log_scale = (scale * self.scale_2).sum(dim=-1) + self.scale_bias_2
        return HeadOutputs(members=members.float(), log_scale=log_scale.float())

    def standardised(
        self, labels: Float[Tensor, "crystals properties"]
    ) -> Float[Tensor, "crystals properties"]:
        """Labels, in the form that is learned, in their standard deviations."""
        return (labels - self.mean) / self.std

    def losses(
        self,
        outputs: HeadOutputs,
        labels: Float[Tensor, "crystals properties"],
        weights: Float[Tensor, "crystals properties members"],
    ) -> tuple[Float[Tensor, "crystals properties"], Float[Tensor, "crystals properties"]]:
        """Loss of the values and loss of the scales, both 0 where a label is NaN.

        Args:
            labels: in the form that is learned.
            weights: how often a member's bootstrap sample holds the crystal.
        """
        known = labels.isfinite()
        aim = torch.where(known, self.standardised(labels), 0.0)
        errors = self._value_loss(outputs.members, aim.unsqueeze(-1).expand_as(outputs.members))
        if IS_METAL in self.names:
            i = self.names.index(IS_METAL)
            odds = functional.binary_cross_entropy_with_logits(
                outputs.members[:, i],
                torch.where(known[:, i], labels[:, i], 0.0).unsqueeze(-1).expand_as(outputs.members[:, i]),
                reduction="none",
            )
            errors = torch.cat([errors[:, :i], odds.unsqueeze(1), errors[:, i + 1 :]], dim=1)
        values = (errors * weights).mean(dim=-1) * known
        # Laplace likelihood of the ensemble's error, which is held still
        miss = (outputs.value.detach() - aim).abs()
        scales = (miss * torch.exp(-outputs.log_scale) + outputs.log_scale) * known
        return values, scales

    def _value_loss(self, predicted: Tensor, aim: Tensor) -> Tensor:
        if self.config.loss == "mse":
            return (predicted - aim).square()
        return (predicted - aim).abs()
