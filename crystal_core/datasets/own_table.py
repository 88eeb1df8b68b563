"""A table of a user's own: its crystals, its columns of numbers, and why rows hold no crystal.

The CIFs of a CSV come from strangers, so a child process reads them within limits of time and memory.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.datasets.cif_rows import EMPTY, NOTES, columns_of, several
from crystal_core.datasets.csv_table import check_has_cifs, csv_table
from crystal_core.datasets.rows import ABOUT_ROWS, SCHEMA, CrystalRow, rows_of
from crystal_core.errors import RequestError
from crystal_core.files.names import clean_name
from crystal_core.files.uploads import parse_uploads
from crystal_core.requests import MAX_LEARNED_ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

MAX_TABLE_BYTES = 50_000_000
MAX_UNPACKED_BYTES = 400_000_000  # of a Parquet file
MAX_ROWS = 20_000
SPLITS = ("train", "val", "test")
NO_NUMBERS = (*SCHEMA, *ABOUT_ROWS, "cif", NOTES)


@dataclass(frozen=True, kw_only=True)
class OwnTable:
    """A table as its file gives it.

    Attributes:
        rows: crystals; their labels are the finite numbers of their row.
        skipped: id and reason of each row without one.
        columns: column of numbers → how many crystals have one.
        headers: names of all columns of the file.
    """

    name: str
    rows: tuple[CrystalRow, ...]
    skipped: tuple[tuple[str, str], ...]
    columns: dict[str, int]
    headers: tuple[str, ...]

    def with_value(self, column: str) -> list[CrystalRow]:
        """The crystals that have a number in a column."""
        return [row for row in self.rows if column in row.labels]


def read_own_table(
    name: str, content: bytes, on_progress: Callable[[int, int], None] | None = None
) -> OwnTable:
    """An uploaded table, within limits of size, with at least one number.

    Args:
        name: of the file; the content decides the format.
        on_progress: gets how many CIFs of how many are read.

    Raises:
        RequestError: the file is too large, is no such table, or has no column of numbers.
    """
    if len(content) > MAX_TABLE_BYTES:
        raise RequestError(
            f"{name} is larger than {MAX_TABLE_BYTES // 1_000_000} MB; leave out rows or columns."
        )
    table = own_table_of(clean_name(name), content, on_progress, limited=True)
    if not table.columns:
        raise RequestError(f"{table.name} has no crystal with a number; add a column of numbers.")
    return table


def own_table_of(
    name: str,
    content: bytes,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    limited: bool = False,
) -> OwnTable:
    """Read Parquet of the data schema, or CSV with a column ``cif``.

    Args:
        name, on_progress: as in :func:`read_own_table`.
        limited: refuse a table beyond the limits of an upload.

    Raises:
        RequestError: the file is no such table, or too large.
    """
    skipped: list[tuple[str, str]] = []
    if content.startswith(b"PAR1"):
        table = _parquet(name, content, limited=limited)
        headers = tuple(map(str, table.columns))
    else:
        given = csv_table(name, content)
        check_has_cifs(name, given)
        if limited:
            _check_rows(name, len(given))
        headers = tuple(map(str, given.columns))
        table, skipped = _crystals_of(given, on_progress)
    table = table.loc[:, ~table.columns.duplicated()]
    numeric = _numbers(table)
    stored_columns = [column for column in (*SCHEMA, "split", NOTES) if column in table.columns]
    whole = table[stored_columns].join(numeric)
    whole["split"] = whole["split"].where(whole["split"].isin(SPLITS), "") if "split" in whole else ""
    rows = []
    for row in rows_of(whole, skipped):
        if len(row.atomic_numbers) <= MAX_LEARNED_ATOMS:
            rows.append(row)
        else:
            skipped.append(
                (row.id, f"{len(row.atomic_numbers)} atoms; at most {MAX_LEARNED_ATOMS} are learned from")
            )
    columns = {column: sum(column in row.labels for row in rows) for column in numeric.columns}
    return OwnTable(
        name=name,
        rows=tuple(rows),
        skipped=tuple(skipped),
        columns={c: n for c, n in columns.items() if n},
        headers=headers,
    )


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that hold finite numbers, as floats; any other entry becomes NaN."""
    import numpy as np
    import pandas as pd

    numbers = {}
    for column in table.columns:
        name = str(column)
        if name in NO_NUMBERS or name.startswith("Unnamed:") or pd.api.types.is_bool_dtype(table[column]):
            continue
        try:
            values = pd.to_numeric(table[column], errors="coerce").astype(float)
        except (TypeError, ValueError):  # lists, dates
            continue
        values = values.where(np.isfinite(values))
        if values.notna().any():
            numbers[name] = values
    return pd.DataFrame(numbers, index=table.index)


def _parquet(name: str, content: bytes, *, limited: bool) -> pd.DataFrame:
    import pandas as pd
    from pyarrow import parquet

    try:
        about = parquet.ParquetFile(io.BytesIO(content)).metadata
        unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if limited:
            _check_rows(name, about.num_rows)
        if limited and unpacked > MAX_UNPACKED_BYTES:
            raise RequestError(
                f"{name} has {unpacked // 1_000_000} MB unpacked; "
                f"at most {MAX_UNPACKED_BYTES // 1_000_000} MB are read."
            )
        table = pd.read_parquet(io.BytesIO(content))
    except RequestError:
        raise
    except Exception as error:
        raise RequestError(
            f"{name} cannot be read as Parquet ({type(error).__name__}). Give a Parquet file, or a CSV whose "
            "name ends in .csv."
        ) from error
    missing = [column for column in SCHEMA if column not in table.columns]
    if missing:
        raise RequestError(
            f"{name} lacks the column(s) {', '.join(missing)}; give those, or a CSV with a column cif."
        )
    return table.reset_index(drop=True)


def _crystals_of(
    table: pd.DataFrame, on_progress: Callable[[int, int], None] | None
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The table with the crystals of its CIFs, and id and reason of each row without one."""
    import pandas as pd

    named = table["material_id"] if "material_id" in table.columns else [None] * len(table)
    crystals: dict[int, dict[str, Any]] = {}
    skipped: list[tuple[str, str]] = []
    for i, (given, text) in enumerate(zip(named, table["cif"], strict=True)):
        identifier = f"row {i + 1}" if pd.isna(given) else str(given)
        crystal = _crystal(identifier, text)
        if isinstance(crystal, str):
            skipped.append((identifier, crystal))
        else:
            crystals[i] = crystal
        if on_progress:
            on_progress(i + 1, len(table))
    geometry = pd.DataFrame.from_dict(crystals, orient="index", columns=[*SCHEMA, NOTES])
    others = table.drop(columns=[c for c in (*SCHEMA, NOTES, "cif") if c in table.columns])
    return geometry.join(others), skipped


def _crystal(identifier: str, text: object) -> dict[str, Any] | str:
    """The cells of the data schema of one CIF, or why there are none."""
    if not isinstance(text, str) or not text.strip():
        return EMPTY
    uploads = parse_uploads([(f"{identifier}.cif", text.encode())], most=1)
    if len(uploads) != 1:
        return several(len(uploads))
    structure = uploads[0].structure
    if structure is None or uploads[0].limitation:
        return uploads[0].error or uploads[0].limitation or "its CIF holds no crystal"
    return {"material_id": identifier, **columns_of(structure, formula_of(structure.composition))}


def _check_rows(name: str, count: int) -> None:
    if count > MAX_ROWS:
        raise RequestError(f"{name} has {count:,} rows; at most {MAX_ROWS:,} are read here.")
