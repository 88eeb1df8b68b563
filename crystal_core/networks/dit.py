"""Diffusion transformer over a crystal's atoms, as in ADiT and CrysLDNet.

Peebles and Xie 2023, arXiv 2212.09748.

Names and shapes of the weights are those of the official CrysLDNet release. Rows are padded to the largest
cell of the batch, and a padded row changes nothing in the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystal_core.checks import check_whole
from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TIME_FREQUENCIES = 128
LONGEST = 2048  # atom index at which the slowest position wave has turned by one radian


@dataclass(frozen=True, kw_only=True)
class DitConfig:
    """Sizes; the defaults are ours, small enough to train without a GPU.

    Attributes:
        time_scale: times, between 0 and 1, are multiplied by it before their waves are taken. The release has
            1, at which nearly all of the waves are flat.
        positions: whether a row knows its index. The release has it, so its output depends on the
            order of the atoms.

    Raises:
        RequestError: a value is out of range, or the width is no multiple of the heads.
    """

    width: int = 192
    n_layers: int = 4
    n_heads: int = 6
    time_scale: float = 1000.0
    positions: bool = False

    def __post_init__(self) -> None:
        for name, high in (("width", 4096), ("n_layers", 64), ("n_heads", 64)):
            check_whole(name, getattr(self, name), 1, high)
        if self.width % (2 * self.n_heads):
            raise RequestError(f"width {self.width} is no even multiple of {self.n_heads} heads.")


class Dit(nn.Module):
    """Rows of one kind in, rows of the same kind out, under a time; starts as the map to exactly 0.

    Args:
        n_inputs: numbers per row.
        n_conditions: numbers per crystal that the time may be joined by; 0 for none.
    """

    def __init__(self, config: DitConfig, n_inputs: int, n_conditions: int = 0) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.x_embedder = nn.Linear(n_inputs, width)
        self.t_embedder = TimeEmbedder(width, config.time_scale)
        self.condition_embedder = nn.Linear(n_conditions, width) if n_conditions else None
        self.blocks = nn.ModuleList(Block(width, config.n_heads) for _ in range(config.n_layers))
        self.final_layer = FinalLayer(width, n_inputs)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.t_embedder.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        zeros: list[nn.Module | None] = [self.final_layer.linear, self.condition_embedder]
        zeros += [m.adaLN_modulation for m in self.modules() if isinstance(m, Block | FinalLayer)]
        for part in zeros:
            for parameter in part.parameters() if part is not None else ():
                nn.init.zeros_(parameter)

    def forward(
        self,
        rows: Float[Tensor, "crystals atoms n_inputs"],
        time: Float[Tensor, "crystals"],
        present: Bool[Tensor, "crystals atoms"],
        conditions: Float[Tensor, "crystals n_conditions"] | None = None,
    ) -> Float[Tensor, "crystals atoms n_inputs"]:
        """One row per atom; those that are not ``present`` are 0."""
        x = self.x_embedder(rows)
        if self.config.positions:
            x = x + atom_positions(rows.shape[1], self.config.width, x)
        c = self.t_embedder(time)
        if self.condition_embedder is not None and conditions is not None:
            c = c + self.condition_embedder(conditions)
        for block in self.blocks:
            x = block(x, c, present)
        return self.final_layer(x, c) * present.unsqueeze(-1)


class TimeEmbedder(nn.Module):
    """Cosines and sines of the time, 1 to 1/10000 of its scale, through two linear maps."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.mlp = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Float[Tensor, "crystals"]) -> Float[Tensor, "crystals width"]:
        k = torch.arange(TIME_FREQUENCIES, device=time.device)
        angles = self.scale * time[:, None] * torch.exp(-math.log(10000.0) * k / TIME_FREQUENCIES)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class Attention(nn.Module):
    """Attention among the atoms of a crystal; the weights are laid out as in ``nn.MultiheadAttention``."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        crystals, atoms, width = x.shape
        packed = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = packed.view(crystals, atoms, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=present[:, None, None, :])
        return self.out_proj(mixed.transpose(1, 2).reshape(crystals, atoms, width))


class Mlp(nn.Module):
    """Two linear maps with four times the width between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """Attention and feed-forward layer, each shifted, scaled and gated by the condition."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(width, n_heads), Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor, present: Tensor) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = (
            self.adaLN_modulation(c).unsqueeze(1).chunk(6, dim=-1)
        )
        x = x + gate_1 * self.attn(normalised(x) * (1 + scale_1) + shift_1, present)
        return x + gate_2 * self.mlp(normalised(x) * (1 + scale_2) + shift_2)


class FinalLayer(nn.Module):
    """Shifted and scaled once more, then one linear map."""

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, n_outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).unsqueeze(1).chunk(2, dim=-1)
        return self.linear(normalised(x) * (1 + scale) + shift)


def normalised(x: Tensor) -> Tensor:
    """Layer norm without weights, epsilon 1e-6."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6)


def atom_positions(n_atoms: int, width: int, like: Tensor) -> Float[Tensor, "atoms width"]:
    """Sines, then cosines, of an atom's index; waves of half turns between 1 and 2048 atoms long."""
    k = torch.arange(width // 2, device=like.device)
    index = torch.arange(n_atoms, device=like.device)
    angles = index[:, None] * math.pi / LONGEST ** (2 * k / width)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(like.dtype)
