"""Checks of single values that requests and configurations share; each raises RequestError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crystal_core.errors import RequestError

MAX_GUIDANCE = 100.0
LARGEST_TOLERANCE = 1.0  # Å: symmetrising within more would move atoms onto others
DENSITY_RANGE = (0.05, 30.0)  # g/cm³, from solid hydrogen to beyond osmium


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise RequestError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise RequestError(f"Unknown {name} '{value}'; choose one of {', '.join(choices)}.")


def check_density(value: object) -> None:
    """Raise RequestError unless ``value`` is a density in g/cm³ that matter can have."""
    low, high = DENSITY_RANGE
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"A density is a number of g/cm³, not {value!r}.")
    if not low <= value <= high:
        raise RequestError(f"A density lies between {low} and {high} g/cm³, not {value:g}.")


def check_notes(given: Mapping[str, Any]) -> None:
    """Raise RequestError unless the ``notes`` of a crystal, where it has any, are sentences."""
    notes = given.get("notes", ())
    if not isinstance(notes, list | tuple) or not all(isinstance(note, str) for note in notes):
        raise RequestError("The notes of a crystal are a list of sentences; correct them or leave them out.")


def check_number(name: str, value: object, low: float, high: float, *, optional: bool = False) -> None:
    """Raise RequestError unless ``value`` is a number from ``low`` to ``high``, or None if allowed."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise RequestError(f"{name} must be a number between {low:g} and {high:g}, not {value!r}.")


def check_strength(value: float) -> None:
    """Raise RequestError unless ``value`` is a strength of guidance."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_GUIDANCE:
        raise RequestError(f"The strength of guidance lies between 0 and {MAX_GUIDANCE:g}, not {value!r}.")


def check_whole(name: str, value: object, low: int, high: int, *, optional: bool = False) -> None:
    """Raise RequestError unless ``value`` is a whole number from ``low`` to ``high``, or None if allowed."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestError(f"{name} must be a whole number between {low} and {high}, not {value!r}.")


def check_tolerance(value: object) -> None:
    """Raise RequestError unless ``value`` is a tolerance in Å within which crystals can be symmetrised."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST_TOLERANCE:
        raise RequestError(
            f"The tolerance of symmetrising lies above 0 and at most at {LARGEST_TOLERANCE:g} Å, "
            f"not at {value!r}; leave it out to keep the crystals as sampled."
        )
