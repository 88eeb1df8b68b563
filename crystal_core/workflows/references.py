"""Known crystals that structure prediction is measured on, and candidates for them in files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_core.datasets.rows import read_and_tell, splits_of, words_on_rows
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.parse import parse_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_FILES = 100


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One known crystal that a prediction should find."""

    id: str
    atomic_numbers: tuple[int, ...]
    structure: Structure


def read_references(
    data: Path, split: str, limit: int | None, *, tell: Callable[[str], None] | None = None
) -> list[Reference]:
    """The rows of a split ("all" for every row), or ``limit`` fixed random ones (seed 0), by size.

    Args:
        tell: as in :func:`read_and_tell`.

    Raises:
        RequestError: there are no such rows.
    """
    import numpy as np
    from pymatgen.core import Lattice, Structure

    rows = read_and_tell(data, None if split == "all" else split, tell)
    if not rows:
        known = sorted(splits_of(data) - {""})
        raise RequestError(
            f"{data.name} has no rows in the split '{split}'; it has "
            f"{', '.join([*known, 'all']) if known else 'no splits: use all'}."
        )
    order = np.random.default_rng(0).permutation(len(rows))[: limit or len(rows)]
    # alike sizes together: an equal-size batch is the fastest
    chosen = [rows[i] for i in sorted(order, key=lambda i: len(rows[i].atomic_numbers))]
    return [
        Reference(
            id=row.id,
            atomic_numbers=tuple(int(z) for z in row.atomic_numbers),
            structure=Structure(Lattice(row.lattice), row.atomic_numbers.tolist(), row.frac_coords),
        )
        for row in chosen
    ]


def digest(references: Sequence[Reference]) -> str:
    """Number and short hash of the rows, their order included."""
    text = "\n".join(f"{reference.id} {reference.atomic_numbers}" for reference in references)
    return f"{len(references)} ({hashlib.sha256(text.encode()).hexdigest()[:12]})"


def read_candidates(
    folder: Path, references: Sequence[Reference], *, tell: Callable[[str], None] | None = None
) -> list[list[Structure | None]]:
    """Candidates from files: ``<id>.cif``, or ``<id>_1.cif``, ``<id>_2.cif`` … for several per reference.

    A file that cannot be read is a failed candidate.

    Args:
        tell: as in :func:`read_cells`.

    Raises:
        RequestError: no file carries the id of any reference, or one may not be opened.
    """
    named = []
    for reference in references:
        names = [
            folder / f"{reference.id}.cif",
            *(folder / f"{reference.id}_{k}.cif" for k in range(1, MAX_FILES + 1)),
        ]
        named.append([path for path in names if path.is_file()])
    cells = iter(read_cells(folder.name, [path for paths in named for path in paths], tell=tell))
    candidates = [[next(cells) for _ in paths] or [None] for paths in named]
    if not any(structure is not None for structures in candidates for structure in structures):
        wanted = f"{references[0].id}.cif" if references else "<id>.cif"
        raise RequestError(
            f"{folder.name} holds no readable candidate; "
            f"name the files after the rows of the data, such as {wanted}."
        )
    return candidates


def read_cells(
    folder: str, files: Sequence[Path], *, tell: Callable[[str], None] | None = None
) -> list[Structure | None]:
    """The crystal of each file; None if its text is not a crystal.

    Args:
        tell: gets a sentence on files that hold no crystal, and one on files that contradict themselves.

    Raises:
        RequestError: a file may not be opened, which says nothing of its crystal.
    """
    cells: list[Structure | None] = []
    refused, noted = [], []
    for path in files:
        try:
            cell = parse_text(text_of(path.read_bytes()), path.name)
        except StructureParseError as error:
            cells.append(None)
            refused.append((path.name, str(error).removeprefix(f"{path.name}: ")))
            continue
        except OSError as error:
            raise RequestError(f"{path.name} cannot be read ({error.strerror}).") from None
        cells.append(cell)
        if notes := cell.properties.get("notes"):
            noted.append((path.name, " ".join(notes)))
    if tell is not None:
        for sentence in words_on_rows(folder, refused, noted, one="file", lost="counted as failed"):
            tell(sentence)
    return cells


def training_formulas(prepared: Path) -> frozenset[str]:
    """Reduced formulas of the training rows of a prepared file, for seen and unseen formulas apart."""
    from pymatgen.core import Composition

    from crystal_core.training.data import load_prepared

    return frozenset(
        Composition(formula).reduced_formula for formula in set(load_prepared(prepared)["train"].formulas)
    )
