"""The prototype baseline as a generator: no network, no noise, one frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.cards import ModelCard, sha256_of
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.errors import CheckpointMismatch, IncompatibleSampler
from crystal_core.frames import Frame, Template
from crystal_core.generators.prototype.index import Candidate, PrototypeIndex, Ranking
from crystal_core.generators.prototype.orderings import orderings
from crystal_core.paths import home_dir
from crystal_core.requests import GenerationRequest
from crystal_core.structures import in_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray


TABLE = "prototypes.npz"
LARGE_TABLE = "large.npz"  # prototypes of 21 to 40 atoms
WEIGHTS = "neighbour_weights.npz"  # of the votes of the nearest relatives


class PrototypeGenerator:
    """Places compositions onto known arrangements.

    The k-th occurrence of a composition in a request gets the k-th best prototype, so n samples are n
    different ones. Where no (further) prototype with this count pattern is known, the sample's cell is all
    zeros, a flat cell that :func:`crystal_core.structures.to_structures` returns as None: a failed sample at
    its place, and the others live on.
    """

    network_calls = 0

    def __init__(self, index: PrototypeIndex, card: ModelCard, table_sha256: str = "") -> None:
        self.index, self.card, self.table_sha256 = index, card, table_sha256

    @cached_property
    def seen_formulas(self) -> frozenset[str]:
        """Reduced formulas among the members."""
        from crystal_core.generators.prototype.library import reduced_formulas

        return reduced_formulas(self.index)

    def with_table(self, path: Path) -> PrototypeGenerator:
        """This generator with another table of prototypes, and its own ranking and weights of votes.

        Raises:
            CheckpointMismatch: the table is damaged or of another format.
        """
        from crystal_core.generators.prototype.library import load_index

        index = load_index(path, self.index.ranking)
        index.weights = self.index.weights
        return PrototypeGenerator(index, self.card, sha256_of(path))

    def sample(self, request: GenerationRequest) -> Iterator[Frame]:
        """One finished frame. Nothing here is random: the seed changes nothing."""
        if request.start is not None:
            raise IncompatibleSampler(
                "The prototype baseline starts from nothing; leave the start structure out."
            )
        wanted = Counter(tuple(sorted(c)) for c in request.compositions)
        by_composition: dict[tuple[int, ...], list[Candidate]] = {}
        taken: Counter[tuple[int, ...]] = Counter()
        placed: list[tuple[tuple[int, ...], Candidate | None]] = []
        for composition in request.compositions:
            key = tuple(sorted(composition))
            if key not in by_composition:
                by_composition[key] = self.index.candidates(key, wanted[key])
            rank = taken[key]
            taken[key] += 1
            placed.append(
                (composition, by_composition[key][rank] if rank < len(by_composition[key]) else None)
            )
        yield self._frame(placed)

    def lay_out(
        self, cells: Mapping[int, Sequence[int]], n: int, *, repeats: bool = False
    ) -> tuple[list[int], Frame | None]:
        """The ``n`` best prototypes of a formula over all cells: their formula units, and one frame; or None.

        Args:
            cells: formula units → atomic numbers. repeats: also repeat smaller prototypes to fill a cell.
        """
        ordered = {z: tuple(sorted(atoms)) for z, atoms in cells.items()}
        candidates = self.index.candidates_over(ordered, n, repeats=repeats)
        if not candidates:
            return [], None
        return [z for z, _ in candidates], self._frame(
            [(ordered[z], candidate) for z, candidate in candidates]
        )

    def order(
        self, cells: Mapping[int, Sequence[int]], *, repeats: bool = False, drawn: int | None = None
    ) -> tuple[list[int], Frame | None]:
        """All orderings of a formula (:mod:`.orderings`): formula units, and one frame; or None.

        Args:
            cells, repeats: as in :meth:`lay_out`.
            drawn: so many of them at most, drawn with seed 0; all where absent.
        """
        ordered = {z: tuple(sorted(atoms)) for z, atoms in cells.items()}
        found = list(orderings(self.index, ordered, repeats=repeats))
        if drawn is not None and len(found) > drawn:
            found = [found[i] for i in np.sort(np.random.default_rng(0).permutation(len(found))[:drawn])]
        if not found:
            return [], None
        return [z for z, _ in found], self._frame([(ordered[z], candidate) for z, candidate in found])

    def _frame(self, placed: Sequence[tuple[Sequence[int], Candidate | None]]) -> Frame:
        """One frame with a crystal for every composition, a flat cell where it has no candidate."""
        import torch

        from crystal_core.crystal import CrystalBatch

        lattices, coords = [], []
        templates: list[Template | None] = []
        for composition, candidate in placed:
            if candidate is not None:
                # candidates have their atoms sorted
                back = np.argsort(np.argsort(composition, kind="stable"), kind="stable")
                lattice, frac = niggli(candidate.lattice, candidate.frac_coords[back])
                lattices.append(lattice)
                coords.append(frac)
                templates.append(self._template(candidate))
            else:
                lattices.append(np.zeros((3, 3)))
                coords.append(np.zeros((len(composition), 3)))
                templates.append(None)
        frac_coords = torch.tensor(np.concatenate(coords), dtype=torch.float32)
        crystals = CrystalBatch(
            atomic_numbers=torch.tensor([z for composition, _ in placed for z in composition]),
            frac_coords=torch.where(frac_coords >= 1.0, 0.0, frac_coords),
            lattice=torch.tensor(np.stack(lattices), dtype=torch.float32),
            n_atoms=torch.tensor([len(composition) for composition, _ in placed]),
        )
        return Frame(
            stage=f"known prototypes ({self.index.kind})",
            step=1,
            n_steps=1,
            time=0.0,
            crystals=crystals,
            sample_ids=tuple(range(len(placed))),
            finished=True,
            templates=tuple(templates),
        )

    def _template(self, candidate: Candidate) -> Template:
        from pymatgen.core import Composition, Element

        formula = formula_of(
            Composition({Element.from_Z(z).symbol: n for z, n in candidate.relative.items()})
        )
        repeated = candidate.repeats > 1 and not candidate.ordered
        penalty = self.index.ranking.supercell_penalty if repeated else 0.0
        return Template(
            table=f"{self.card.name}, {self.index.kind}",
            table_sha256=self.table_sha256,
            prototype=candidate.prototype,
            members=self.index.members[candidate.prototype],
            label=candidate.label,
            formula=formula,
            distance=round(candidate.distance - penalty, 4),
            repeats=candidate.repeats,
            votes=round(candidate.votes, 4),
            ordered=tuple(Element.from_Z(z).symbol for z in candidate.ordered),
        )


def niggli(lattice: NDArray[Any], frac_coords: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The Niggli-reduced cell, atoms in the same order; the input where the reduction fails.

    Diffusion models are trained on reduced cells: started from another cell of the same crystal,
    they pull it apart.
    """
    from pymatgen.core import Lattice

    given = Lattice(lattice)
    try:
        reduced = given.get_niggli_reduced_lattice()
    except ValueError:
        return lattice, frac_coords
    return reduced.matrix, in_cell(reduced.get_fractional_coords(given.get_cartesian_coords(frac_coords)))


def full_index_path() -> Path:
    """Path of this machine's full index, which may not exist yet.

    ``python -m crystal_core.generators.prototype.build --full`` builds it.
    """
    return home_dir() / "prototype" / "full.npz"


def load_prototype(card: ModelCard, device: str = "cpu") -> PrototypeGenerator:  # noqa: ARG001 (it has no network)
    """The full index where this machine has one and the card allows it, else the shipped table.

    Raises:
        CheckpointMismatch: the table is missing, damaged or not the one its card states.
    """
    from crystal_core.generators.prototype.library import load_index
    from crystal_core.generators.prototype.merge import merged
    from crystal_core.generators.prototype.neighbour_weights import load_neighbour_weights

    if card.folder is None:
        raise CheckpointMismatch("The prototype card has no folder.")
    ranking = Ranking(**card.sampling.get("ranking", {}))
    problem, full = card.problem(), full_index_path()
    if problem:
        raise CheckpointMismatch(f"Checkpoint '{card.name}': {problem}")
    weights = load_neighbour_weights(card.folder / WEIGHTS) if WEIGHTS in card.files else None
    if card.extra.get("full_index") and full.is_file():
        index = load_index(full, ranking)
        index.weights = weights
        return PrototypeGenerator(index, card, sha256_of(full))
    index = load_index(card.folder / TABLE, ranking)
    if LARGE_TABLE in card.files:
        index = merged(index, load_index(card.folder / LARGE_TABLE, ranking))
    index.weights = weights
    return PrototypeGenerator(index, card, card.files[TABLE])
