"""CSV as people and spreadsheets write it: any encoding, commas, semicolons or tabs between the columns."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from crystal_core.errors import RequestError
from crystal_core.files.encoding import text_of
from crystal_core.structures import printable

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

SEPARATORS = ",;\t"


def is_csv(path: Path) -> bool:
    """Whether a file's name says that it is CSV."""
    return path.suffix.lower() in (".csv", ".tsv")


def csv_table(name: str, content: bytes) -> pd.DataFrame:
    """The table; a column of CIFs is called ``cif`` in whatever case the file writes that name.

    Raises:
        RequestError: it cannot be read.
    """
    import pandas as pd

    text = text_of(content)
    header = text.partition("\n")[0]
    try:
        table = pd.read_csv(io.StringIO(text), sep=max(SEPARATORS, key=header.count), low_memory=False)
    except Exception as error:
        why = printable(str(error)).strip() or type(error).__name__
        raise RequestError(f"{name} cannot be read as CSV ({why.removesuffix('.')}).") from error
    if "cif" not in table.columns:
        table = table.rename(columns={c: "cif" for c in table.columns if str(c).strip().lower() == "cif"})
    return table.reset_index(drop=True)


def check_has_cifs(name: str, table: pd.DataFrame) -> None:
    """Raise RequestError unless one column is called ``cif``."""
    if list(table.columns).count("cif") != 1:
        raise RequestError(
            f"{name} has no column 'cif': give that name to the column with the texts of the CIFs."
        )
