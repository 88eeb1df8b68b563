"""Conversion to and from pymatgen's ``Structure``. Torch is imported only for a :class:`CrystalBatch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.errors import StructureParseError

if TYPE_CHECKING:
    from pymatgen.core import Composition, Structure

    from crystal_core.crystal import CrystalBatch

NO_LATTICE_VOLUME = 0.1  # Å3
NO_LATTICE_THICKNESS = 0.1  # Å
NO_ELEMENT = "A site holds something that is no chemical element. Give every site an element symbol."


def to_structures(batch: CrystalBatch) -> list[Structure | None]:
    """One pymatgen structure per crystal; None for a cell that is no lattice or an atom of no element.

    A cell may be flat, a sliver, or not finite.

    Crystals are converted one by one, so a bad one never loses the others.
    """
    from pymatgen.core import Lattice, Structure

    structures: list[Structure | None] = []
    for crystal in batch:
        matrix = crystal.lattice[0].detach().cpu().double().numpy()
        coords = crystal.frac_coords.detach().cpu().double().numpy()
        numbers = crystal.atomic_numbers.detach().cpu().tolist()
        if not _is_lattice(matrix) or not np.isfinite(coords).all() or not all(map(is_element, numbers)):
            structures.append(None)
            continue
        structures.append(Structure(Lattice(matrix), numbers, in_cell(coords)))
    return structures


def from_structures(structures: Sequence[Structure]) -> CrystalBatch:
    """The crystals as one batch, in order.

    Raises:
        StructureParseError: a site is partly occupied or holds something that is no element.
    """
    import torch

    from crystal_core.crystal import CrystalBatch

    numbers, coords = [], []
    for structure in structures:
        numbers.extend(atomic_numbers(structure))
        coords.append(torch.as_tensor(in_cell(structure.frac_coords), dtype=torch.float32).reshape(-1, 3))
    lattices = [torch.as_tensor(np.array(s.lattice.matrix), dtype=torch.float32) for s in structures]
    frac_coords = torch.cat(coords) if coords else torch.zeros((0, 3))
    return CrystalBatch(
        atomic_numbers=torch.tensor(numbers, dtype=torch.long),
        # rounding 1 - 1e-12 to float32 gives 1.0, which is the site at 0
        frac_coords=torch.where(frac_coords >= 1.0, torch.zeros_like(frac_coords), frac_coords),
        lattice=torch.stack(lattices) if lattices else torch.zeros((0, 3, 3)),
        n_atoms=torch.tensor([len(s) for s in structures], dtype=torch.long),
    )


def niggli_reduced(structure: Structure) -> Structure:
    """The Niggli cell of the same crystal, sites in the same order; the input where reduction fails.

    Diffusion models are trained on reduced cells: started from another cell of the same crystal,
    they pull it apart.
    """
    try:
        return structure.get_reduced_structure()
    except ValueError:
        return structure


def atomic_numbers(structure: Structure) -> list[int]:
    """Proton numbers of the sites, in order.

    Raises:
        StructureParseError: a site is partly occupied or holds something that is no element.
    """
    if not structure.is_ordered:
        raise StructureParseError(partial_occupancy(structure))
    numbers = [getattr(site.specie, "Z", 0) for site in structure]
    # a dummy species has a Z too: a hash, far from any proton number
    if not all(is_element(z) for z in numbers):
        raise StructureParseError(NO_ELEMENT)
    return [int(z) for z in numbers]


def plain_structure(structure: Structure) -> Structure:
    """Elements and coordinates only: no charges, labels or properties that a file may have smuggled in."""
    from pymatgen.core import Element, Structure

    species = [Element.from_Z(site.specie.Z) for site in structure]
    return Structure(structure.lattice, species, in_cell(structure.frac_coords))


def partial_occupancy(structure: Structure) -> str:
    """Which sites are shared or partly occupied, as a sentence."""
    partial = [site for site in structure if not site.is_ordered]
    shares = sorted(amounts_in(partial[0].species).items(), key=lambda share: -share[1])
    example = ", ".join(f"{symbol} {x:.3g}" for symbol, x in shares)
    return (
        f"{len(partial)} of {len(structure)} sites {'is' if len(partial) == 1 else 'are'} shared or partly "
        f"occupied (e.g. {printable(example)[:60]}), which models cannot take. "
        "Give an ordered cell: Files in the viewer and 'analyse --orderings' make some."
    )


def amounts_in(composition: Composition) -> dict[str, float]:
    """Symbol → amount, with deuterium and tritium as D and T, which pymatgen counts as H."""
    amounts: dict[str, float] = {}
    for species, amount in composition.items():
        element = getattr(species, "element", species)
        name = getattr(element, "name", None) or str(element.symbol)
        amounts[name] = amounts.get(name, 0.0) + float(amount)
    return amounts


def in_cell(frac_coords: np.ndarray) -> np.ndarray:
    """Fractional coordinates in [0, 1)."""
    wrapped = np.asarray(frac_coords, dtype=float)
    wrapped = wrapped - np.floor(wrapped)
    # -1e-17 - floor(-1e-17) is exactly 1.0, the site at 0
    return np.where(wrapped >= 1.0, 0.0, wrapped)


def is_element(z: int) -> bool:
    """Whether a proton number is that of an element."""
    return 1 <= z <= 118


def heights(matrix: np.ndarray) -> np.ndarray:
    """Distances between opposite faces of the cell in Å."""
    areas = np.array([np.linalg.norm(np.cross(matrix[i - 2], matrix[i - 1])) for i in range(3)])
    return abs(np.linalg.det(matrix)) / np.maximum(areas, 1e-12)


def _is_lattice(matrix: np.ndarray) -> bool:
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1e4:
        return False
    return bool(
        abs(np.linalg.det(matrix)) > NO_LATTICE_VOLUME and heights(matrix).min() > NO_LATTICE_THICKNESS
    )


def printable(text: str) -> str:
    """Text of a stranger on one line, without control characters, at most 120 characters."""
    return "".join(ch if ch.isprintable() else " " for ch in text)[:120]
