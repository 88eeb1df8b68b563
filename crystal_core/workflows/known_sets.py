"""Known crystals to compare generated ones with: training rows, cached fingerprints of a split."""

from __future__ import annotations

import hashlib
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crystal_core.datasets.rows import cif_files, read_rows
from crystal_core.errors import RequestError
from crystal_core.evaluation.coverage import Fingerprints
from crystal_core.evaluation.de_novo import KnownSet, judge, known_set
from crystal_core.evaluation.parallel import in_parallel
from crystal_core.paths import home_dir
from crystal_core.whole_files import whole_file
from crystal_core.workflows.references import read_references

if TYPE_CHECKING:
    from pymatgen.core import Structure

PREPARED = ".safetensors"
CACHE_FORMAT = "1"  # of the kept fingerprints; another number where the features change
Progress = Callable[[str, int, int], None]  # what, finished, of


@dataclass(frozen=True, kw_only=True)
class ReferenceSet:
    """Known crystals that novelty is counted against.

    Attributes:
        name: of the file, with what of it was taken. size: rows.
        compositions: atomic numbers per row. cells: builds the crystals of a row's index.
    """

    name: str
    compositions: list[tuple[int, ...]]
    cells: Callable[[int], Structure]

    def __len__(self) -> int:
        return len(self.compositions)

    def by_formula(self, wanted: set[str]) -> dict[str, list[Structure]]:
        """The crystals of these reduced formulas."""
        formulas: dict[tuple[int, ...], str] = {}
        groups: defaultdict[str, list[Structure]] = defaultdict(list)
        for i, composition in enumerate(self.compositions):
            key = tuple(sorted(composition))
            if key not in formulas:
                formulas[key] = reduced_formula(key)
            if formulas[key] in wanted:
                groups[formulas[key]].append(self.cells(i))
        return dict(groups)


def read_reference_set(path: Path) -> ReferenceSet:
    """Rows known from training: those of no validation or test split, or a prepared file's own.

    Raises:
        RequestError: the file cannot be read or has no such rows.
    """
    from pymatgen.core import Lattice, Structure

    if path.suffix == PREPARED:
        from crystal_core.training.data import load_prepared

        prepared = load_prepared(path)["train"]
        starts, counts = prepared.first_atom.tolist(), prepared.n_atoms.tolist()
        numbers, coords = prepared.atomic_numbers.tolist(), prepared.frac_coords.double().numpy()
        atoms = [slice(start, start + count) for start, count in zip(starts, counts, strict=True)]

        def prepared_cell(i: int) -> Structure:
            return Structure(
                Lattice.from_parameters(*prepared.cell_parameters[i].tolist()),
                numbers[atoms[i]],
                coords[atoms[i]],
            )

        return ReferenceSet(
            name=f"training rows of {path.name}",
            compositions=[tuple(numbers[part]) for part in atoms],
            cells=prepared_cell,
        )

    unreadable: list[tuple[str, str]] = []
    rows = [
        row
        for row in read_rows(path, unreadable=unreadable)
        if row.split not in ("val", "test") and len(row.atomic_numbers)
    ]
    left_out = f" ({len(unreadable):,} that hold no crystal left out)" if unreadable else ""
    if not rows:
        raise RequestError(
            f"{path.name} has no rows outside validation and test; name a training file with --reference-set."
        )
    return ReferenceSet(
        name=f"rows of {path.name} outside validation and test{left_out}",
        compositions=[tuple(row.atomic_numbers.tolist()) for row in rows],
        cells=lambda i: Structure(
            Lattice(rows[i].lattice), rows[i].atomic_numbers.tolist(), rows[i].frac_coords
        ),
    )


def read_known(
    data: Path,
    split: str,
    limit: int | None,
    *,
    workers: int = 2,
    on_progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
) -> KnownSet:
    """Fingerprints, densities, element counts of a comparison set, computed once per file and split.

    They are kept in the home folder under the hash of the file's content.

    Args:
        tell: as in :func:`read_references`, where they are computed.
    """
    cache = cache_path(data, split, limit)
    cached = _load_known(cache)
    if cached is not None:
        return cached
    references = [reference.structure for reference in read_references(data, split, limit, tell=tell)]
    show = (
        (lambda done: on_progress("fingerprints of known crystals", done, len(references)))
        if on_progress
        else None
    )
    known = known_set(in_parallel(judge, references, workers=workers, on_progress=show))
    _save_known(cache, known)
    return known


def cache_path(data: Path, split: str, limit: int | None) -> Path:
    """The file that keeps the fingerprints of these rows, named after the content of the data."""
    files = cif_files(data) if data.is_dir() else [data]
    if not all(file.is_file() for file in files):
        raise RequestError(
            f"There is no file {data.name}; "
            "give a Parquet file of the data schema or a CSV with a cif column."
        )
    hashes = []
    for path in files:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    content = "|".join(hashes)
    key = hashlib.sha256("|".join([CACHE_FORMAT, content, str(split), str(limit)]).encode()).hexdigest()[:24]
    return home_dir() / "fingerprints" / f"{key}.npz"


def _load_known(path: Path) -> KnownSet | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return KnownSet(
                fingerprints=Fingerprints(structure=arrays["structure"], composition=arrays["composition"]),
                density=arrays["density"],
                n_elements=arrays["n_elements"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # not there, or damaged: computed anew


def _save_known(path: Path, known: KnownSet) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file, file.open("wb") as handle:
        np.savez_compressed(
            handle,
            structure=known.fingerprints.structure,
            composition=known.fingerprints.composition,
            density=known.density,
            n_elements=known.n_elements,
        )


def reduced_formula(atomic_numbers: Sequence[int]) -> str:
    """The formula in pymatgen's spelling.

    >>> reduced_formula([8, 22, 8, 8, 22, 8])
    'TiO2'
    """
    from pymatgen.core import Composition, Element

    elements, counts = np.unique(atomic_numbers, return_counts=True)
    return str(
        Composition(
            {Element.from_Z(int(z)): int(n) for z, n in zip(elements, counts, strict=True)}
        ).reduced_formula
    )
