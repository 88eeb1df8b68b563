"""Mutated and hostile files for the reader of uploads: it reads, notes or refuses, never alters.

Files are mutated in ways that change nothing (ends of lines, encodings, comments, packing), which must give
the same crystals, and in ways that damage them. What a file states of itself (formula and Z of a CIF, the
number of atoms of other formats) is then read with these contents, or with a note, or refused.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crystal_core.files.uploads import PARSER, ParsedUpload, parse_uploads
from crystal_core.workflows.fuzz_corpus import own_corpus

MOST_KEPT = 50  # examples of what went wrong
PIECES = (
    *("", "\0", "nan", "1e999", "-1", "9" * 300, "\n", "\r", "loop_\n", "data_x\n", "x,y,z", "'", '"', ";"),
    *("{", "]", "null", "Xx", "Og", "0.5", "</script>", "é…\u202e", "#", "?", ".", "0", "-x,-y,z", "save_"),
    *(
        "END\n",
        "CRYST1",
        "MODEL\n",
        "Direct\n",
        "Lattice=",
        ":",
        "Properties=pos:R:3",
        "[[",
        "{}",
        "true",
        "=",
        "D+2",
    ),
)
COUNTED = (".poscar", ".extxyz", ".xdatcar")  # formats in which each row and each of its numbers is announced

Mutation = Callable[[str, random.Random], str | bytes]


@dataclass
class FuzzReport:
    """Numbers of files by outcome, with examples of the failures."""

    tried: int = 0
    read: int = 0
    refused: int = 0
    crashed: int = 0
    hung: int = 0
    changed_silently: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether no file crashed the reader, hung it, or was changed silently."""
        return not (self.crashed or self.hung or self.changed_silently)


def fuzz_files(
    n: int,
    *,
    seed: int = 0,
    corpus: Mapping[str, str] | None = None,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
    report: FuzzReport | None = None,
) -> FuzzReport:
    """Upload ``n`` mutated files.

    Args:
        report: an empty one, which holds what was tried where the call is interrupted.
        corpus: name → text of the files that are mutated; None for crystals of our own in every format.
        on_progress: told what is done, how many are finished, and of how many.
    """
    rng = random.Random(seed)  # noqa: S311 (not for secrets)
    report = FuzzReport() if report is None else report
    texts = dict(corpus) if corpus else own_corpus()
    try:
        originals: dict[str, Sequence[ParsedUpload]] = {}
        for name, text in texts.items():
            on_progress("reading the corpus", len(originals), len(texts))
            originals[name] = parse_uploads([(name, text.encode())])
        for k in range(n):
            name = rng.choice(sorted(texts))
            kind = rng.choice(sorted(MUTATIONS))
            mutated = MUTATIONS[kind](texts[name], rng)
            _try(report, name, kind, k, mutated, texts[name], originals[name])
            on_progress("trying files", k + 1, n)
    finally:
        PARSER.close()
    return report


def _try(
    report: FuzzReport,
    name: str,
    kind: str,
    number: int,
    mutated: str | bytes,
    original: str,
    before: Sequence[ParsedUpload],
) -> None:
    label = f"{name}, {kind}, number {number}"
    content = mutated if isinstance(mutated, bytes) else mutated.encode("utf-8", "replace")
    try:
        uploads = parse_uploads([(name, content)])
    except Exception as error:  # noqa: BLE001 (whatever comes through would end the page)
        report.tried += 1
        report.crashed += 1
        _keep(report, label, "crashed", f"{type(error).__name__}: {error}", content)
        return
    faults = ((fault, one.error or "") for one in uploads if (fault := _fault(one)))
    fault, what = next(faults, ("", ""))
    if not fault and (what := _changed(kind, name, mutated, original, before, uploads)):
        fault = "changed_silently"
    # counted once all is known of the file: an interruption leaves none without an outcome
    report.tried += 1
    report.read += any(one.structure is not None for one in uploads)
    report.refused += all(one.structure is None for one in uploads)
    if fault:
        setattr(report, fault, getattr(report, fault) + 1)
        _keep(report, label, fault.replace("_", " "), what, content)


def _fault(one: ParsedUpload) -> str:
    """The count of the report that goes up; empty for a crystal or a refusal in one sentence."""
    error = one.error or ""
    if one.unsettled:
        return "hung" if "longer" in error else "crashed"
    return "crashed" if "\n" in error or "Traceback" in error else ""


def _changed(
    kind: str,
    name: str,
    mutated: str | bytes,
    original: str,
    before: Sequence[ParsedUpload],
    after: Sequence[ParsedUpload],
) -> str:
    """The silently changed contents that were read; empty where nothing changed."""
    if kind in HARMLESS:
        same = len(after) == len(before) and all(map(_same, after, before))
        return "" if same else "; ".join(_words(one) for one in after) or "nothing"
    silent = [one for one in after if one.structure is not None and not _remarks(one) and not one.limitation]
    if kind in LOSSES and name.endswith(COUNTED):
        other = [one for one in silent if not any(_same(one, first) for first in before)]
        return _words(other[0]) if other else ""
    expected = _counts(before[0]) if len(before) == 1 and not before[0].limitation else Counter()
    if isinstance(mutated, str) and expected and not before[0].notes and _still_says(mutated, original):
        other = [one for one in silent if _counts(one) != expected]
        return _words(other[0]) if other else ""
    return ""


def _same(one: ParsedUpload, other: ParsedUpload) -> bool:
    """Whether both are the same cell with the same atoms, or both refused."""
    if one.structure is None or other.structure is None:
        return one.structure is other.structure
    return (
        one.structure.atomic_numbers == other.structure.atomic_numbers
        and one.occupancy == other.occupancy
        and np.allclose(one.structure.lattice.matrix, other.structure.lattice.matrix)
        and np.allclose(one.structure.frac_coords, other.structure.frac_coords)
    )


def _remarks(one: ParsedUpload) -> list[str]:
    return [note for note in one.notes if not note.startswith("Frame ")]


def _counts(one: ParsedUpload) -> Counter[str]:
    return Counter(site.specie.symbol for site in one.structure or ())


def _words(one: ParsedUpload) -> str:
    if one.structure is None:
        return one.error or ""
    cell = ", ".join(f"{x:.3f}" for x in one.structure.lattice.parameters)
    return f"{one.structure.composition.formula} in {cell}"


def _keep(report: FuzzReport, name: str, kind: str, what: str, content: bytes) -> None:
    if len(report.examples) < MOST_KEPT:
        text = content[:5000].decode("utf-8", "backslashreplace")
        report.examples.append({"name": name, "kind": kind, "what": what[:300], "text": text})


def _still_says(text: str, original: str) -> bool:
    """Whether the file still states the content of the whole cell, so that a change is detectable."""
    stated = [
        line for line in original.splitlines() if line.startswith(("_chemical_formula_sum", "_cell_formula"))
    ]
    lowered = text.lower()
    return (
        len(stated) == 2 and all(line.lower() in lowered for line in stated) and lowered.count("data_") == 1
    )


def _spliced(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(PIECES) + text[at + rng.randint(0, 10) :]
    return text


def _rows(text: str, rng: random.Random, change: Callable[[list[str], int], None]) -> str:
    lines = text.split("\n")
    rows = [
        k
        for k, line in enumerate(lines)
        if line.strip() and not line.lstrip().startswith(("_", "#", "data_"))
    ]
    if rows:
        change(lines, rng.choice(rows))
    return "\n".join(lines)


def _lost_line(text: str, rng: random.Random) -> str:
    def change(lines: list[str], k: int) -> None:
        lines.pop(k)

    return _rows(text, rng, change)


def _lost_word(text: str, rng: random.Random) -> str:
    def change(lines: list[str], k: int) -> None:
        words = lines[k].split()
        words.pop(rng.randrange(len(words)))
        lines[k] = "  ".join(words)

    return _rows(text, rng, change)


def _other_word(text: str, rng: random.Random) -> str:
    def change(lines: list[str], k: int) -> None:
        words = lines[k].split()
        others = ("?", ".", "0", "1", "0.5", "-0.25", "Wat", "Du", "OH", "D", "X", "2", "'x,-y,z'", "0.3333")
        words[rng.randrange(len(words))] = rng.choice(others)
        lines[k] = "  ".join(words)

    return _rows(text, rng, change)


def _capital_tags(text: str, _: random.Random) -> str:
    return "\n".join(
        line.upper() if line.lstrip().startswith("_atom_site_") else line for line in text.split("\n")
    )


def _commented(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    k = rng.randrange(len(lines)) if lines[0].startswith(("data_", "#")) else 0
    return "\n".join([*lines[:k], "# a comment: data_none loop_ _cell_length_a 3", *lines[k:]]) if k else text


def _zipped(**files: str | bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _damaged(content: bytes, rng: random.Random) -> bytes:
    """A few bytes of a packed file changed, or its end cut off."""
    changed = bytearray(content)
    if rng.random() < 0.3:
        return bytes(changed[: rng.randrange(len(changed))])
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


_PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda content: _zipped(a=content),
    gzip.compress,
    bz2.compress,
    lzma.compress,
)
HARMLESS: dict[str, Mutation] = {
    "capital tags": _capital_tags,
    "a comment": _commented,
    "Mac line ends": lambda text, _: text.replace("\n", "\r").encode(),
    "Windows line ends": lambda text, _: text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text, _: text.encode("utf-16"),
    "a byte order mark": lambda text, _: b"\xef\xbb\xbf" + text.encode(),
    "blanks at the ends of lines": lambda text, _: text.replace("\n", "  \n"),
    "empty lines at the end": lambda text, rng: text + "\n" * rng.randint(1, 9),
    "packed": lambda text, rng: rng.choice(_PACKERS)(text.encode()),
}
LOSSES: dict[str, Mutation] = {"a line lost": _lost_line, "a word lost": _lost_word}
MUTATIONS: dict[str, Mutation] = {
    **HARMLESS,
    **LOSSES,
    "pieces spliced in": _spliced,
    "cut off": lambda text, rng: text[: rng.randint(0, len(text))],
    "a line twice": lambda text, rng: _rows(text, rng, lambda lines, k: lines.insert(k, lines[k])),
    "another word": _other_word,
    "twice": lambda text, _: text + text,
    "bytes": lambda text, rng: bytes(
        rng.randrange(256) if rng.random() < 0.02 else ord(ch) % 256 for ch in text
    ),
    "an archive in an archive": lambda text, _: _zipped(a=_zipped(b=text), c=text),
    "packed and damaged": lambda text, rng: _damaged(rng.choice(_PACKERS)(text.encode()), rng),
}
