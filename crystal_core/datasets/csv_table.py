"""CSV as people and spreadsheets write it: any encoding, commas, semicolons or tabs between the columns."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError
from crystal_core.files.encoding import text_of
from crystal_core.structures import printable

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

SEPARATORS = ",;\t"
DECIMAL_COMMA, DECIMAL_POINT = r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?", r"[-+]?\d+\.\d+(?:[eE][-+]?\d+)?"


def is_csv(path: Path) -> bool:
    """Whether a file's name says that it is CSV."""
    return path.suffix.lower() in (".csv", ".tsv")


def csv_table(name: str, content: bytes) -> pd.DataFrame:
    """The table; a column of CIFs is called ``cif`` in whatever case the file writes that name.

    A comma in the numbers of a column is the decimal sign where another one parts the columns.

    Raises:
        RequestError: it cannot be read.
    """
    import pandas as pd

    text = text_of(content)
    header = text.partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, low_memory=False)
    except Exception as error:
        why = printable(str(error)).strip() or type(error).__name__
        raise RequestError(f"{name} cannot be read as CSV ({why.removesuffix('.')}).") from error
    if "cif" not in table.columns:
        table = table.rename(columns={c: "cif" for c in table.columns if str(c).strip().lower() == "cif"})
    if separator != ",":
        table = table.apply(_with_points)
    return table.reset_index(drop=True)


def _with_points(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column with points in place of decimal commas; others, and mixed ones, unchanged."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column
    texts = column.dropna().astype(str).str.strip()
    with_comma = texts.str.fullmatch(DECIMAL_COMMA)
    if not with_comma.any() or texts.str.fullmatch(DECIMAL_POINT).any():
        return column
    changed = column.copy()
    changed.loc[texts.index[with_comma]] = texts[with_comma].str.replace(",", ".")
    numbers = pd.to_numeric(changed, errors="coerce")
    return numbers if numbers.notna().sum() == column.notna().sum() else changed


def check_has_cifs(name: str, table: pd.DataFrame) -> None:
    """Raise RequestError unless one column is called ``cif``."""
    if list(table.columns).count("cif") != 1:
        raise RequestError(
            f"{name} has no column 'cif': give that name to the column with the texts of the CIFs."
        )
