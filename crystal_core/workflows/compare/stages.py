"""How far each column of a comparison is, read from the stage of its run: columns are made in turn."""

from __future__ import annotations

from collections.abc import Sequence

from crystal_core.workflows.compare.request import LETTERS

FINISHED, RUNNING, WAITING = "finished", "running", "waiting"


def column_states(names: Sequence[str], stage: str | None) -> list[str]:
    """What happens to each column now.

    Args:
        names: of the columns.
        stage: of the run, which begins with the letter of the column it works on; None or other words while
            it prepares.

    >>> column_states(["em", "pc", "ode"], "B: pc, crystals 1 to 8 of 8")
    ['finished', 'crystals 1 to 8 of 8', 'waiting']
    >>> column_states(["em", "pc"], "A: measuring"), column_states(["em", "pc"], None)
    (['measuring', 'waiting'], ['waiting', 'waiting'])
    """
    letter, _, words = (stage or "").partition(": ")
    places = dict(zip(LETTERS, range(len(names)), strict=False))
    if letter not in places:
        return [WAITING] * len(names)
    now = places[letter]
    doing = words.removeprefix(names[now]).removeprefix(", ") or RUNNING
    return [FINISHED] * now + [doing] + [WAITING] * (len(names) - now - 1)
