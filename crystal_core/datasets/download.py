"""Public data sets by name, from the repositories that published them, with checksums.

The publishers state no checksums. The SHA-256 of the first download is therefore recorded in
``checksums.json`` beside the files, and every later download must have the same: this guards against change
and damage, not against a first download that was already wrong.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import json
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from crystal_core.cards import sha256_of
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.whole_files import write_whole

CDVAE = "https://raw.githubusercontent.com/txie-93/cdvae/main/data"
DIFFCSP = "https://raw.githubusercontent.com/jiaor17/DiffCSP/main/data"
SOURCES = {"mp_20": CDVAE, "perov_5": CDVAE, "carbon_24": CDVAE, "mpts_52": DIFFCSP}
SPLITS = ("train", "val", "test")
ProgressCallback = Callable[[str, int, int | None], None]
TIMEOUT = 30.0  # seconds without an answer
CHUNK = 1 << 20


class Answer(Protocol):
    """A server's answer, readable in blocks; ``headers`` over HTTP."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class DownloadFailed(CrystalCoreError):
    """A file could not be fetched, or is not the one fetched before."""

    exit_code = 3


@dataclass(frozen=True, kw_only=True)
class FetchedFile:
    """One file on disk; ``verified`` means that its hash was known before and agrees."""

    path: Path
    sha256: str
    verified: bool


def download(
    name: str,
    folder: Path,
    *,
    open_url: Callable[[str], Answer] | None = None,
    on_progress: ProgressCallback | None = None,
) -> list[FetchedFile]:
    """Fetch the three CSV files of a data set into ``folder/name``.

    After an interruption, files that are there whole are not fetched again.

    Args:
        name: mp_20, perov_5, carbon_24 or mpts_52.
        open_url: opens a URL for reading; replaced in tests.
        on_progress: told the file, its bytes so far and, where the server says so, all its bytes.

    Raises:
        RequestError: no such data set.
        DownloadFailed: no connection, or a file that differs from the recorded one.
    """
    if name not in SOURCES:
        raise RequestError(
            f"There is no public data set '{name}' here; known are {', '.join(sorted(SOURCES))}."
        )
    target = folder / name
    ledger = target / "checksums.json"
    known = json.loads(ledger.read_text(encoding="utf-8")) if ledger.is_file() else {}
    fetched = []
    is_first = len(known) < len(SPLITS)  # an earlier one was interrupted, or there was none
    for split in SPLITS:
        path = target / f"{split}.csv"
        if is_first and path.is_file() and sha256_of(path) == known.get(path.name):
            fetched.append(FetchedFile(path=path, sha256=known[path.name], verified=False))
            continue
        digest = _fetch(
            f"{SOURCES[name]}/{name}/{split}.csv", path, known.get(path.name), open_url or _open, on_progress
        )
        fetched.append(FetchedFile(path=path, sha256=digest, verified=path.name in known))
        write_whole(ledger, json.dumps(known | {f.path.name: f.sha256 for f in fetched}, indent=1))
    return fetched


def count_rows(path: Path) -> int:
    """Rows of a CSV file, its header apart; a CIF inside a row has line breaks of its own."""
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8", errors="replace", newline="") as handle:
        return max(0, sum(1 for _ in csv.reader(handle)) - 1)


def _open(url: str) -> Answer:
    return urllib.request.urlopen(url, timeout=TIMEOUT)


def _fetch(
    url: str,
    path: Path,
    expected: str | None,
    open_url: Callable[[str], Answer],
    on_progress: ProgressCallback | None,
) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    hasher, size = hashlib.sha256(), 0
    try:
        with closing(open_url(url)) as source, partial.open("wb") as sink:
            length = _length(source)
            while block := source.read(CHUNK):
                hasher.update(block)
                sink.write(block)
                size += len(block)
                if on_progress:
                    on_progress(path.name, size, length)
        # a connection that closes early ends the file without an error
        if length is not None and size != length:
            raise DownloadFailed(f"{url} ended after {size} of {length} bytes. Try again.")
        digest = hasher.hexdigest()
        if expected is not None and digest != expected:
            raise DownloadFailed(
                f"{path.name} is not the file fetched before (SHA-256 {digest[:12]}… instead of "
                f"{expected[:12]}…); the old one is kept. Delete checksums.json to accept the new one."
            )
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadFailed(
            f"{url} could not be fetched ({reason}). This needs an internet connection."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return digest


def _length(source: Answer) -> int | None:
    headers = getattr(source, "headers", None)
    text = headers.get("Content-Length") if headers is not None else None
    return int(text) if text and text.isdigit() else None
