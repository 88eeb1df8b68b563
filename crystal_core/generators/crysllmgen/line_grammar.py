"""A grammar for the published lines: tokenizer pieces that lead to no crystal get probability zero.

It keeps the form, cells that exist, the atoms that the conditions name and their distances, letter by
letter. On request a text ends only where its charges balance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from crystal_core.chemistry.alternatives import still_needed
from crystal_core.evaluation.validity import is_balanced
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.crystal_text import COORDS
from crystal_core.generators.crysllmgen.decoding import (
    MAX_ANGLE,
    MIN_ANGLE,
    MIN_DISTANCE,
    MIN_TENTHS,
    gamma_bounds,
    onward,
    squared_distances,
)
from crystal_core.generators.crysllmgen.tokenizer import MAX_TENTHS

if TYPE_CHECKING:
    from torch import Tensor

    from crystal_core.generators.crysllmgen.backends.protocol import Wanted

LENGTHS, ANGLES, ELEMENT, COORDINATES = range(4)  # kinds of line
NEXT = {LENGTHS: ANGLES, ANGLES: ELEMENT, ELEMENT: COORDINATES, COORDINATES: ELEMENT}
PIECE = re.compile(r"[0-9. ]+\n?|[A-Z]?[a-z]?\n?")  # characters of a crystal text; the line end is the last
NAMES = {" ": "a blank", "\n": "the end of a line"}
MOST_MASKS = 2000  # kept; one of a large vocabulary takes 50 kB
LENGTH_WORDS = frozenset(f"{tenths / 10:.1f}" for tenths in range(MIN_TENTHS, MAX_TENTHS + 1))
ANGLE_WORDS = frozenset(map(str, range(MIN_ANGLE, MAX_ANGLE + 1)))
COORD_WORDS = frozenset(COORDS)


@dataclass(frozen=True)
class _Place:
    """State of a text: kind of line, its complete words, the unfinished word, allowed continuations.

    Attributes:
        words: only of angles, where the third depends on the first two; elsewhere as many empty ones.
        symbols: elements that this atom may have, or third coordinates that keep it away from others; none
            in other places.
        more: whether another atom may follow.
    """

    kind: int
    words: tuple[str, ...]
    begun: str
    symbols: frozenset[str]
    more: bool

    @property
    def is_whole(self) -> bool:
        """Whether the line may end here."""
        whole = 0 if self.kind == ELEMENT else 2
        return len(self.words) == whole and self.begun in _words(self)

    def after(self, character: str) -> _Place | None:
        """The place one character on; None where it may not follow."""
        if character == "\n":
            if not self.is_whole or (self.kind == COORDINATES and not self.more):
                return None
            return _Place(NEXT[self.kind], (), "", frozenset(), self.more)
        if character == " ":
            if self.kind == ELEMENT or len(self.words) == 2 or self.begun not in _words(self):
                return None
            word = self.begun if self.kind == ANGLES else ""
            return _Place(self.kind, (*self.words, word), "", self.symbols, self.more)
        begun = self.begun + character
        if begun not in _beginnings(_words(self)):
            return None
        return _Place(self.kind, self.words, begun, self.symbols, self.more)


def _words(place: _Place) -> frozenset[str]:
    """Possible completions of the word in progress."""
    if place.kind == LENGTHS:
        return LENGTH_WORDS
    if place.kind == ANGLES:
        return _gamma_words(*place.words) if len(place.words) == 2 else ANGLE_WORDS
    if place.kind == COORDINATES:
        return (place.symbols if len(place.words) == 2 else None) or COORD_WORDS
    return place.symbols


@lru_cache(maxsize=4096)
def _gamma_words(alpha: str, beta: str) -> frozenset[str]:
    low, high = gamma_bounds()[int(alpha), int(beta)].tolist()
    return frozenset(map(str, range(low, high + 1)))


@lru_cache(maxsize=1024)
def _beginnings(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word[:n] for word in words for n in range(1, len(word) + 1))


class Pieces:
    """The pieces of a tokenizer that a text of crystals can hold, by id."""

    def __init__(self, tokens: Iterable[str], end: int) -> None:
        """Take the tokens as the tokenizer spells them, with its signs for blank and line end."""
        self.end = end
        spelled = [
            token.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n").replace("<0x0A>", "\n")
            for token in tokens
        ]
        self.size = len(spelled)
        self.texts = {i: text for i, text in enumerate(spelled) if text and PIECE.fullmatch(text)}
        self._masks: dict[_Place, Tensor] = {}

    def lacking(self) -> list[str]:
        """Characters and symbols of a crystal's text that no pieces spell."""
        texts = set(self.texts.values())
        missing = [character for character in "0123456789. \n" if character not in texts]
        spelled = [symbol in texts or set(symbol) <= texts for symbol in vocabulary.SYMBOLS]
        symbols = [
            symbol for symbol, is_spelled in zip(vocabulary.SYMBOLS, spelled, strict=True) if not is_spelled
        ]
        return [NAMES.get(character, character) for character in missing] + symbols

    def after(self, place: _Place) -> Tensor:
        """(pieces,) which may follow; the end is not among them."""
        if place not in self._masks:
            if len(self._masks) >= MOST_MASKS:
                self._masks.clear()
            mask = torch.zeros(self.size, dtype=torch.bool)
            mask[[i for i, text in self.texts.items() if _walk(place, text) is not None]] = True
            mask[self.end] = False
            self._masks[place] = mask
        return self._masks[place]


def _walk(place: _Place | None, text: str) -> _Place | None:
    for character in text:
        if place is None:
            return None
        place = place.after(character)
    return place


class _Row:
    """One text that is being written."""

    def __init__(self, wanted: Wanted) -> None:
        conditions = wanted.conditions
        self.most = wanted.largest
        self.least = conditions.n_atoms or wanted.least
        self.composition = Counter({_symbol(z): n for z, n in conditions.composition.items()})
        self.required = frozenset(conditions.elements or conditions.contain)
        self.lists = tuple(frozenset(some) & frozenset(wanted.elements) for some in conditions.any_of)
        self.allowed = frozenset(map(_symbol, conditions.elements or wanted.elements))
        self.is_first = bool(conditions.contain or conditions.any_of)  # before other elements
        self.last = ""  # element of the last atom
        self.wished_end = 0.0  # probability of an end that was not allowed
        self.balances = wanted.charge_balance
        self.atoms: Counter[str] = Counter()
        self.line, self.lines = "", 0
        self.numbers: list[list[str]] = []  # of the lines before: lengths, angles, then places of atoms
        self.ended = False

    def add(self, text: str) -> None:
        first, *rest = text.split("\n")
        self.line += first
        for following in rest:
            if self.lines >= 2 and self.lines % 2 == 0:
                self.atoms[self.line] += 1
                self.last = self.line
            else:
                self.numbers.append(self.line.split(" "))
            self.line, self.lines = following, self.lines + 1

    @property
    def place(self) -> _Place:
        kind = self.lines if self.lines < 2 else (ELEMENT if self.lines % 2 == 0 else COORDINATES)
        *words, begun = self.line.split(" ")
        finished_words = tuple(words) if kind == ANGLES else ("",) * len(words)
        more = self.atoms.total() < self.most and bool(self._open)
        symbols = self._open if kind == ELEMENT else frozenset()
        if kind == COORDINATES and len(words) == 2:
            thirds = _free_thirds(tuple(map(tuple, self.numbers)), tuple(words))
            # a piece that reaches over several numbers may have begun one that is not free
            symbols = thirds if begun in _beginnings(thirds) or not begun else symbols
        return _Place(kind, finished_words, begun, symbols, more)

    @property
    def _open(self) -> frozenset[str]:
        if self.composition:
            return frozenset(s for s, n in self.composition.items() if self.atoms[s] < n)
        n, useful = self._needed
        urgent = n >= self.most - self.atoms.total()
        needed = frozenset(map(_symbol, useful))
        if n and (urgent or (self.is_first and not self.atoms)):
            return needed
        return needed | {self.last} if n and self.is_first else self.allowed

    @property
    def needed_first(self) -> frozenset[str]:
        """Elements of which one has to follow the last one; none where any may follow, or only these."""
        needed = self.place.symbols - {self.last}
        return needed if self.is_first and self.atoms and self._needed[0] and not self.line else frozenset()

    @property
    def _needed(self) -> tuple[int, frozenset[int]]:
        """The fewest further elements that it must hold, and those that bring this number down."""
        held = frozenset(vocabulary.ATOMIC_NUMBERS[symbol] for symbol in self.atoms)
        return still_needed(self.lists, held, self.required - held)

    @property
    def is_barred(self) -> bool:
        """Whether the text could end here but for its charges; with the most atoms it ends in any case."""
        place = self.place
        could_end = place.kind == COORDINATES and place.is_whole and self._is_complete
        return self.balances and could_end and place.more and not is_balanced(self.atoms)

    @property
    def may_end(self) -> bool:
        return self._is_complete and not self.is_barred

    @property
    def _is_complete(self) -> bool:
        if self.composition:
            return self.atoms == self.composition
        return self.atoms.total() >= self.least and not self._needed[0]


@lru_cache(maxsize=1024)
def _free_thirds(numbers: tuple[tuple[str, ...], ...], begun: tuple[str, ...]) -> frozenset[str]:
    """Third coordinates that keep an atom away from the earlier ones; the farthest ones where none does.

    Args:
        numbers: lengths, angles, and coordinates of the earlier atoms. begun: its first two coordinates.
    """
    cell, earlier = numbers[:2], numbers[2:]
    if not earlier:
        return COORD_WORDS
    digits = "".join(word.replace(".", "").zfill(3) for line in cell for word in line)
    # the first of an atom's seven digits stands for its element, which no distance depends on
    digits += "".join("0" + "".join(word[2:] for word in place) for place in (*earlier, begun))
    body = vocabulary.DIGIT + torch.tensor([list(map(int, digits))])
    distances = squared_distances(body, len(earlier))[0]
    free = distances >= MIN_DISTANCE**2
    if not bool(free.any()):
        free = distances == distances.max()
    if bool(free.all()):
        return COORD_WORDS
    return frozenset(word for word, is_free in zip(COORDS, free.tolist(), strict=True) if is_free)


class LineGrammar:
    """A logits processor of transformers for texts of crystals; see :class:`~.token_stream.Constraint`.

    Args:
        prompt_length: tokens before the text, padding included.
    """

    def __init__(self, prompt_length: int, wanted: Sequence[Wanted], pieces: Pieces) -> None:
        self.pieces = pieces
        self._read = prompt_length
        self._rows = [_Row(one) for one in wanted]
        self.removed_mass = self.charge_mass = self.tokens = 0.0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, minus infinity where the grammar forbids; adds up the probability that this removes."""
        for place in range(self._read, input_ids.shape[1]):
            for row, token in zip(self._rows, input_ids[:, place].tolist(), strict=True):
                row.ended |= token == self.pieces.end
                if not row.ended:
                    row.add(self.pieces.texts[token])
        self._read = input_ids.shape[1]
        allowed = torch.stack([self._allowed(row) for row in self._rows]).to(scores.device)
        wide = scores[:, : allowed.shape[1]]  # an embedding may have more rows than there are words
        chances = torch.softmax(scores.float(), -1)
        removed = chances.sum(-1) - torch.where(allowed, chances[:, : allowed.shape[1]], 0.0).sum(-1)
        running = torch.tensor([not row.ended for row in self._rows], device=scores.device)
        self.removed_mass += float(removed[running].sum())
        self.tokens += float(running.sum())
        barred = [i for i, row in enumerate(self._rows) if not row.ended and row.is_barred]
        self.charge_mass += float(chances[barred, self.pieces.end].sum())
        limited = torch.full_like(scores, -torch.inf)
        limited[:, : allowed.shape[1]] = wide.masked_fill(~allowed, -torch.inf)
        for i, row in enumerate(self._rows):
            if row.is_first and not row.ended:
                self._lead_on(row, allowed[i], scores[i], limited[i])
        return limited

    def _lead_on(self, row: _Row, allowed: Tensor, scores: Tensor, limited: Tensor) -> None:
        """Change the scores of a text that still needs elements as :func:`~.decoding.onward`."""
        place = row.place
        if place.kind == COORDINATES and place.is_whole:
            row.wished_end = float(torch.softmax(scores.float(), -1)[self.pieces.end])
        elif place.kind == ELEMENT and (needed := row.needed_first) and row.last in place.symbols:
            words = self.pieces.after(replace(place, symbols=needed)).to(allowed.device)
            same, wanted = (torch.nonzero(some).flatten() for some in (allowed & ~words, words))
            if len(same) and len(wanted):
                limited.copy_(onward(scores, limited, same, wanted, row.wished_end))

    def keep(self, rows: Tensor) -> None:
        """Go on with these texts alone."""
        self._rows = [self._rows[i] for i in rows.tolist()]

    @property
    def mean_removed_mass(self) -> float:
        """Probability that the grammar took from a token, on average."""
        return self.removed_mass / max(1.0, self.tokens)

    @property
    def mean_charge_mass(self) -> float:
        """The part of :attr:`mean_removed_mass` that charge balance alone took."""
        return self.charge_mass / max(1.0, self.tokens)

    def _allowed(self, row: _Row) -> Tensor:
        if row.ended:
            mask = torch.zeros(self.pieces.size, dtype=torch.bool)
            mask[self.pieces.end] = True
            return mask
        place = row.place
        mask = self.pieces.after(place)
        if place.kind == COORDINATES and place.is_whole and row.may_end:
            mask = mask.clone()
            mask[self.pieces.end] = True
        return mask


def _symbol(z: int) -> str:
    return vocabulary.SYMBOLS[z - 1]
