"""Tables of results: no empty columns, no word None, numbers of a column with equally many decimals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from math import isfinite
from string import ascii_lowercase
from typing import Any

import pandas as pd
import streamlit as st

from crystal_core.properties import fixed

MISSING = "–"
MOST_DECIMALS = 4
MOST_ROWS = 16  # a longer table scrolls by itself


def filled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with equal columns, in order of first occurrence, without empty columns; None if missing.

    >>> filled([{"a": 1, "b": None, "c": ""}, {"a": 2, "c": "yes"}])
    [{'a': 1, 'c': None}, {'a': 2, 'c': 'yes'}]
    """
    columns = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if any(row.get(name) not in (None, "") for row in rows)
    ]
    return [{name: None if row.get(name) == "" else row.get(name) for name in columns} for row in rows]


def lettered(
    rows: Sequence[Mapping[str, Any]], name: str, columns: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with a letter in place of texts too long for a cell, and the texts, each with its letter.

    Args:
        name: of the column of letters. columns: those that the letter stands for.

    >>> lettered([{"n": 1, "on": "test rows"}, {"n": 2, "on": None}], "as", ["on"])
    ([{'n': 1, 'as': 'a'}, {'n': 2, 'as': None}], ['a: test rows'])
    """
    texts: dict[str, str] = {}
    short = []
    for row in rows:
        text = ": ".join(str(row[column]) for column in columns if row.get(column))
        if text:
            texts.setdefault(text, _letter(len(texts)))
        kept = {key: value for key, value in row.items() if key not in columns}
        short.append(kept | {name: texts.get(text)})
    return short, [f"{letter}: {text}" for text, letter in texts.items()]


def _letter(place: int) -> str:
    """One name for each place: a to z, then aa, ab, and so on.

    >>> _letter(0), _letter(25), _letter(26), _letter(53)
    ('a', 'z', 'aa', 'bb')
    """
    before, own = divmod(place, len(ascii_lowercase))
    return (_letter(before - 1) if before else "") + ascii_lowercase[own]


def show_table(
    rows: Sequence[Mapping[str, Any]], *, decimals: Mapping[str, int] | None = None, **options: Any
) -> Any:
    """``st.dataframe`` of the rows as far as they are filled, a dash where something is missing.

    Args:
        decimals: of the columns that do not show as many as their numbers have.
    """
    table = with_decimals(pd.DataFrame(filled(rows)), decimals or {})
    # by itself a table shows ten rows and cuts the next one in half
    options.setdefault("height", "content" if len(rows) <= MOST_ROWS else "auto")
    return st.dataframe(table, hide_index=True, width="stretch", placeholder=MISSING, **options)


def with_decimals(table: pd.DataFrame, decimals: Mapping[str, int]) -> Any:
    """The table with its numbers as people read them; they sort as numbers.

    >>> with_decimals(pd.DataFrame({"eV": [-6.25, 0.125, None]}), {}).to_string().split()
    ['eV', '0', '−6.250', '1', '0.125', '2', '–']
    """
    written = {
        name: partial(fixed, decimals=decimals.get(name, _decimals(column)))
        for name, column in table.select_dtypes("floating").items()
    }
    return table.style.format(written, na_rep=MISSING) if written else table


def _decimals(numbers: pd.Series) -> int:
    """As many as the number with the most has, within reason."""
    behind = (Decimal(repr(x)).normalize().as_tuple().exponent for x in numbers.tolist() if isfinite(x))
    return min(MOST_DECIMALS, max((-int(n) for n in behind), default=0))
