"""Settings of a run that the form has no field for: they stay in the form as long as what they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages._ui.link.session import get_state, set_state
from pages._ui.text import escape_markdown

OF_SAMPLER = ("tuning", "tau", "noise_scale", "remasking")
OF_MODEL = ("dtype", "relax_seconds", "rank")
# what needs no word because the form means it, too
USUAL = {"tuning": "card", "dtype": "float32", "relax_seconds": 120}


def keep_unseen(request: Mapping[str, Any], key: str) -> None:
    """Keep the settings without a field of the run that fills a form; none of an empty request."""
    names = ("model", "sampler", *OF_SAMPLER, *OF_MODEL)
    set_state(
        key, {name: request[name] for name in names if request.get(name) not in (None, USUAL.get(name))}
    )


def unseen(key: str, *, model: str, sampler: str | None) -> dict[str, Any]:
    """The kept settings as fields of the request, shown in a line; none for another model.

    Args:
        sampler: of the form; those of a sampler stay with the same one. None: nothing is sampled.
    """
    kept: Mapping[str, Any] = get_state(key) or {}
    if kept.get("model") != model:
        return {}
    names = [*OF_MODEL, *(OF_SAMPLER if sampler == kept.get("sampler", "fast") else ())]
    settings = {name: kept[name] for name in names if name in kept}
    if settings:
        words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
        st.caption(escape_markdown(f"Also: {words}"))
    return settings
