"""Marked places in Markdown files, and how they are filled.

Three marks exist. All are HTML comments, so a reader of the rendered page sees the content alone::

    <!-- table:properties -->           a table of :data:`.tables.TABLES`, with its caption
    <!-- /table -->
    <!-- file:docs/examples/toy.py -->  a file of the repository, as a block of code
    <!-- /file -->
    <!-- figure:kldm-csp-mp/match_rate_test -->42.6 %<!-- / -->    a number of :func:`.figures.figure`
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from crystal_core.errors import RequestError
from crystal_core.paths import REPOSITORY

BLOCK = re.compile(r"<!-- (table|file):(\S+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)
FIGURE = re.compile(r"<!-- figure:(\S+) -->(.*?)<!-- / -->", re.DOTALL)
OPENED = re.compile(r"<!-- (?:table|file|figure):")
LANGUAGES = {".py": "python", ".toml": "toml"}


def documents(root: Path = REPOSITORY) -> list[Path]:
    """The files that may hold marks: README.md and every Markdown file of docs/."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def filled(text: str, table: Callable[[str], str], figure: Callable[[str], str], root: Path) -> str:
    """The text with new content in every marked place.

    Args:
        table: name → Markdown of a table.
        figure: reference → text of a number.
        root: where files are looked up.

    Raises:
        RequestError: a mark is not closed, or names a file that does not exist.
    """

    def block(match: re.Match[str]) -> str:
        kind, name = match[1], match[2]
        content = table(name) if kind == "table" else _code(root / name)
        return f"<!-- {kind}:{name} -->\n{content}\n<!-- /{kind} -->"

    opened = len(OPENED.findall(text))
    text, blocks = BLOCK.subn(block, text)
    text, figures = FIGURE.subn(lambda match: f"<!-- figure:{match[1]} -->{figure(match[1])}<!-- / -->", text)
    if blocks + figures != opened:
        raise RequestError(
            f"{opened} marks open a table, file or figure, but {blocks + figures} are closed; "
            "close each with <!-- /table -->, <!-- /file --> or <!-- / -->."
        )
    return text


def _code(path: Path) -> str:
    if not path.is_file():
        raise RequestError(f"A mark names the file {path.name}, which does not exist.")
    return f"```{LANGUAGES.get(path.suffix, '')}\n{path.read_text(encoding='utf-8').rstrip()}\n```"
