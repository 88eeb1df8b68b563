"""From a crystal that is shown to the form that completes it: the button, and a crystal of the reader's own on its way there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages._ui.link.session import recall, remember

TOLD = "Puts it into the form of Generate: say there what of it stays, and the rest is sampled."


def keep_parts_button() -> bool:
    """The button that asks for it; whether it was pressed."""
    return st.button(
        "Keep parts of it", icon=":material/auto_fix_high:", type="tertiary", key="complete", help=TOLD
    )


def hand_over(cell: Mapping[str, Any]) -> str:
    """Keep a crystal that belongs to no run for another page; the word by which a link names it there."""
    word = hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:12]
    remember(f"handed-over-{word}", dict(cell))
    return word


def handed_over(word: str) -> dict[str, Any] | None:
    """The crystal that a link names; None once the page was opened anew, or in another browser."""
    crystal: dict[str, Any] | None = recall(f"handed-over-{word}")
    return crystal
