"""The shipped and installed models: what they were trained on, what they reach, where they end."""

from __future__ import annotations

import streamlit as st

from crystal_core.registry.store import list_cards
from pages._ui.errors import guard

with guard():
    st.title("Models")
    for card in list_cards():
        with st.container(border=True):
            st.subheader(card.name)
            st.write(f"{card.method} · {card.task} · {card.parameters:,} parameters · {card.size_mb:.1f} MB · {card.licence}")
            st.write(card.good_for or card.trained_on)
            if card.limits:
                st.caption(f"Limits: {card.limits}")
            if card.metrics:
                st.dataframe([{"metric": name, **{k: str(v) for k, v in value.items()}} for name, value in card.metrics.items()], hide_index=True, width="stretch")
            with st.expander("Training and hashes"):
                st.json({"trained_on": card.trained_on, "source": card.source, "training": dict(card.training), "files": dict(card.files)})
