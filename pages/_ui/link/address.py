"""The address of the page as it stands, to copy."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st


def show_address() -> None:
    """A button in the corner that opens the address of this page, query included; call it when the page is drawn."""
    address = (st.context.url or "").partition("?")[0]
    query = urlencode({name: st.query_params.get_all(name) for name in st.query_params}, doseq=True)
    with st.container(key="page-address", width="content"), st.popover("Link", icon=":material/link:"):
        st.caption("Opens this page again, with its run and crystal.")
        st.code(f"{address}?{query}" if query else address, language=None, wrap_lines=True)
