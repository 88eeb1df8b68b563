"""Lists of runs over entries that pass every check and still hold what no version writes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from crystal_core.jobs.job import Job

log = logging.getLogger(__name__)


def tolerant(otherwise: str) -> Callable[[Callable[[Job], str]], Callable[[Job], str]]:
    """Return ``otherwise`` for a text on a run that cannot be made: one run must not cost the list.

    Half characters, which JSON can name and no browser is sent, become question marks.
    """

    def decorate(words: Callable[[Job], str]) -> Callable[[Job], str]:
        @functools.wraps(words)
        def safely(job: Job) -> str:
            try:
                return words(job).encode("utf-8", "replace").decode()
            except Exception:
                log.exception("run %s cannot be described", job.id)
                return otherwise

        return safely

    return decorate
