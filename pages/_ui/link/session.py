"""The one owner of session state: values that links hand to widgets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import streamlit as st

ON_ITS_WAY = 3.0  # seconds that a request of the browser may take


def adopt(link: str, values: Mapping[str, Any]) -> bool:
    """Give widgets (by key) the values that a link carries: once per link, so that typing afterwards is not undone; whether it was this time.

    Streamlit forgets a widget while another page is shown: what was forgotten gets the link's value again.

    Args:
        link: what tells this link from the last one. values: widget key → value; None leaves a widget alone.
    """
    fresh = st.session_state.get("link") != link
    st.session_state["link"] = link
    given = {key: value for key, value in values.items() if value is not None}
    for key, value in given.items():
        if fresh or key not in st.session_state:
            st.session_state[key] = value
    st.session_state["adopted"] = tuple(given)
    return fresh


def is_adopted(link: str) -> bool:
    """Whether :func:`adopt` would change nothing, so that what the link names need not be read again."""
    return st.session_state.get("link") == link and all(
        key in st.session_state for key in st.session_state.get("adopted", ("no field",))
    )


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


def go_to(page: str, /, **link: str) -> None:
    """Give ``page``, which is shown, another link, which :func:`keep_link` defends."""
    remember(
        f"gone-to-{page}", (time.monotonic(), link)
    )  # first: the run may be cut short where the browser is told
    st.query_params.from_dict(link)


def keep_link(page: str) -> None:
    """At the start of ``page``: what the browser asked for before it heard of the new link brings the old one; then the new one again."""
    when, link = recall(f"gone-to-{page}") or (0.0, {})
    if time.monotonic() - when < ON_ITS_WAY and any(
        st.query_params.get(name) != value for name, value in link.items()
    ):
        st.query_params.from_dict(link)


def has_changed(key: str, value: Any) -> bool:
    """Whether ``value`` differs from the one given under this key the last time; the first time it does not."""
    before = st.session_state.get(key, value)
    st.session_state[key] = value
    return before != value
