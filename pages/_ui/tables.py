"""Tables of results without empty columns and without the word None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st


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


def show_table(rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """``st.dataframe`` of the rows as far as they are filled, a dash where something is missing."""
    return st.dataframe(filled(rows), hide_index=True, width="stretch", placeholder="–", **options)
