"""Prepared crystals as tensors on the training device, and the batches drawn from them. Needs torch, numpy, safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class PreparedCrystals:
    """One split of a prepared file, whole, on one device.

    Attributes:
        atomic_numbers: (atoms,). frac_coords: (atoms, 3) in [0, 1). cell_parameters: (crystals, 6) in Å and degrees.
        n_atoms: (crystals,). first_atom: (crystals,) where each crystal begins.
        sources: name of the table that each crystal came from; empty for files made before this was recorded.
    """

    atomic_numbers: Tensor
    frac_coords: Tensor
    cell_parameters: Tensor
    n_atoms: Tensor
    first_atom: Tensor
    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.n_atoms.shape[0])

    def select(self, crystals: Tensor) -> Batch:
        """The crystals with these indices as one batch, atoms concatenated in that order."""
        n_atoms = self.n_atoms[crystals]
        start = torch.repeat_interleave(
            self.first_atom[crystals] - (torch.cumsum(n_atoms, 0) - n_atoms), n_atoms
        )
        atoms = start + torch.arange(start.shape[0], device=start.device)
        return Batch(
            atomic_numbers=self.atomic_numbers[atoms],
            frac_coords=self.frac_coords[atoms],
            cell_parameters=self.cell_parameters[crystals],
            n_atoms=n_atoms,
        )

    def subset(self, crystals: Tensor) -> PreparedCrystals:
        """The crystals with these indices as a data set of their own."""
        batch = self.select(crystals)
        order = crystals.tolist()
        return PreparedCrystals(
            **batch.__dict__,
            first_atom=torch.cumsum(batch.n_atoms, 0) - batch.n_atoms,
            ids=tuple(self.ids[i] for i in order),
            formulas=tuple(self.formulas[i] for i in order),
            sources=tuple(self.sources[i] for i in order) if self.sources else (),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A few crystals drawn for one step; shapes as in :class:`PreparedCrystals`."""

    atomic_numbers: Tensor
    frac_coords: Tensor
    cell_parameters: Tensor
    n_atoms: Tensor


def load_prepared(
    path: Path, device: torch.device | str = "cpu", *, train_below: Mapping[str, float] | None = None
) -> dict[str, PreparedCrystals]:
    """The splits of a prepared file (``crystal-core data prepare``) that have rows.

    Args:
        train_below: label → largest value of a training row; rows whose label is unknown do not train. Other splits stay whole.

    Raises:
        RequestError: there is no such file or label, or the file is none of that command's.
    """
    if not Path(path).is_file():
        raise RequestError(
            f"There is no prepared file {Path(path).name}. Make it with 'crystal-core data prepare'."
        )
    try:
        with safe_open(path, framework="pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dictionary)
            metadata = handle.metadata()
        ids, formulas = json.loads(metadata["ids"]), json.loads(metadata["formulas"])
        tables = json.loads(metadata.get("sources", "[]"))
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise RequestError(
            f"{Path(path).name} is not a prepared file ({error}). Make one with 'crystal-core data prepare'."
        ) from error
    n_atoms = tensors["n_atoms"].long()
    whole = PreparedCrystals(
        atomic_numbers=tensors["atomic_numbers"].long().to(device),
        frac_coords=tensors["frac_coords"].to(device),
        cell_parameters=tensors["cell_parameters"].to(device),
        n_atoms=n_atoms.to(device),
        first_atom=(torch.cumsum(n_atoms, 0) - n_atoms).to(device),
        ids=tuple(ids),
        formulas=tuple(formulas),
        sources=tuple(tables[i] for i in tensors["source"].tolist()) if "source" in tensors else (),
    )
    split = tensors["split"]
    usable = split >= 0
    for label, limit in (train_below or {}).items():
        if f"label.{label}" not in tensors:
            raise RequestError(
                f"{Path(path).name} has no label {label}; prepare it from a table that has this column, or, "
                "for estimated energies above the hull, add it with 'crystal-core data estimate-hull'."
            )
        usable &= (tensors[f"label.{label}"] <= limit) | (
            split != SPLITS.index("train")
        )  # a comparison with NaN is False
    split = torch.where(usable, split.long(), -1).to(device)
    return {
        name: whole.subset(torch.nonzero(split == code).squeeze(-1))
        for code, name in enumerate(SPLITS)
        if bool((split == code).any())
    }


def size_repeats(n_atoms: Tensor, power: float, *, reference_atoms: int = 10, most: float = 2.0) -> Tensor:
    """How often a crystal is drawn per epoch, (crystals,): (pairs of a reference cell / own pairs)^power, at most ``most``.

    The network is conditioned on the composition and so on the cell's size: drawing sizes unevenly changes how much is
    learned where, not what is learned. Cost grows with the pairs, so power 1 gives every size the same work.
    """
    pairs = 0.5 * n_atoms * (n_atoms - 1)
    reference = 0.5 * reference_atoms * (reference_atoms - 1)
    return (reference / pairs.clamp(min=1.0)).pow(power).clamp(max=most)


def epoch_batches(
    data: PreparedCrystals, batch_size: int, generator: torch.Generator, repeats: Tensor | None = None
) -> Iterator[Batch]:
    """All crystals once, shuffled, or ``repeats`` (crystals,) times each on average; the last, smaller batch is kept."""
    order = torch.randperm(len(data), generator=generator)
    if repeats is not None:
        drawn = (repeats.cpu() + torch.rand(len(data), generator=generator)).floor().long()
        order = torch.repeat_interleave(torch.arange(len(data)), drawn)
        order = order[torch.randperm(len(order), generator=generator)]
    for i in range(0, len(order), batch_size):
        # sorted by size: crystals of equal count stand together, so their pair indices are built in one go
        chosen = order[i : i + batch_size].to(data.n_atoms.device)
        yield data.select(chosen[torch.argsort(data.n_atoms[chosen], stable=True)])
