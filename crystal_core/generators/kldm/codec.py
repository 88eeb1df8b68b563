"""Physical crystals ↔ KLDM's latent state: wrapped coordinates, six standardised lattice numbers.

Lengths enter as (ln length - loc_N) / scale_N with statistics per atom count N, angles as
tan(angle - 90°) / 0.35.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.geometry import lattice_from_parameters, lattice_parameters, wrap, wrap_unit

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

LATTICE = "lattice.json"  # a checkpoint keeps its statistics in this file
ANGLE_SCALE = 0.35
MIN_SCALE = 1e-3
MIN_MEMBERS = 10  # fewer crystals of a count: the fit over all counts is the better estimate
MAX_LOG_LENGTH = 6.0  # exp(6) = 403 Å: keeps a diverged sample finite, far beyond any cell


@dataclass(frozen=True)
class LatticeCodec:
    """Six lattice numbers ↔ lengths (Å) and angles (degrees), standardised per atom count.

    Attributes:
        loc, scale: atom count → three means and deviations of ln length, over the training
            crystals of that count.
        fit: (slope, intercepts, scales) of loc against ln N, for counts without statistics.
    """

    loc: dict[int, tuple[float, float, float]]
    scale: dict[int, tuple[float, float, float]]
    fit: tuple[float, tuple[float, float, float], tuple[float, float, float]]

    @classmethod
    def from_training(
        cls, lengths: Float[Tensor, "crystals 3"], n_atoms: Int[Tensor, "crystals"]
    ) -> LatticeCodec:
        """Statistics as published: per count and axis, trimmed by floor(0.025 M) values at each end.

        Where the trim removes nothing the published slice is empty (NaN); here it then keeps all values.
        """
        logs = torch.log(lengths.double())
        loc, scale = {}, {}
        for count in torch.unique(n_atoms).tolist():
            values = logs[n_atoms == count].sort(dim=0).values
            if len(values) < MIN_MEMBERS:
                continue
            trim = math.floor(0.025 * len(values))
            values = values[trim : len(values) - trim]
            loc[count] = tuple(values.mean(0).tolist())
            scale[count] = tuple(values.std(0, unbiased=False).clamp(min=MIN_SCALE).tolist())
        centred = torch.log(n_atoms.double()) - torch.log(n_atoms.double()).mean()
        spread = float((centred**2).sum())
        slope = (
            float((centred.unsqueeze(-1) * (logs - logs.mean(0))).mean(-1).sum() / spread)
            if spread > 0
            else 1 / 3
        )
        rest = logs - slope * torch.log(n_atoms.double()).unsqueeze(-1)
        scales = rest.std(0, unbiased=False).clamp(min=0.05)
        return cls(loc=loc, scale=scale, fit=(slope, tuple(rest.mean(0).tolist()), tuple(scales.tolist())))

    @property
    def most_atoms(self) -> int | None:
        """The largest atom count with lattice statistics of its own; None without any."""
        return max(self.loc, default=None)

    def statistics(self, n_atoms: Int[Tensor, "crystals"]) -> tuple[Tensor, Tensor]:
        """(crystals, 3) means and deviations; counts unseen in training take the fit of loc against ln N."""
        slope, intercepts, scales = self.fit
        loc = [
            self.loc.get(n) or tuple(slope * math.log(n) + c for c in intercepts) for n in n_atoms.tolist()
        ]
        scale = [self.scale.get(n) or scales for n in n_atoms.tolist()]
        return torch.tensor(loc, device=n_atoms.device), torch.tensor(scale, device=n_atoms.device)

    def encode(self, parameters: Float[Tensor, "crystals 6"], n_atoms: Int[Tensor, "crystals"]) -> Tensor:
        """(a, b, c in Å, angles in degrees) → six standardised numbers."""
        loc, scale = self.statistics(n_atoms)
        lengths = (torch.log(parameters[:, :3]) - loc) / scale
        angles = torch.tan(torch.deg2rad(parameters[:, 3:] - 90.0)) / ANGLE_SCALE
        return torch.cat([lengths, angles], dim=-1)

    def decode(self, latent: Float[Tensor, "crystals 6"], n_atoms: Int[Tensor, "crystals"]) -> Tensor:
        """Six standardised numbers → (a, b, c in Å, angles in degrees)."""
        loc, scale = self.statistics(n_atoms)
        lengths = torch.exp((latent[:, :3] * scale + loc).clamp(-MAX_LOG_LENGTH, MAX_LOG_LENGTH))
        angles = torch.rad2deg(torch.atan(ANGLE_SCALE * latent[:, 3:])) + 90.0
        return torch.cat([lengths, angles], dim=-1)

    def to_json(self) -> str:
        """The statistics as text, as stored beside the weights."""
        return json.dumps({"loc": self.loc, "scale": self.scale, "fit": self.fit})

    @classmethod
    def from_json(cls, text: str) -> LatticeCodec:
        """Read what :meth:`to_json` wrote."""
        data = json.loads(text)
        slope, intercepts, scales = data["fit"]
        return cls(
            loc={int(k): tuple(v) for k, v in data["loc"].items()},
            scale={int(k): tuple(v) for k, v in data["scale"].items()},
            fit=(slope, tuple(intercepts), tuple(scales)),
        )


def encode(crystals: CrystalBatch, codec: LatticeCodec) -> tuple[Tensor, Tensor]:
    """Physical → latent: coordinates in [-½, ½] and six lattice numbers; cells are not reduced."""
    parameters = lattice_parameters(crystals.lattice)
    return wrap(crystals.frac_coords), codec.encode(parameters, crystals.n_atoms)


def decode(
    frac_coords: Tensor, latent: Tensor, atomic_numbers: Tensor, n_atoms: Tensor, codec: LatticeCodec
) -> CrystalBatch:
    """Latent → physical crystals; impossible angle triples become flat cells, which validity refuses."""
    return CrystalBatch(
        atomic_numbers=atomic_numbers,
        frac_coords=wrap_unit(frac_coords),
        lattice=lattice_from_parameters(codec.decode(latent, n_atoms)),
        n_atoms=n_atoms,
    )
