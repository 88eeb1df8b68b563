"""Mutated and hostile structure files through the reader of uploads: it must read them, refuse them, and never change them silently.

A file that still states its formula and Z is read with those contents, or with a note, or refused. Files are mutated in
ways that change nothing (ends of lines, encodings, comments, capital tags) and in ways that damage them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crystal_core.errors import StructureParseError
from crystal_core.files.encoding import text_of
from crystal_core.files.reader_process import ParserProcess, ReaderFailed
from crystal_core.files.writers import structure_to_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

SECONDS = 10.0
MOST_KEPT = 50  # examples of what went wrong
PIECES = (
    *("", "\0", "nan", "1e999", "-1", "9" * 300, "\n", "\r", "loop_\n", "data_x\n", "x,y,z", "'", '"', ";"),
    *("{", "]", "null", "Xx", "Og", "0.5", "</script>", "é…\u202e", "#", "?", ".", "0", "-x,-y,z", "save_"),
)

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
    on_step: Callable[[int], None] | None = None,
) -> FuzzReport:
    """Send ``n`` mutated files to the reader's child process.

    Args:
        corpus: name → text of the files that are mutated; None for crystals of our own in every format.
        on_step: told how many are done, after each.
    """
    rng, report = random.Random(seed), FuzzReport()  # noqa: S311 (not for secrets)
    texts = dict(corpus) if corpus else own_corpus()
    parser = ParserProcess(seconds=SECONDS)
    try:
        contents = {name: _contents(parser, text) for name, text in texts.items()}
        for k in range(n):
            name = rng.choice(sorted(texts))
            kind = rng.choice(sorted(MUTATIONS))
            mutated = MUTATIONS[kind](texts[name], rng)
            text = text_of(mutated) if isinstance(mutated, bytes) else mutated
            _try(parser, report, f"{name}, {kind}, number {k}", text, texts[name], contents[name])
            if on_step:
                on_step(k + 1)
    finally:
        parser.close()
    return report


def _try(
    parser: ParserProcess, report: FuzzReport, name: str, text: str, original: str, expected: dict[int, float]
) -> None:
    report.tried += 1
    try:
        crystals = parser.ask(text)["crystals"]
    except ReaderFailed as error:
        kind = "hung" if "longer" in str(error) else "crashed"
        setattr(report, kind, getattr(report, kind) + 1)
        _keep(report, name, kind, str(error), text)
        return
    except StructureParseError as error:
        report.refused += 1
        if "\n" in str(error) or "Traceback" in str(error):
            report.crashed += 1
            _keep(report, name, "no sentence", str(error), text)
        return
    good = [one for one in crystals if "error" not in one]
    report.read += bool(good)
    report.refused += not good
    if expected and good and _still_says(text, original):
        for one in good:
            if not one["notes"] and not one["limitation"] and _counts(one) != expected:
                report.changed_silently += 1
                _keep(report, name, "changed silently", str(_counts(one)), text)
                break


def _keep(report: FuzzReport, name: str, kind: str, what: str, text: str) -> None:
    if len(report.examples) < MOST_KEPT:
        report.examples.append({"name": name, "kind": kind, "what": what[:300], "text": text[:5000]})


def _contents(parser: ParserProcess, text: str) -> dict[int, float]:
    """Atomic number → atoms of the unchanged file; empty where it is not one ordered crystal that states its formula."""
    try:
        crystals = parser.ask(text)["crystals"]
    except StructureParseError:
        return {}
    whole = len(crystals) == 1 and "error" not in crystals[0] and not crystals[0]["limitation"]
    return _counts(crystals[0]) if whole and not crystals[0]["notes"] else {}


def _counts(crystal: Mapping[str, Any]) -> dict[int, float]:
    numbers = crystal["atomic_numbers"]
    return {z: float(numbers.count(z)) for z in sorted(set(numbers))}


def _still_says(text: str, original: str) -> bool:
    """Whether the file still states the content of the whole cell, so that a change is detectable."""
    stated = [
        line for line in original.splitlines() if line.startswith(("_chemical_formula_sum", "_cell_formula"))
    ]
    lowered = text.lower()
    return (
        len(stated) == 2 and all(line.lower() in lowered for line in stated) and lowered.count("data_") == 1
    )


def own_corpus() -> dict[str, str]:
    """Crystals of several systems in every format that is read."""
    texts: dict[str, str] = {}
    for structure in _crystals():
        name = structure.composition.reduced_formula
        for fmt in ("cif", "cif-symmetrised", "poscar", "extxyz", "json"):
            texts[f"{name}.{fmt}"] = structure_to_text(structure, fmt)
    return texts


def _crystals() -> Iterator[Structure]:
    from pymatgen.core import Lattice, Structure

    rutile, spinel = Lattice.tetragonal(4.6, 2.96), Lattice.cubic(8.08)
    yield Structure.from_spacegroup("P4_2/mnm", rutile, ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]])
    yield Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    yield Structure.from_spacegroup(
        "P2_1/c",
        Lattice.monoclinic(5.15, 5.21, 5.32, 99.2),
        ["Zr", "O", "O"],
        [[0.2754, 0.0395, 0.2083], [0.07, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]],
    )
    yield Structure.from_spacegroup(
        "Fd-3m", spinel, ["Mg", "Al", "O"], [[0, 0, 0], [0.625, 0.625, 0.625], [0.3876, 0.3876, 0.3876]]
    )
    yield Structure.from_spacegroup(
        "R-3c", Lattice.hexagonal(4.99, 17.06), ["Ca", "C", "O"], [[0, 0, 0], [0, 0, 0.25], [0.257, 0, 0.25]]
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


MUTATIONS: dict[str, Mutation] = {
    "pieces spliced in": _spliced,
    "cut off": lambda text, rng: text[: rng.randint(0, len(text))],
    "a line lost": _lost_line,
    "a line twice": lambda text, rng: _rows(text, rng, lambda lines, k: lines.insert(k, lines[k])),
    "a word lost": _lost_word,
    "another word": _other_word,
    "capital tags": _capital_tags,
    "a comment": _commented,
    "Mac line ends": lambda text, _: text.replace("\n", "\r").encode(),
    "Windows line ends": lambda text, _: text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text, _: text.encode("utf-16"),
    "a byte order mark": lambda text, _: b"\xef\xbb\xbf" + text.encode(),
    "twice": lambda text, _: text + text,
    "bytes": lambda text, rng: bytes(
        rng.randrange(256) if rng.random() < 0.02 else ord(ch) % 256 for ch in text
    ),
}
