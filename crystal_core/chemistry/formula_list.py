"""Lists of formulas, as people paste them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crystal_core.chemistry.formula import Formula, parse_formula, shortened
from crystal_core.errors import RequestError

MAX_BATCH = 20  # formulas run together; as many as may wait in the queue
BETWEEN = re.compile(r"[\n\r;\t]+|(?<!\d),|,(?!\d)")  # a comma between two digits is a decimal one


@dataclass(frozen=True, kw_only=True)
class BatchLine:
    """One entry of a list of formulas: either the formula or, in one sentence, what is wrong with it."""

    text: str
    formula: Formula | None = None
    error: str = ""


def parse_formulas(text: str) -> list[BatchLine]:
    """The entries of a list, without empty and repeated ones; line ends, commas and semicolons separate them.

    Raises:
        RequestError: more than :data:`MAX_BATCH`.
    """
    entries = list(dict.fromkeys(entry for part in BETWEEN.split(text) if (entry := part.strip())))
    if len(entries) > MAX_BATCH:
        raise RequestError(
            f"The list has {len(entries)} formulas and {MAX_BATCH} can run together; split it."
        )
    lines = []
    for entry in entries:
        try:
            lines.append(BatchLine(text=entry, formula=parse_formula(entry)))
        except RequestError as error:
            lines.append(BatchLine(text=shortened(entry), error=str(error)))
    return lines
