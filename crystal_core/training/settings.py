"""A training configuration: TOML text turned into the frozen dataclasses of a method. Needs nothing but Python."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from crystal_core.errors import RequestError

Settings = TypeVar("Settings")


def parse_settings(text: str, cls: type[Settings], sections: Mapping[str, type]) -> Settings:
    """The settings of TOML text; ``sections`` names the dataclass of every table in it.

    Raises:
        RequestError: no TOML, an unknown key, or a value that the dataclass refuses.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"The training configuration is not TOML: {error}.") from error
    data.pop("method", None)
    values: dict[str, Any] = {}
    for key, value in data.items():
        known: Any = sections.get(key, cls)
        unknown = sorted(set(value if key in sections else [key]) - {f.name for f in fields(known)})
        if unknown:
            section = f" in [{key}]" if key in sections else ""
            raise RequestError(
                f"The training configuration has unknown key(s) {', '.join(unknown)}{section}."
            )
        values[key] = known(**value) if key in sections else value
    return cls(**values)
