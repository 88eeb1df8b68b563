"""Muon: momentum whose update is made orthogonal, for the matrices between hidden layers.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the step size of Liu et
al., "Muon is scalable for LLM training" (2025): an update has the root mean square that AdamW's usually has,
so both take one learning rate. Equals ``torch.optim.Muon(..., adjust_lr_fn="match_rms_adamw")``, but matrices
of one shape are multiplied together, which halves the time.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

MIN_SIDE = 128
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
RMS_OF_ADAMW = 0.2


def hidden_matrices(network: nn.Module) -> list[nn.Parameter]:
    """Weights of linear maps with at least 128 inputs and outputs; AdamW trains all the others.

    A head that shares its weights with an embedding is one, whatever its size.
    """
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    maps = (module for module in network.modules() if isinstance(module, nn.Linear))
    return [
        cast("nn.Parameter", m.weight)
        for m in maps
        if min(m.weight.shape) >= MIN_SIDE and id(m.weight) not in tables
    ]


def orthogonal(matrices: Tensor, *, dtype: torch.dtype = torch.bfloat16, steps: int = 5) -> Tensor:
    """Nearly U Vᵀ of every U S Vᵀ in (n, rows, columns), by five Newton–Schulz steps of fifth order."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = (matrices if wide else matrices.mT).to(dtype)
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with decoupled weight decay.

    Args:
        parameters: matrices.
        dtype: of the Newton–Schulz products; bfloat16 is enough where it is fast.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 (the trainer calls backward itself)
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            given = [p for p in cast("list[Tensor]", group["params"]) if p.grad is not None]
            for shape, same in groupby(
                sorted(given, key=lambda p: tuple(p.shape)), key=lambda p: tuple(p.shape)
            ):
                weights = list(same)
                gradients = [cast("Tensor", w.grad) for w in weights]
                for weight in weights:
                    if "momentum" not in self.state[weight]:
                        self.state[weight]["momentum"] = torch.zeros_like(weight)
                averages = [self.state[w]["momentum"] for w in weights]
                torch._foreach_lerp_(averages, gradients, 1 - momentum)
                updates = orthogonal(
                    torch.stack(torch._foreach_lerp(gradients, averages, momentum)), dtype=self.dtype
                )
                torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
                size = lr * RMS_OF_ADAMW * max(shape) ** 0.5
                torch._foreach_add_(weights, list(updates.to(weights[0].dtype).unbind()), alpha=-size)
