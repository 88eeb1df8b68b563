"""A training configuration: TOML text as a method's frozen dataclasses.

Needs nothing but Python.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from crystal_core.errors import RequestError

Settings = TypeVar("Settings")


def parse_settings(text: str, cls: type[Settings]) -> Settings:
    """The settings of TOML text; a table in it becomes the dataclass that its field has by default.

    Raises:
        RequestError: no TOML, an unknown key, or a value that the dataclass refuses.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"The training configuration is not TOML: {error}.") from error
    data.pop("method", None)
    return _built(cls, data)


def _built(cls: Any, table: Any, name: str = "") -> Any:
    """The dataclass of a table; tables inside it have dotted names."""
    if not isinstance(table, dict):
        raise RequestError(f"The training configuration has a single value where the table [{name}] belongs.")
    defaults = {field.name: field.default_factory for field in fields(cls)}
    if unknown := sorted(set(table) - set(defaults)):
        place = f" in [{name}]" if name else ""
        raise RequestError(f"The training configuration has unknown key(s) {', '.join(unknown)}{place}.")
    inner = {key: f"{name}.{key}".lstrip(".") for key, part in defaults.items() if is_dataclass(part)}
    return cls(
        **{
            key: _built(defaults[key], value, inner[key]) if key in inner else value
            for key, value in table.items()
        }
    )
