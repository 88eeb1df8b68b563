"""JSON text → Python values; why a text is no JSON, and which entries it gives twice, in sentences."""

from __future__ import annotations

import json
from typing import Any

from crystal_core.errors import StructureParseError
from crystal_core.structures import printable

# of a crystal; a comment that stands twice loses nothing
_NUMBERS = {"a", "b", "c", "alpha", "beta", "gamma", "occu", "element", "cartesian"}


def value_in(text: str, line: int = 0) -> Any:
    """What a JSON text holds.

    Args:
        line: its number in JSON lines, for the sentences; 0 for a whole text.

    Raises:
        StructureParseError: it is no JSON, its parts are nested too deeply, a number is too long, or an entry
            of a crystal stands twice with two values, of which a reader would lose one.
    """
    name, whole = (f"Line {line}", f"The JSON of line {line}") if line else ("This", "This JSON")
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise StructureParseError(f"{name} is not valid JSON: {error}.") from error
    except _TwiceError as error:
        raise StructureParseError(
            f"{whole} gives the entry '{error}' twice with different values. Keep one of them."
        ) from None
    except RecursionError:
        raise StructureParseError(
            f"{whole} nests its lists and objects too deeply. Give the crystal alone."
        ) from None
    except ValueError:  # Python converts no whole number of more than 4,300 digits
        raise StructureParseError(
            f"{whole} holds a number of thousands of digits. Export the crystal again."
        ) from None


class _TwiceError(Exception):
    """The key of an entry that stands twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        for key, value in pairs:
            matters = key in _NUMBERS or isinstance(value, list | dict)
            if matters and value != entries[key]:
                raise _TwiceError(printable(key)[:40])
    return entries
