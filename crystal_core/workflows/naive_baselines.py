"""Baselines without a trained network: random symmetric cells, element substitution, training rows.

All start from training rows, so they get compositions nearly for free; only coverage, novelty and stability
together show what they lack. Training rows as they are show what a perfect imitation would reach with as many
crystals: coverage grows with their number, and the published check of compositions refuses some crystals that
exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from crystal_core.checks import check_choice
from crystal_core.errors import MissingExtra

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.generators.prototype.index import PrototypeIndex

Baseline = Literal["random", "substitution", "training"]
BASELINES = get_args(Baseline)
Composition = tuple[int, ...]  # atomic number of each atom
Progress = Callable[[int], None]
GROUP_TRIES = 20  # space groups tried per crystal before it counts as failed
PLACEMENT_TRIES = 5  # of PyXtal, within one space group
SIMILAR = 0.5  # chemical distance at which a replacement is e times less likely than the element itself
SWAP_TRIES = 100


def check_baseline(name: str) -> None:
    """Raise RequestError for an unknown baseline, MissingExtra where its package is not installed."""
    check_choice("baseline", name, BASELINES)
    if name == "random" and find_spec("pyxtal") is None:
        raise MissingExtra(
            "Random symmetric cells need PyXtal; install it with: pip install 'crystal-studio[evaluate]'"
        )


def random_symmetric(
    compositions: Sequence[Composition], n: int, seed: int, on_progress: Progress | None = None
) -> list[Structure | None]:
    """``n`` cells of PyXtal: a random training formula in a random one of 230 space groups.

    A space group without sites for the counts is drawn again; after 20 the crystal counts as failed. PyXtal
    chooses the volume from covalent radii. The primitive cell is kept.

    Raises:
        MissingExtra: PyXtal is not installed.
    """
    check_baseline("random")
    rng = np.random.default_rng(seed)
    crystals: list[Structure | None] = []
    for _ in range(n):
        crystals.append(_random_cell(compositions[int(rng.integers(len(compositions)))], rng))
        if on_progress:
            on_progress(len(crystals))
    return crystals


def substituted(
    index: PrototypeIndex,
    compositions: Sequence[Composition],
    n: int,
    seed: int,
    on_progress: Progress | None = None,
) -> list[Structure | None]:
    """``n`` training formulas with similar elements swapped in, on their nearest relatives' prototypes.

    Each element of a random training row is replaced by one drawn with weight exp(-d / 0.5), d the chemical
    distance of the prototype table and d = 0 for staying; a draw that changes nothing, or makes two elements
    one, is repeated. A composition without a known prototype counts as failed.
    """
    from pymatgen.core import Lattice, Structure

    rng = np.random.default_rng(seed)
    elements = np.unique([z for composition in compositions for z in composition])
    crystals: list[Structure | None] = []
    for _ in range(n):
        composition: Any = swap_elements(
            compositions[int(rng.integers(len(compositions)))], elements, index.distance, rng
        )
        best = index.candidates(composition, 1)
        crystals.append(
            Structure(Lattice(best[0].lattice), composition, best[0].frac_coords) if best else None
        )
        if on_progress:
            on_progress(len(crystals))
    return crystals


def copied(
    cells: Callable[[int], Structure], n_rows: int, n: int, seed: int, on_progress: Progress | None = None
) -> list[Structure | None]:
    """``n`` different training rows unchanged, or all; ``cells`` builds one from its index."""
    chosen = np.random.default_rng(seed).permutation(n_rows)[:n]
    crystals: list[Structure | None] = []
    for i in chosen.tolist():
        crystals.append(cells(i))
        if on_progress:
            on_progress(len(crystals))
    return crystals


def swap_elements(
    composition: Composition, elements: np.ndarray, distance: np.ndarray, rng: np.random.Generator
) -> Composition:
    """The composition with an element or more replaced by a similar one; unchanged where none fits."""
    present = sorted(set(composition))
    weights = np.exp(-distance[present][:, elements] / SIMILAR)
    weights /= weights.sum(axis=1, keepdims=True)
    for _ in range(SWAP_TRIES):
        drawn = [int(rng.choice(elements, p=row)) for row in weights]
        if drawn != present and len(set(drawn)) == len(present):
            change = dict(zip(present, drawn, strict=True))
            return tuple(change[z] for z in composition)
    return composition


def _random_cell(composition: Composition, rng: np.random.Generator) -> Structure | None:
    from pymatgen.core import Element
    from pyxtal import pyxtal

    elements, counts = np.unique(composition, return_counts=True)
    symbols = [Element.from_Z(int(z)).symbol for z in elements]
    for _ in range(GROUP_TRIES):
        group, draw = int(rng.integers(1, 231)), int(rng.integers(2**31))
        cell = pyxtal()
        try:
            # primitive counts: the centring of the space group multiplies them
            cell.from_random(
                3,
                group,
                symbols,
                counts.tolist(),
                conventional=False,
                random_state=draw,
                max_count=PLACEMENT_TRIES,
            )
            if not cell.valid:
                continue
            structure = cell.to_pymatgen().get_primitive_structure()
        except Exception:  # noqa: BLE001, S112 (no sites for these counts, or no room for the atoms: another group is drawn)
            continue
        return structure
    return None
