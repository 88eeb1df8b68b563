"""The one owner of session state: values that links hand to widgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st


def adopt(link: str, values: Mapping[str, Any]) -> bool:
    """Give widgets (by key) the values that a link carries: once per link, so that typing afterwards is not undone; whether it was this time.

    Streamlit forgets a widget while another page is shown: what was forgotten gets the link's value again.

    Args:
        link: what tells this link from the last one. values: widget key → value; None leaves a widget alone.
    """
    fresh = st.session_state.get("link") != link
    st.session_state["link"] = link
    for key, value in values.items():
        if value is not None and (fresh or key not in st.session_state):
            st.session_state[key] = value
    return fresh


def settle(link: str) -> None:
    """Take a link as adopted: the form itself made it, so it holds what the form shows already."""
    st.session_state["link"] = link


def remember(key: str, value: Any) -> None:
    """Keep a value for as long as the page is open in this browser."""
    st.session_state[key] = value


def recall(key: str) -> Any:
    """What was kept under this key, or None."""
    return st.session_state.get(key)


def action_button(label: str, *, key: str, **options: Any) -> bool:
    """A button whose press is dealt with even where the run of the page that it started is cut short by another one.

    Something else on the page may ask for a run at any moment (a picture that has come, a clock); ``st.button`` would be False in that one.
    Whoever gets True must act at once, before the next element is drawn.
    """
    st.button(label, key=key, on_click=remember, args=(f"pressed-{key}", True), **options)
    return bool(st.session_state.pop(f"pressed-{key}", False))


def has_changed(key: str, value: Any) -> bool:
    """Whether ``value`` differs from the one given under this key the last time; the first time it does not."""
    before = st.session_state.get(key, value)
    st.session_state[key] = value
    return before != value
