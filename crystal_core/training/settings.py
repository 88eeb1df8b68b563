"""A training configuration: TOML text turned into the frozen dataclasses of a method. Needs nothing but Python."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from crystal_core.errors import RequestError

Settings = TypeVar("Settings")


def parse_settings(text: str, cls: type[Settings], sections: Mapping[str, type]) -> Settings:
    """The settings of TOML text; ``sections`` names the dataclass of every table in it, with a dot for a table in a table.

    Raises:
        RequestError: no TOML, an unknown key, or a value that the dataclass refuses.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"The training configuration is not TOML: {error}.") from error
    data.pop("method", None)
    values: dict[str, Any] = {}
    known: Any = cls
    for key, value in data.items():
        if key not in {f.name for f in fields(known)}:
            raise RequestError(f"The training configuration has unknown key(s) {key}.")
        values[key] = _section(key, value, sections) if key in sections else value
    return cls(**values)


def _section(name: str, table: Any, sections: Mapping[str, type]) -> Any:
    """The dataclass of a table; tables inside it have dotted names."""
    if not isinstance(table, dict):
        raise RequestError(f"The training configuration has a single value where the table [{name}] belongs.")
    known: Any = sections[name]
    unknown = sorted(set(table) - {f.name for f in fields(known)})
    if unknown:
        raise RequestError(f"The training configuration has unknown key(s) {', '.join(unknown)} in [{name}].")
    inner = {key: f"{name}.{key}" for key in table}
    return known(
        **{
            key: _section(inner[key], value, sections) if inner[key] in sections else value
            for key, value in table.items()
        }
    )
