"""How many uploads of one browser are read at the same time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Gives each of several clients its places; safe to call from several threads."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, client: str, places: int, seconds: float) -> Iterator[bool]:
        """Hold one of a client's places for the block; False where none was free within ``seconds``."""
        with self._changed:
            has_place = self._changed.wait_for(lambda: self._taken[client] < places, seconds)
            self._taken[client] += has_place
        try:
            yield has_place
        finally:
            with self._changed:
                self._taken[client] -= has_place
                if not self._taken[client]:
                    del self._taken[client]  # else every client that ever came would stay in memory
                self._changed.notify_all()
