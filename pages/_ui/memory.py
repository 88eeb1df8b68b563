"""Keep permanent objects out of the garbage collections that follow every run of a page."""

from __future__ import annotations

import gc
import sys

_n_modules = 0  # at the last freeze, of all sessions of this server


def freeze_modules() -> None:
    """Hide all live objects from later collections whenever more modules are loaded than last time.

    A collection walks through all objects of this process. Without this, most of the processor time of a page
    goes into walking through libraries, which never become garbage.
    """
    global _n_modules  # noqa: PLW0603 (the collector is one for the process, too)
    if len(sys.modules) != _n_modules:
        _n_modules = len(sys.modules)
        gc.collect()  # garbage left now would never be freed
        gc.freeze()
