"""What several parts of the detail view compute of one crystal, once; the crystal is named by its JSON."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crystal_core.drawing.scene import build_scene
from crystal_core.evaluation.symmetry import space_group_curve
from crystal_core.files.parse import parse_text


@st.cache_data(max_entries=64, show_spinner=False)
def scene_of(text: str) -> dict[str, Any]:
    """See :func:`crystal_core.drawing.scene.build_scene`."""
    return build_scene(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner=False)
def curve_of(text: str) -> list[dict[str, Any]]:
    """See :func:`crystal_core.evaluation.symmetry.space_group_curve`."""
    return space_group_curve(parse_text(text, purpose="view"))
