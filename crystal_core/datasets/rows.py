"""Read tables of crystals (Parquet, CSV with CIFs) and decide which rows may train a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.datasets.cif_rows import NOTES, columns_of, crystal_of_cif
from crystal_core.datasets.csv_table import check_has_cifs, csv_table, is_csv
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.properties import PROPERTIES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA = ("material_id", "formula", "n_atoms", "lattice", "species", "frac_coords")
ABOUT_ROWS = (  # columns that are no labels
    "split",
    "mp20_split",
    "spacegroup_number",
    "mp20_n_atoms_primitive",
    "mp20_volume_primitive_a3",
    "volume_ratio",
    "source",
    "mp20_row_index",
    "row_in_split",
    "year",
)
OTHER_GEOMETRY = "other_geometry"
# Å3; larger cells in the Materials Project are mostly molecules, chains and gas-like outliers
MAX_VOLUME_PER_ATOM = 60.0
MP_TABLE = "mp_le20.parquet"
MP20_TABLE = "mp20.parquet"  # the complete published split
PEROV5_TABLE = "perov5.parquet"


@dataclass(frozen=True, kw_only=True)
class CrystalRow:
    """One crystal of a raw table.

    Attributes:
        lattice: (3, 3) rows a, b, c in Å. frac_coords: (atoms, 3). atomic_numbers: (atoms,).
        split: "train", "val", "test" or "" where the source names none.
        mp20_split: the same of MP-20, whichever table the row stands in.
        space_group: number as the source gives it, or None.
        n_primitive: atoms of the primitive cell where the table tells it, else 0.
        labels: finite numbers of the table's property columns.
        notes: sentences on what in the row's CIF does not fit what was read.
    """

    id: str
    formula: str
    lattice: np.ndarray
    frac_coords: np.ndarray
    atomic_numbers: np.ndarray
    split: str
    mp20_split: str = ""
    space_group: int | None = None
    n_primitive: int = 0
    labels: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def volume_per_atom(self) -> float:
        """Å3 per atom."""
        import numpy as np

        return float(abs(np.linalg.det(self.lattice)) / max(1, len(self.atomic_numbers)))


def read_table(path: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """A table of the data schema: Parquet, CSV with a ``cif`` column, or a folder of CIFs.

    CIFs are parsed here; in a folder, file names are the ids.

    Returns:
        The table, and (id, reason) of the rows whose CIF is none.

    Raises:
        RequestError: the file is missing or has none of these forms.
    """
    import pandas as pd

    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise RequestError(
            f"There is no file {path.name}; "
            "give a Parquet file of the data schema or a CSV with a cif column."
        )
    if is_csv(path):
        return _read_csv(path)
    try:
        table = pd.read_parquet(path)
    except Exception as error:
        raise RequestError(
            f"{path.name} cannot be read as Parquet ({type(error).__name__}). Give a Parquet file, or a CSV "
            "whose name ends in .csv."
        ) from error
    missing = [name for name in SCHEMA if name not in table.columns]
    if missing:
        raise RequestError(f"{path.name} lacks the column(s) {', '.join(missing)} of the data schema.")
    return table, []


def read_rows(
    path: Path, split: str | None = None, *, unreadable: list[tuple[str, str]] | None = None
) -> Iterator[CrystalRow]:
    """The rows of a table, optionally of one published split only.

    A row of MP-20 whose geometry is of another relaxation (``source`` = "other_geometry") is
    scaled to MP-20's volume.

    Args:
        unreadable: gets (id, reason) of every row that holds no crystal. Such rows are left out, with
            or without this list.
    """
    table, bad = read_table(path)
    if "split" not in table.columns:
        table["split"] = ""
    table["split"] = table["split"].fillna("").astype(str)
    if split is not None:
        table = table[table["split"] == split]
    yield from rows_of(table, bad)
    if unreadable is not None:
        unreadable += bad


def read_and_tell(path: Path, split: str | None, tell: Callable[[str], None] | None) -> list[CrystalRow]:
    """The rows of a table, as :func:`read_rows`.

    Args:
        tell: gets a sentence on rows that hold no crystal, and one on rows whose CIF does not fit.
    """
    unreadable: list[tuple[str, str]] = []
    rows = list(read_rows(path, split, unreadable=unreadable))
    if tell is not None:
        for sentence in words_on_rows(path.name, unreadable, notes_of(rows)):
            tell(sentence)
    return rows


def rows_of(table: pd.DataFrame, bad: list[tuple[str, str]]) -> Iterator[CrystalRow]:
    """The rows of a table of the data schema with a column ``split`` of text.

    Args:
        bad: gets (id, reason) of every row that holds no crystal.
    """
    known = {*SCHEMA, *ABOUT_ROWS, NOTES}
    numeric = [c for c in _label_columns(table) if c not in known]
    columns = [*SCHEMA, *(c for c in (*ABOUT_ROWS, NOTES) if c in table.columns), *numeric]
    # pandas' own types of numbers have an NA that is neither true nor false
    table = table.assign(**{c: table[c].astype(float) for c in numeric})
    for values in table[columns].itertuples(index=False, name=None):
        row = dict(zip(columns, values, strict=True))
        try:
            yield _row(row, numeric)
        except (TypeError, ValueError, OverflowError) as error:
            bad.append((str(row["material_id"]), f"not a crystal: {error}"))


def _row(row: Mapping[str, Any], numeric: Sequence[str]) -> CrystalRow:
    import numpy as np

    lattice = np.asarray(row["lattice"], dtype=np.float64).reshape(3, 3)
    species = np.asarray(row["species"], dtype=np.int64).reshape(-1)
    frac_coords = np.asarray(row["frac_coords"], dtype=np.float64).reshape(-1, 3)
    if len(frac_coords) != len(species):
        raise ValueError(f"{len(species)} atoms, but {len(frac_coords)} positions")
    if not np.isfinite(lattice).all() or not np.isfinite(frac_coords).all():
        raise ValueError("a number is not finite")
    if len(species) and not 1 <= int(species.min()) <= int(species.max()) <= 118:
        raise ValueError("an atomic number is not between 1 and 118")
    if row.get("source") == OTHER_GEOMETRY:
        lattice = lattice * float(row["volume_ratio"]) ** (-1 / 3)
    return CrystalRow(
        id=str(row["material_id"]),
        formula=str(row["formula"]),
        lattice=lattice,
        frac_coords=frac_coords,
        atomic_numbers=species,
        split=row["split"],
        mp20_split=_text(row.get("mp20_split")),
        space_group=_number(row.get("spacegroup_number")),
        n_primitive=_number(row.get("mp20_n_atoms_primitive")) or 0,
        labels={c: float(row[c]) for c in numeric if math.isfinite(row[c])},
        notes=notes if isinstance(notes := row.get(NOTES), tuple) else (),
    )


def _label_columns(table: pd.DataFrame) -> list[str]:
    """Columns of floating-point numbers, and of whole ones if named after a property; others are counts."""
    from pandas.api.types import is_bool_dtype, is_float_dtype, is_numeric_dtype

    return [
        c
        for c in table.columns
        if is_float_dtype(table[c])
        or (c in PROPERTIES and (is_numeric_dtype(table[c]) or is_bool_dtype(table[c])))
    ]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    import pandas as pd

    return None if value is None or pd.isna(value) else int(value)


def words_on_rows(
    name: str,
    unreadable: Sequence[tuple[str, str]],
    noted: Sequence[tuple[str, str]],
    *,
    one: str = "row",
    lost: str = "left out",
) -> list[str]:
    """A sentence on the rows of a table that are left out, and one on those that are used with a remark.

    Args:
        unreadable: id and reason of each row that holds no crystal.
        noted: id and note of each row whose CIF does not fit what was read.
        one, lost: words for a row, and for what becomes of an unreadable one.

    >>> words_on_rows("a.csv", [("b", "its CIF is empty")], [])
    ['a.csv: 1 row is left out; b: its CIF is empty.']
    """
    sentences = []
    for rows, what in ((unreadable, lost), (noted, "used with a remark")):
        if rows:
            count = f"1 {one} is" if len(rows) == 1 else f"{len(rows):,} {one}s are"
            identifier, reason = rows[0]
            first = "" if len(rows) == 1 else "the first, "
            sentences.append(f"{name}: {count} {what}; {first}{identifier}: {reason.rstrip('.')}.")
    return sentences


def notes_of(rows: Iterable[CrystalRow]) -> list[tuple[str, str]]:
    """Id and notes of each row whose CIF does not fit what was read."""
    return [(row.id, " ".join(row.notes)) for row in rows if row.notes]


def splits_of(path: Path) -> set[str]:
    """The published splits that a table names; "" for rows of none."""
    if is_csv(path) or path.is_dir():
        return {_split_in_name(path)}
    table, _ = read_table(path)
    return set(table["split"].fillna("").astype(str)) if "split" in table.columns else {""}


def split_named(split: str | None, path: Path) -> str:
    """The named split; without a name "val" if the table has it, else "all"."""
    return split or ("val" if "val" in splits_of(path) else "all")


def held_out_ids(tables: Iterable[Path]) -> set[str]:
    """Ids that any of these tables puts into a validation or test split, its own or MP-20's."""
    held: set[str] = set()
    for path in tables:
        # the file name states the split: no need to parse thousands of CIFs
        if is_csv(path) and path.is_file():
            if path.stem in ("val", "test"):
                held.update(_csv_ids(csv_table(path.name, path.read_bytes()), path))
            continue
        table, _ = read_table(path)
        for column in ("split", "mp20_split"):
            if column in table.columns:
                held.update(table.loc[table[column].isin(["val", "test"]), "material_id"].astype(str))
    return held


def reason_not_to_train(row: CrystalRow, held_out: set[str]) -> str | None:
    """None if the row may train a model, else why not."""
    if row.id in held_out or row.mp20_split in ("val", "test"):
        return "in a validation or test split"
    if row.volume_per_atom > MAX_VOLUME_PER_ATOM:
        return f"more than {MAX_VOLUME_PER_ATOM:.0f} Å3 per atom"
    return None


def _csv_ids(table: pd.DataFrame, path: Path) -> list[str]:
    return (
        [str(x) for x in table["material_id"]]
        if "material_id" in table.columns
        else [f"{path.stem}-{i}" for i in range(len(table))]
    )


def _read_csv(path: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    import pandas as pd

    table = csv_table(path.name, path.read_bytes())
    check_has_cifs(path.name, table)
    for column in PROPERTIES:
        if column in table.columns and not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = pd.to_numeric(table[column], errors="coerce")  # one "n/a" makes a column of texts
    numeric = _label_columns(table)
    rows, bad = [], []
    own_split = "split" in table.columns
    for name, (_, values) in zip(_csv_ids(table, path), table.iterrows(), strict=True):
        try:
            crystal = _from_cif(values["cif"])
        except StructureParseError as error:
            bad.append((name, str(error)))
            continue
        rows.append(
            {
                "material_id": name,
                **crystal,
                "split": values["split"] if own_split else _split_in_name(path),
                **{c: values[c] for c in numeric},
            }
        )
    return pd.DataFrame(
        rows, columns=[*SCHEMA, NOTES, "split", *(c for c in numeric if c not in SCHEMA)]
    ), bad


def _read_folder(path: Path) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    import pandas as pd

    rows, bad = [], []
    files = cif_files(path)
    if not files:
        raise RequestError(f"The folder {path.name} holds no CIF files.")
    for file in files:
        try:
            rows.append({"material_id": file.stem, **_from_cif(file.read_bytes())})
        except StructureParseError as error:
            bad.append((file.stem, str(error)))
        except OSError as error:
            bad.append((file.stem, f"its file cannot be read ({error.strerror})"))
    return pd.DataFrame(rows, columns=[*SCHEMA, NOTES]), bad


def cif_files(folder: Path) -> list[Path]:
    """The CIFs of a folder that stands for a table, in the order of its rows."""
    return sorted(folder.glob("*.cif"))


def _split_in_name(path: Path) -> str:
    return path.stem if path.stem in ("train", "val", "test") else ""


def _from_cif(content: object) -> dict[str, Any]:
    structure = crystal_of_cif(content)
    return columns_of(structure, structure.composition.reduced_formula)
