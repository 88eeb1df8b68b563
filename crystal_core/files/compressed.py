"""Content of files packed with gzip, bzip2 or xz, within a limit."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from crystal_core.errors import StructureParseError

MEMORY = 100_000_000  # bytes that xz may use for its dictionary
PACKERS: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", "gzip", lambda: zlib.decompressobj(wbits=31)),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", "xz", lambda: lzma.LZMADecompressor(memlimit=MEMORY)),
)


def unpacked(content: bytes, most: int) -> bytes:
    """The content of a packed file, at most ``most + 1`` bytes of it; what is not packed as it is.

    Raises:
        StructureParseError: it is damaged, or packed in a way that takes too much memory.
    """
    for mark, name, start in PACKERS:
        if not content.startswith(mark):
            continue
        try:
            packer = start()
            data = packer.decompress(content, most + 1)
        except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
            raise StructureParseError(
                f"The {name} file is damaged. Pack it again, or give it unpacked."
            ) from error
        if not packer.eof and len(data) <= most:
            raise StructureParseError(f"The {name} file breaks off. Pack it again, or give it unpacked.")
        return bytes(data)
    return content
