"""Prepared crystals as tensors on the training device, and their batches.

Needs torch, numpy, safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from crystal_core.errors import RequestError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class PreparedCrystals:
    """One split of a prepared file, whole, on one device.

    Attributes:
        atomic_numbers: (atoms,).
        frac_coords: (atoms, 3) in [0, 1).
        cell_parameters: (crystals, 6) in Å and degrees.
        n_atoms: (crystals,). first_atom: (crystals,) where each crystal begins.
        sources: name of the table that each crystal came from; empty for files made before this was recorded.
        labels: name → (crystals,) values, NaN where unknown.
    """

    atomic_numbers: Tensor
    frac_coords: Tensor
    cell_parameters: Tensor
    n_atoms: Tensor
    first_atom: Tensor
    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    sources: tuple[str, ...] = ()
    labels: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.n_atoms.shape[0])

    def select(self, crystals: Tensor) -> Batch:
        """The crystals with these indices as one batch, atoms concatenated in that order."""
        atoms = self.atoms_of(crystals)
        return Batch(
            atomic_numbers=self.atomic_numbers[atoms],
            frac_coords=self.frac_coords[atoms],
            cell_parameters=self.cell_parameters[crystals],
            n_atoms=self.n_atoms[crystals],
        )

    def atoms_of(self, crystals: Tensor) -> Tensor:
        """The indices of all atoms of these crystals, in that order."""
        n_atoms = self.n_atoms[crystals]
        start = torch.repeat_interleave(
            self.first_atom[crystals] - (torch.cumsum(n_atoms, 0) - n_atoms), n_atoms
        )
        return start + torch.arange(start.shape[0], device=start.device)

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
            labels={name: values[crystals] for name, values in self.labels.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A few crystals drawn for one step; shapes as in :class:`PreparedCrystals`."""

    atomic_numbers: Tensor
    frac_coords: Tensor
    cell_parameters: Tensor
    n_atoms: Tensor


@dataclass(frozen=True, kw_only=True)
class RowSettings:
    """Which rows of a prepared file train, and how often: keys of every training configuration.

    Attributes:
        data: prepared file; ``--data`` overrides it.
        hull_label: column of the data with energies above the hull: "e_above_hull_ev", what is known, or
            "e_above_hull_estimated_ev", which ``crystal-core data estimate-hull`` fills with a potential's
            estimate where no label is known.
        max_e_above_hull_ev: train only on rows whose energy above the hull is known and at most this, in
            eV/atom; 0 for all rows.
        favoured_e_above_hull_ev: rows whose energy above the hull is known and at most this, in
            eV/atom, are drawn ``favour`` times as often as the others; 0 for none. A formula is meant
            to give a structure that exists.
        favoured_source: table whose rows are drawn ``favour`` times as often as the others; "" for none.
        size_power: 0 draws every crystal once per epoch, 1 gives every cell size the same
            work (see ``size_repeats``).
        validation_rows: fixed random rows of the validation split for the loss.
    """

    data: str = ""
    hull_label: str = "e_above_hull_ev"
    max_e_above_hull_ev: float = 0.0
    favoured_e_above_hull_ev: float = 0.0
    favoured_source: str = ""
    favour: float = 1.0
    size_power: float = 0.0
    validation_rows: int = 2048

    def __post_init__(self) -> None:
        if self.favoured_source and self.favoured_e_above_hull_ev:
            raise RequestError("Favour rows by their table or by their energy, not by both.")


def load_rows(
    settings: RowSettings, data_file: Path, device: torch.device | str
) -> tuple[PreparedCrystals, PreparedCrystals | None]:
    """The rows that train, and those of the validation split, or None where there are none.

    Raises:
        RequestError: no row trains, or as :func:`load_prepared`.
    """
    limit = settings.max_e_above_hull_ev
    splits = load_prepared(data_file, device, train_below={settings.hull_label: limit} if limit else None)
    if "train" not in splits:
        raise RequestError(f"{data_file.name} has no training rows.")
    return splits["train"], splits.get("val")


def fixed_sample(rows: PreparedCrystals, count: int) -> PreparedCrystals:
    """``count`` random rows, the same at every call; all where there are no more."""
    if len(rows) <= count:
        return rows
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:count]
    return rows.subset(chosen.to(rows.n_atoms.device))


def data_statistics(rows: PreparedCrystals) -> dict[str, Any]:
    """Statistics for de novo sampling: frequencies of atom counts, and the elements in training."""
    counts = torch.bincount(rows.n_atoms.cpu())
    frequencies = {str(n): round(int(c) / len(rows), 6) for n, c in enumerate(counts.tolist()) if c}
    return {
        "atom_count_frequencies": frequencies,
        "elements": torch.unique(rows.atomic_numbers.cpu()).tolist(),
    }


def draws_per_epoch(settings: RowSettings, rows: PreparedCrystals) -> Tensor | None:
    """How often each training row is drawn per epoch on average, (rows,); None for once each.

    Raises:
        RequestError: the data hold no row of the favoured table, or no such label.
    """
    repeats = size_repeats(rows.n_atoms, settings.size_power) if settings.size_power else None
    if settings.favour == 1:
        return repeats
    device = rows.n_atoms.device
    if settings.favoured_source:
        if settings.favoured_source not in rows.sources:
            raise RequestError(
                f"The prepared file holds no row of {settings.favoured_source}; prepare it from that table."
            )
        favoured = torch.tensor(
            [source == settings.favoured_source for source in rows.sources], device=device
        )
    elif settings.favoured_e_above_hull_ev:
        _check_label(settings.hull_label, rows.labels)
        favoured = rows.labels[settings.hull_label] <= settings.favoured_e_above_hull_ev  # NaN is not
    else:
        return repeats
    factors = torch.where(favoured, settings.favour, 1.0)
    factors /= factors.mean()
    return factors if repeats is None else repeats * factors


def load_prepared(
    path: Path, device: torch.device | str = "cpu", *, train_below: Mapping[str, float] | None = None
) -> dict[str, PreparedCrystals]:
    """The splits of a prepared file (``crystal-core data prepare``) that have rows.

    Args:
        train_below: label → largest value of a training row; rows whose label is unknown do not train.
            Other splits stay whole.

    Raises:
        RequestError: there is no such file or label, or another command wrote the file.
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
        labels={
            name.removeprefix("label."): values.to(device)
            for name, values in tensors.items()
            if name.startswith("label.")
        },
    )
    split = tensors["split"]
    usable = split >= 0
    for label, limit in (train_below or {}).items():
        _check_label(label, whole.labels)
        # a comparison with NaN is False
        usable &= (tensors[f"label.{label}"] <= limit) | (split != SPLITS.index("train"))
    split = torch.where(usable, split.long(), -1).to(device)
    return {
        name: whole.subset(torch.nonzero(split == code).squeeze(-1))
        for code, name in enumerate(SPLITS)
        if bool((split == code).any())
    }


def size_repeats(n_atoms: Tensor, power: float, *, reference_atoms: int = 10, most: float = 2.0) -> Tensor:
    """Draws per epoch, (crystals,): (pairs of a reference cell / own pairs)^power, at most ``most``.

    The network is conditioned on the composition and so on the cell's size: drawing sizes unevenly
    changes how much is learned where, not what is learned. Cost grows with the pairs, so power 1 gives
    every size the same work.
    """
    pairs = 0.5 * n_atoms * (n_atoms - 1)
    reference = 0.5 * reference_atoms * (reference_atoms - 1)
    return (reference / pairs.clamp(min=1.0)).pow(power).clamp(max=most)


def epoch_order(count: int, generator: torch.Generator, repeats: Tensor | None = None) -> Tensor:
    """Indices of all crystals once, shuffled, or ``repeats`` (crystals,) times each on average."""
    order = torch.randperm(count, generator=generator)
    if repeats is not None:
        drawn = (repeats.cpu() + torch.rand(count, generator=generator)).floor().long()
        order = torch.repeat_interleave(torch.arange(count), drawn)
        order = order[torch.randperm(len(order), generator=generator)]
    return order


def epoch_batches(
    data: PreparedCrystals, batch_size: int, generator: torch.Generator, repeats: Tensor | None = None
) -> Iterator[Batch]:
    """The crystals of :func:`epoch_order` in batches; the last, smaller batch is kept."""
    order = epoch_order(len(data), generator, repeats)
    for i in range(0, len(order), batch_size):
        # sorted by size: crystals of equal count stand together, so their pair indices are built in one go
        chosen = order[i : i + batch_size].to(data.n_atoms.device)
        yield data.select(chosen[torch.argsort(data.n_atoms[chosen], stable=True)])


@torch.no_grad()
def fixed_losses(
    data: PreparedCrystals,
    batch_size: int,
    losses: Callable[[Batch, torch.Generator], Mapping[str, Tensor]],
    *,
    of_crystals: Collection[str],
) -> dict[str, float]:
    """The means of losses on rows with fixed noise: the same draw at every call.

    Args:
        losses: mean losses of a batch by name.
        of_crystals: names of those that are means over crystals; others are over atoms.
    """
    generator = torch.Generator(data.n_atoms.device).manual_seed(0)
    totals: dict[str, float] = {}
    for batch in epoch_batches(data, batch_size, torch.Generator().manual_seed(0)):
        crystals = len(batch.n_atoms) / len(data)
        atoms = len(batch.atomic_numbers) / len(data.atomic_numbers)
        for name, value in losses(batch, generator).items():
            share = crystals if name in of_crystals else atoms
            totals[name] = totals.get(name, 0.0) + share * float(value)
    return {name: round(total, 5) for name, total in totals.items()}


def _check_label(label: str, labels: Mapping[str, Tensor]) -> None:
    if label not in labels:
        raise RequestError(
            f"The prepared file has no label {label}; prepare it from a table that has this column, or, "
            "for estimated energies above the hull, add it with 'crystal-core data estimate-hull'."
        )
