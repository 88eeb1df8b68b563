"""The one owner of session state: the fields of forms, and the values with which links fill them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

Filled = dict[str, tuple[int, Any]]  # key of a field → how often its value was replaced, and its last value
ON_ITS_WAY = 3.0  # seconds that a request of the browser may take
DEFAULTS = {  # widget → its argument for the value that it begins with
    "text_input": "value",
    "text_area": "value",
    "number_input": "value",
    "toggle": "value",
    "slider": "value",
    "selectbox": "index",
    "multiselect": "default",
    "pills": "default",
    "segmented_control": "default",
    "expander": "expanded",
}


def apply_link(link: str, values: Mapping[str, Any]) -> None:
    """Fill fields (by key) from a link, once per link, so that later typing stays.

    Streamlit forgets a field while another page is shown: it gets the link's value again.

    Args:
        link: what tells this link from the last one. values: key → value; None leaves a field alone.
    """
    if is_link_applied(link):
        return
    given = {key: value for key, value in values.items() if value is not None}
    for key, value in given.items():
        fill(key, value)
    st.session_state["adopted"] = tuple(given)
    st.session_state["link"] = link  # last: a run that is cut short before leaves the link to the next one


def is_link_applied(link: str) -> bool:
    """Whether :func:`apply_link` would change nothing, so that what the link names need not be read again."""
    return st.session_state.get("link") == link and any(map(is_held, st.session_state.get("adopted", ())))


def mark_link_applied(link: str) -> None:
    """Take a link as adopted: the form itself made it, so it holds what the form shows already."""
    st.session_state["link"] = link


def field(widget: Callable[..., Any], label: str, *options: Any, key: str, **settings: Any) -> Any:
    """Draw a field of a form, such as ``field(st.text_input, "Seed", key="seed")``, and return its value.

    Every run tells the browser the value that the server holds, as the field's default. A value that is
    handed over once, through ``st.session_state``, is lost where its run is cut short: Streamlit drops
    messages that it has not sent when the next run begins. The browser then mounts the field with "" or 0 and
    sends these back with the next press.

    Args:
        widget: ``st.number_input`` and the like, also of a column.
        options: what may be chosen.
        settings: for the widget; a default among them holds until :func:`fill` gives another value; a
            selectbox begins with its first option.
    """
    # the state is looked up once: each look takes a lock, and a form has fifty fields
    argument, filled = DEFAULTS[widget.__name__], _filled()
    name = _name_of(key, filled)
    value = _value_of(name, key, filled, settings.get(argument))
    if argument in settings and settings[argument] is None:
        # A field that may be empty keeps None as its default: another one would come back when it is emptied.
        # Streamlit itself hands over the value of a field that persists until the browser has answered.
        if name not in st.session_state and value is not None:
            st.session_state[name] = value
        settings["persist_state"] = "page"
    elif widget.__name__ == "expander":  # its message holds the state; its default belongs to its identity
        settings[argument] = bool(filled.get(key, (0, settings.get(argument)))[1])
    elif value is not None or argument in settings:
        settings[argument] = _as_argument(argument, value, options)
    return widget(label, *options, key=name, **settings)


def fill(key: str, value: Any) -> None:
    """Give a field another value than the reader did.

    The field gets a new identity, so that a browser that has not heard of the value yet cannot send the old
    one back.
    """
    filled = _filled()
    name, turn = _name_of(key, filled), filled.get(key, (0, None))[0]
    known = key in filled or name in st.session_state
    filled[key] = turn + (known and _value_of(name, key, filled, None) != value), value


def value_of(key: str, default: Any = None) -> Any:
    """The value of a field: the reader's, else the one it was filled with, else ``default``."""
    filled = _filled()
    return _value_of(_name_of(key, filled), key, filled, default)


def is_held(key: str) -> bool:
    """Whether the field is shown, or was in the last run of this page."""
    return _name_of(key, _filled()) in st.session_state


def _value_of(name: str, key: str, filled: Filled, default: Any) -> Any:
    return st.session_state.get(name, filled.get(key, (0, default))[1])


def _filled() -> Filled:
    filled: Filled = st.session_state.setdefault("filled", {})
    return filled


def _name_of(key: str, filled: Filled) -> str:
    """The key under which Streamlit knows a field now."""
    turn = filled.get(key, (0, None))[0]
    return f"{key}~{turn}" if turn else key


def _as_argument(argument: str, value: Any, options: tuple[Any, ...]) -> Any:
    """A value as the widget takes it; what is no longer on offer is left out."""
    if argument == "index":
        offered = list(options[0])
        return offered.index(value) if value in offered else 0
    if argument == "default":
        several = isinstance(value, list)
        return (
            [one for one in value if one in options[0]] if several else value if value in options[0] else None
        )
    return value


def set_state(key: str, value: Any) -> None:
    """Keep a value for as long as the page is open in this browser."""
    st.session_state[key] = value


def get_state(key: str) -> Any:
    """The value stored under this key, or None."""
    return st.session_state.get(key)


def action_button(label: str, *, key: str, **options: Any) -> bool:
    """A button whose press counts even where another run of the page cuts its own short.

    Something else on the page may ask for a run at any moment (a picture that has come, a clock);
    ``st.button`` would be False in that one. A caller that gets True must act at once, before the next
    element is drawn.
    """
    st.button(label, key=key, on_click=set_state, args=(f"pressed-{key}", True), **options)
    return bool(st.session_state.pop(f"pressed-{key}", False))


def set_link(page: str, /, **link: str) -> None:
    """Give ``page``, which is shown, another link, which :func:`restore_link` defends."""
    # first: the run may be cut short when the query changes
    set_state(f"gone-to-{page}", (time.monotonic(), link))
    if "job" in link:
        set_state("begun", link["job"])
    st.query_params.from_dict(link)


def restore_link(page: str) -> None:
    """Restore the new query of ``page`` when a late request brings back the old one; call it first."""
    when, link = get_state(f"gone-to-{page}") or (0.0, {})
    if time.monotonic() - when < ON_ITS_WAY and any(
        st.query_params.get(name) != value for name, value in link.items()
    ):
        st.query_params.from_dict(link)


def has_changed(key: str, value: Any) -> bool:
    """Whether ``value`` differs from the one given under this key the last time.

    The first time it does not.
    """
    before = st.session_state.get(key, value)
    st.session_state[key] = value
    return before != value
