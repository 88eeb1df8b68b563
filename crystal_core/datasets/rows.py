"""Read tables of crystals (Parquet of the data schema, CSV with CIFs) and decide which rows may train a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crystal_core.errors import RequestError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA = ("material_id", "formula", "n_atoms", "lattice", "species", "frac_coords")
MAX_VOLUME_PER_ATOM = 60.0  # Å3; larger cells in the Materials Project are mostly molecules, chains and gas-like outliers
MP_TABLE = "mp_le20.parquet"
MP20_TABLE = "mp20_exact_partial.parquet"


@dataclass(frozen=True, kw_only=True)
class CrystalRow:
    """One crystal of a raw table.

    Attributes:
        lattice: (3, 3) rows a, b, c in Å. frac_coords: (atoms, 3). atomic_numbers: (atoms,).
        split: "train", "val", "test" or "" where the source names none.
        labels: numeric property columns of the table, missing values left out.
    """

    id: str
    formula: str
    lattice: np.ndarray
    frac_coords: np.ndarray
    atomic_numbers: np.ndarray
    split: str
    labels: dict[str, float] = field(default_factory=dict)

    @property
    def volume_per_atom(self) -> float:
        """Å3 per atom."""
        import numpy as np

        return float(abs(np.linalg.det(self.lattice)) / max(1, len(self.atomic_numbers)))


def read_table(path: Path) -> pd.DataFrame:
    """A table of the data schema: Parquet, or CSV with a ``cif`` column (then parsed here).

    Raises:
        RequestError: the file is missing or has neither form.
    """
    import pandas as pd

    if not path.is_file():
        raise RequestError(f"There is no file {path.name}; give a Parquet file of the data schema or a CSV with a cif column.")
    if path.suffix == ".csv":
        return _read_csv(path)
    try:
        table = pd.read_parquet(path)
    except Exception as error:
        raise RequestError(f"{path.name} cannot be read as Parquet ({type(error).__name__}).") from error
    missing = [name for name in SCHEMA if name not in table.columns]
    if missing:
        raise RequestError(f"{path.name} lacks the column(s) {', '.join(missing)} of the data schema.")
    return table


def read_rows(path: Path, split: str | None = None) -> Iterator[CrystalRow]:
    """The rows of a table, optionally of one published split only."""
    import numpy as np
    import pandas as pd

    table = read_table(path)
    if "split" not in table.columns:
        table["split"] = ""
    table["split"] = table["split"].fillna("").astype(str)
    if split is not None:
        table = table[table["split"] == split]
    known = {*SCHEMA, "split", "spacegroup_number", "mp20_row_index", "year"}
    numeric = [c for c in table.columns if c not in known and pd.api.types.is_float_dtype(table[c])]
    columns = [*SCHEMA, "split", *numeric]
    for values in table[columns].itertuples(index=False, name=None):
        row = dict(zip(columns, values, strict=True))
        yield CrystalRow(
            id=str(row["material_id"]),
            formula=str(row["formula"]),
            lattice=np.asarray(row["lattice"], dtype=np.float64).reshape(3, 3),
            frac_coords=np.asarray(row["frac_coords"], dtype=np.float64).reshape(-1, 3),
            atomic_numbers=np.asarray(row["species"], dtype=np.int64),
            split=row["split"],
            labels={c: float(row[c]) for c in numeric if row[c] == row[c]},
        )


def held_out_ids(tables: Iterable[Path]) -> set[str]:
    """Ids that any of these tables puts into a validation or test split."""
    held: set[str] = set()
    for path in tables:
        table = read_table(path)
        if "split" in table.columns:
            held.update(table.loc[table["split"].isin(["val", "test"]), "material_id"].astype(str))
    return held


def reason_not_to_train(row: CrystalRow, held_out: set[str]) -> str | None:
    """None if the row may train a model, else why not."""
    if row.id in held_out:
        return "in a validation or test split"
    if row.volume_per_atom > MAX_VOLUME_PER_ATOM:
        return f"more than {MAX_VOLUME_PER_ATOM:.0f} Å3 per atom"
    return None


def _read_csv(path: Path) -> pd.DataFrame:
    import numpy as np
    import pandas as pd
    from pymatgen.core import Structure

    table = pd.read_csv(path)
    if "cif" not in table.columns:
        raise RequestError(f"{path.name} has no column 'cif'.")
    ids = table["material_id"] if "material_id" in table.columns else [f"{path.stem}-{i}" for i in range(len(table))]
    rows = []
    for name, text in zip(ids, table["cif"], strict=True):
        structure = Structure.from_str(text, fmt="cif")
        rows.append(
            {
                "material_id": str(name),
                "formula": structure.composition.reduced_formula,
                "n_atoms": len(structure),
                "lattice": structure.lattice.matrix.ravel(),
                "species": np.array([site.specie.Z for site in structure]),
                "frac_coords": (structure.frac_coords % 1.0).ravel(),
                "split": path.stem if path.stem in ("train", "val", "test") else "",
            }
        )
    return pd.DataFrame(rows)
