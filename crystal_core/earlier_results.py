"""Results that earlier versions stored, in today's form: the old runs of a user's history still open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from crystal_core.errors import RequestError
from crystal_core.records import FORMAT, RunResult


def upgrade_result(data: Mapping[str, Any]) -> RunResult:
    """A stored result in today's form; the given one stays as it is.

    Raises:
        RequestError: a newer version of this program wrote it.
    """
    form = data.get("format", 1)
    if form == FORMAT:
        return cast("RunResult", data)
    if not isinstance(form, int) or form > FORMAT:
        raise RequestError(
            f"This result has format {form}, and this version reads up to {FORMAT}. "
            "Open it with the version that wrote it."
        )
    result: dict[str, Any] = {"notes": [], **data, "format": FORMAT}  # from format 1
    try:
        for name in ("crystals", "relaxed"):
            if name in data:
                result[name] = [_with_notes(record) for record in data[name]]
        if "results" in data:
            result["results"] = [
                {**item, "candidates": [_with_notes(record) for record in item["candidates"]]}
                for item in data["results"]
            ]
    except (TypeError, KeyError):
        raise RequestError("This result is damaged: what should be its crystals is something else.") from None
    return cast("RunResult", result)


def _with_notes(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"notes": [], **record}
