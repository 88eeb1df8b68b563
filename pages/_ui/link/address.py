"""The address of the page as it stands, to copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import streamlit as st


def full_address(page: str, query: Mapping[str, Sequence[str]]) -> str:
    """The address of ``page`` with its query."""
    return f"{page}?{urlencode(query, doseq=True)}" if query else page


@st.fragment
def show_address() -> None:
    """A button in the corner that opens the address of this page, query included.

    Call it when the page is drawn. The query is read when the button is pressed: a part of the page that
    reruns by itself may have changed it since.
    """
    with st.container(key="page-address", width="content"):
        opened = st.popover("Link", icon=":material/link:", key="address", on_change="rerun")
    with opened:
        st.caption("Opens this page again, with its run and crystal.")
        if opened.open:
            query = {name: st.query_params.get_all(name) for name in st.query_params}
            st.code(full_address(st.context.url or "", query), language=None, wrap_lines=True)
