"""Bytes of a text file → text: byte order marks, UTF-16, and the one-byte encodings of older programs."""

from __future__ import annotations

import codecs
import re

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LOOKED_AT = 4000  # bytes that decide the encoding where no byte order mark does

_ASCII = str.maketrans(
    {**dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)), **dict(zip("−–‐‑’‘“”", "----''\"\"", strict=True))}
    | dict.fromkeys("\u00a0\u2007\u202f", " ")
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff")
)
_FENCE = re.compile(r"^[ ]{0,3}(?:```|~~~)[^`\n]*$\n?", re.MULTILINE)
_DATA = re.compile(r"^\s*data_", re.IGNORECASE | re.MULTILINE)
_OVERBAR = re.compile(r"(\d)\s?[\u0304\u0305\u00af]|[\u0304\u0305\u00af]\s*(\d)")


def in_ascii(text: str) -> str:
    """The text with ASCII in place of dashes, curly quotes, subscripts, odd blanks and overbars.

    >>> in_ascii("Fm3\u0305m, P2₁/c, −½")
    'Fm-3m, P21/c, -½'
    """
    return _OVERBAR.sub(lambda match: f"-{match[1] or match[2]}", text).translate(_ASCII)


def text_of(content: bytes) -> str:
    """The text, without a byte order mark and with plain ends of lines; never an error.

    Every second byte is zero in UTF-16 without a mark. What is no UTF-8 is read as Latin-1, in which every
    byte is a character: numbers, symbols and tags are the same in all of these.
    """
    return with_plain_line_ends(_decoded(content))


def with_plain_line_ends(text: str) -> str:
    """The text without a byte order mark, with line feeds at line ends, and without the ends of DOS files."""
    # Ctrl+Z ended files of CP/M and DOS; zeros fill the last block of some copies
    return text.removeprefix("\ufeff").rstrip("\0\x1a").replace("\r\n", "\n").replace("\r", "\n")


def without_fences(text: str) -> str:
    """The code of a Markdown text whose code blocks are fenced (```cif); any other text as it is.

    Of several blocks all are kept where each is a CIF; otherwise the text stays as it is.
    """
    first = _FENCE.search(text)
    if first is None or _DATA.search(text, 0, first.start()):
        return text
    codes = _FENCE.split(text)[1::2]
    return "\n".join(codes) if len(codes) == 1 or all(map(_DATA.search, codes)) else text


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, errors="replace")
    start = content[:LOOKED_AT]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros, others = start[first::2], start[1 - first :: 2]
        if len(start) > 8 and zeros.count(0) > 0.9 * len(zeros) and not others.count(0):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")
