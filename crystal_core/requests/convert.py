"""Requests to and from plain JSON, and the seed of one that names none."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from crystal_core.errors import RequestError
from crystal_core.requests.limits import MAX_SEED

T = TypeVar("T")


def to_json(value: Any) -> dict[str, Any]:
    """A frozen request or provenance as a plain dictionary."""
    return asdict(value)


def from_json(cls: type[T], data: T | Mapping[str, Any]) -> T:
    """Build a request from JSON; unknown keys raise, lists become tuples. A request stays what it is.

    Raises:
        RequestError: a key is unknown or missing, or a value is out of range.
    """
    if isinstance(data, cls):
        return data
    assert isinstance(data, Mapping)
    required = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(required))
    if unknown:
        raise RequestError(
            f"Unknown request field(s) {', '.join(unknown)}; known are {', '.join(sorted(required))}."
        )
    missing = [name for name, needed in required.items() if needed and name not in data]
    if missing:
        raise RequestError(f"The request lacks {', '.join(missing)}.")
    return cls(**{k: _frozen(v) for k, v in data.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def seed_or_drawn(seed: int | None) -> int:
    """The given seed or a new one; known before the work, it can be reported and the work repeated."""
    return secrets.randbelow(MAX_SEED) if seed is None else seed
