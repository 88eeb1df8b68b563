"""Markdown of tables: rows with the same columns, a caption above, the commands folded away below."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

EMPTY = "–"


def table(rows: Sequence[Mapping[str, str | None]]) -> str:
    """A pipe table; columns in the order of their first appearance, a dash where a row has no entry.

    >>> print(table([{"model": "a", "match": "1 %"}, {"model": "b"}]))
    | model | match |
    |---|---|
    | a | 1 % |
    | b | – |
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row.get(key) or EMPTY for key in columns) + " |" for row in rows]
    return "\n".join(lines)


def block(caption: str, rows: Sequence[Mapping[str, str | None]], commands: Iterable[str] = ()) -> str:
    """A table with its caption, and the commands that measured it."""
    distinct = list(dict.fromkeys(command for command in commands if command))
    folded = "\n".join(
        [
            "<details><summary>Commands</summary>",
            "",
            *(f"    {command}" for command in distinct),
            "",
            "</details>",
        ]
    )
    return "\n\n".join([caption, table(rows), *([folded] if distinct else [])])


def seeds_of(metrics: Iterable[Mapping[str, Any]]) -> str:
    """How many seeds stand behind each number, in words.

    >>> seeds_of([{"protocol": "100 rows of val, seed 0"}]), seeds_of([{"seeds": 3}])
    ('one seed', '3 seeds')
    """
    counts = {metric.get("seeds") or len(set(_seeds(metric))) for metric in metrics} - {0}
    if not counts or counts == {1}:
        return "one seed"
    return f"{min(counts)} seeds" if len(counts) == 1 else f"{min(counts)} to {max(counts)} seeds"


def _seeds(metric: Mapping[str, Any]) -> list[str]:
    return re.findall(r"(?<!subset, )seed (\d+)", metric.get("protocol", "")) or re.findall(
        r"--seed (\d+)", metric.get("command", "")
    )
