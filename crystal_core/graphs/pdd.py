"""Pointwise distance distribution (Widdowson and Kurlin, NeurIPS 2022): weighted rows, one an atom.

The distribution lists the distances of the nearest atoms of the infinite crystal, so it changes continuously
with the atoms and not at all with the cell. CrysLDNet keeps one row per atom, unsorted and unmerged, and puts
a weight of the atom's number of protons where the distribution has 1/N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from crystal_core.geometry import mean_per_crystal

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from crystal_core.graphs.crystal_graphs import CrystalGraphs

PddWeight = Literal["relative", "share"]


def atom_weights(graphs: CrystalGraphs, form: PddWeight) -> Float[Tensor, "atoms"]:
    """A number per atom that compares its Z with the others'; a hidden element has Z = 0.

    Args:
        form: "share" is the published Z / sum of Z over the cell, which halves when the cell is doubled.
            "relative" is Z / mean Z over the cell, N times the share: the same in every cell of the
            crystal, around 1 in cells of any size, and still the share of the element's protons relative
            to an average atom.
    """
    return relative_weights(graphs.atomic_numbers.to(graphs.distance.dtype), graphs, form)


def relative_weights(
    numbers: Float[Tensor, "atoms"], graphs: CrystalGraphs, form: PddWeight
) -> Float[Tensor, "atoms"]:
    """:func:`atom_weights` for given proton numbers, which may be expectations."""
    mean = mean_per_crystal(numbers[:, None], graphs.crystal_index, len(graphs)).squeeze(-1)
    total = mean if form == "relative" else mean * graphs.n_atoms
    # all elements of a crystal may be hidden: 0 / 0 would be NaN
    return numbers / torch.where(total > 0, total, 1.0)[graphs.crystal_index]


def pdd_rows(graphs: CrystalGraphs, form: PddWeight) -> Float[Tensor, "atoms distances"]:
    """The weight of every atom, then the distances of its nearest atoms, ascending, in Å."""
    return torch.cat([atom_weights(graphs, form).unsqueeze(-1), graphs.nearest], dim=-1)
