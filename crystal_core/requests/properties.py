"""Crystals whose properties are predicted, and crystals from which a property is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crystal_core.checks import check_choice, check_number, check_whole
from crystal_core.errors import RequestError
from crystal_core.properties import PROPERTIES, property_key
from crystal_core.requests.limits import MAX_SEED, MAX_THREADS

MAX_PREDICTED = 5000  # crystals of one property prediction: they are stored with the request
MAX_LEARNED = 5000  # training crystals of a user's own property, for the same reason
MIN_LEARNED = 50  # fewer give neither a model nor an interval
MAX_LEARNED_ATOMS = 200  # of a cell
MAX_LEARNED_SAMPLES = 1_000_000
LARGEST_VALUE = 1e15  # value of a user's own property; the square of a larger one overflows float32
SPLITS = ("train", "val", "test", "")


@dataclass(frozen=True, kw_only=True)
class PropertyPredictionRequest:
    """Crystals whose properties are predicted.

    Attributes:
        crystals: one item per row of the result: ``source`` (what it is called) with lattice (Å),
            atomic_numbers and frac_coords, or with ``error``, the sentence why there is no crystal; ``id``
            where it belongs to a run; ``notes``, sentences on what its file says otherwise.
        properties: names; all that the model has where none is named.
        model: a property predictor.
    """

    crystals: tuple[Mapping[str, Any], ...]
    properties: tuple[str, ...] = ()
    model: str = "crysldnet"
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.crystals, tuple) or not self.crystals:
            raise RequestError("Nothing to predict: give at least one crystal.")
        if len(self.crystals) > MAX_PREDICTED:
            raise RequestError(
                f"{len(self.crystals):,} crystals are too many for one run; predict at most "
                f"{MAX_PREDICTED:,} together."
            )
        cell = {"lattice", "atomic_numbers", "frac_coords"}
        if not all(
            isinstance(item, Mapping) and "source" in item and ("error" in item or cell <= set(item))
            for item in self.crystals
        ):
            raise RequestError(
                "Each crystal needs its source, and lattice, atomic_numbers and frac_coords or an error."
            )
        if not isinstance(self.properties, tuple) or not all(isinstance(p, str) for p in self.properties):
            raise RequestError("Properties are names such as band_gap_ev.")
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)


@dataclass(frozen=True, kw_only=True)
class LearnPropertyRequest:
    """Crystals with a value each, from which a property is learned that the predictor then has.

    Attributes:
        crystals: ``source`` (what each is called) with lattice (Å), atomic_numbers and frac_coords.
        values: one number per crystal.
        splits: "train", "val", "test" or "" per crystal; empty where the table names none.
        skipped: id and reason of each row of the table that is not among the crystals, for the result.
        column: name of the property, as :func:`crystal_core.properties.property_key` writes it.
        title, unit: for display.
        logarithmic: learn the logarithm; all values are then positive.
        table: name of the file. model: the predictor that gets the property.
        rank: of the changes of its encoder; 0 learns heads alone.
        samples: crystals seen in all; None for about 30 epochs.
        minutes: of training at most. seed: None draws one, which the result reports.
    """

    crystals: tuple[Mapping[str, Any], ...]
    values: tuple[float, ...]
    column: str
    splits: tuple[str, ...] = ()
    skipped: tuple[Mapping[str, str], ...] = ()
    title: str = ""
    unit: str = ""
    logarithmic: bool = False
    table: str = "a table"
    model: str = "crysldnet"
    rank: int = 8
    samples: int | None = None
    minutes: float | None = None
    seed: int | None = None
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.crystals, tuple) or len(self.crystals) < MIN_LEARNED:
            raise RequestError(f"Too few crystals to learn from; give at least {MIN_LEARNED} with a value.")
        if len(self.crystals) > MAX_LEARNED:
            raise RequestError(
                f"{len(self.crystals):,} crystals are too many for one run; "
                f"learn from at most {MAX_LEARNED:,}."
            )
        cell = {"source", "lattice", "atomic_numbers", "frac_coords"}
        if not all(isinstance(item, Mapping) and cell <= set(item) for item in self.crystals):
            raise RequestError("Each crystal needs its source, lattice, atomic_numbers and frac_coords.")
        if not isinstance(self.values, tuple) or len(self.values) != len(self.crystals):
            raise RequestError("Give one value per crystal, a number each.")
        for value in self.values:
            check_number("a value to learn", value, -LARGEST_VALUE, LARGEST_VALUE)
        if not isinstance(self.logarithmic, bool):
            raise RequestError(f"logarithmic must be true or false, not {self.logarithmic!r}.")
        if self.logarithmic and min(self.values) <= 0:
            raise RequestError("A value that is not positive has no logarithm; learn the values themselves.")
        if len(self.splits) not in (0, len(self.crystals)):
            raise RequestError("Give one split per crystal, or none.")
        for split in self.splits:
            check_choice("split", split, SPLITS)
        self._check_name()
        check_whole("rank", self.rank, 0, 256)
        check_whole("samples", self.samples, 1, MAX_LEARNED_SAMPLES, optional=True)
        check_number("minutes", self.minutes, 0.01, 24 * 60, optional=True)
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)

    def _check_name(self) -> None:
        for words in (self.column, self.title, self.unit, self.table):
            # a card is TOML, which takes no control characters
            if not isinstance(words, str) or len(words) > 200 or not words.isprintable():
                raise RequestError(
                    "Column, title, unit and table are texts of at most 200 characters on one line."
                )
        if property_key(self.column) != self.column:
            raise RequestError(
                f"A property is named by letters, digits, dots, dashes and underscores, at most 60: "
                f"'{property_key(self.column)}', not '{self.column[:80]}'."
            )
        if self.column in PROPERTIES:
            raise RequestError(
                f"The predictor has a property '{self.column}' already; give yours another name, "
                f"such as {self.column}_own."
            )
