"""Waiting for the app to answer."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable

SECONDS_TO_START = 120.0


def answers(address: str, is_over: Callable[[], bool], *, token: str = "", seconds: float) -> bool:
    """Whether the app answers within ``seconds`` and before ``is_over``.

    Args:
        address: with scheme and port. token: of a protected app.
    """
    stop = time.monotonic() + seconds
    health = urllib.request.Request(
        f"{address}/_stcore/health", headers={"Authorization": f"Bearer {token}"} if token else {}
    )
    while not is_over() and time.monotonic() < stop:
        try:
            urllib.request.urlopen(health, timeout=1)
            return True
        except OSError:
            time.sleep(0.2)
    return False
