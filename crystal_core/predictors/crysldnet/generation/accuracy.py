"""How well elements and cells are read from true latents, beside what is known without a latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from crystal_core.geometry import lattice_from_parameters, volume

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.predictors.crysldnet.generation.latent_rows import LatentRows
    from crystal_core.predictors.crysldnet.generation.network import LatentGenerator

AT_ONCE = 256


@torch.no_grad()
def decoding_accuracy(network: LatentGenerator, rows: LatentRows) -> dict[str, float]:
    """Shares of right elements and compositions, and mean errors of the cell, over the crystals of ``rows``.

    Lengths and volumes in %, angles in degrees. ``elements_by_chance`` is the share of the most frequent
    element; ``volume_by_count`` is the error of the median volume per atom.
    """
    right, whole, lengths, angles, volumes, sizes = [], [], [], [], [], []
    for batch in rows.in_order(AT_ONCE):
        normal = network.normalised(batch.latents)
        same = network.decode_types(normal)[:, 1:].argmax(dim=-1) + 1 == batch.atomic_numbers
        right.append(same)
        whole += [bool(part.all()) for part in same.split(batch.n_atoms.tolist())]
        cell, true = network.decode_lattice(normal, batch.n_atoms), batch.cell_parameters
        lengths.append((cell[:, :3] / true[:, :3] - 1).abs())
        angles.append((cell[:, 3:] - true[:, 3:]).abs())
        known = volume(lattice_from_parameters(true))
        volumes.append((volume(lattice_from_parameters(cell)) / known - 1).abs())
        sizes.append(known / batch.n_atoms)
    size = torch.cat(sizes)
    counts = torch.bincount(rows.crystals.atomic_numbers)
    return {
        "elements_right": _mean(torch.cat(right).float()),
        "elements_by_chance": round(float(counts.max() / counts.sum()), 4),
        "compositions_right": round(sum(whole) / len(whole), 4),
        "lengths_off": _mean(100 * torch.cat(lengths)),
        "angles_off": _mean(torch.cat(angles)),
        "volume_off": _mean(100 * torch.cat(volumes)),
        "volume_by_count": _mean(100 * (size.median() / size - 1).abs()),
    }


def _mean(values: Tensor) -> float:
    return round(float(values.mean()), 4)
