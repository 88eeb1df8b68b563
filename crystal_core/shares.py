"""One browser's share of a machine for several; ``crystal-core serve`` has options for it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields

from crystal_core.errors import RequestError

PREFIX = "CRYSTAL_SHARE_"  # of the environment variables, such as CRYSTAL_SHARE_WAITING


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Limits, all at least 1.

    Attributes:
        waiting: runs of one browser that wait; those of the command line count as one browser's.
        waiting_in_all: runs of all browsers that wait.
        stored_mb: results of one browser, 10⁶ bytes; the command line has no such limit.
        uploads: uploads of one browser that are read at the same time.
    """

    waiting: int = 20
    waiting_in_all: int = 100
    stored_mb: int = 5000
    uploads: int = 1

    def as_environment(self) -> dict[str, str]:
        """Environment variables from which :func:`shares` makes the same limits in another process."""
        return {variable(name): str(value) for name, value in asdict(self).items()}


def variable(name: str) -> str:
    """The environment variable of one limit."""
    return f"{PREFIX}{name.upper()}"


def shares() -> Shares:
    """The limits that hold in this process.

    Raises:
        RequestError: an environment variable is no whole number from 1.
    """
    given = {
        field.name: text
        for field in fields(Shares)
        if (text := os.environ.get(variable(field.name), "").strip())
    }
    for name, text in given.items():
        if not (text.isascii() and text.isdigit() and int(text) >= 1):
            raise RequestError(f"{variable(name)} is '{text[:40]}'. Give a whole number from 1.")
    return Shares(**{name: int(text) for name, text in given.items()})
