"""Foreign text inside Streamlit's Markdown: what a file, a link or a formula says is shown as it stands."""

from __future__ import annotations

import re

MARKS = re.compile(
    r"([!-/:-@\[-`{-~])"
)  # ASCII punctuation: each may be escaped in CommonMark, and none then means anything


def plain(text: object) -> str:
    """``text`` as Markdown that shows exactly these characters: no picture, no link, no formatting, no line of its own."""
    return MARKS.sub(r"\\\1", " ".join(str(text).split()))
