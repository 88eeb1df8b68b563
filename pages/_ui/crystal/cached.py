"""What the detail view computes and draws of one crystal, once for all readers; the crystal is named by its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.rdf import rdf_figure
from crystal_core.drawing.figures.symmetry import symmetry_figure
from crystal_core.drawing.scene import build_scene, describe
from crystal_core.evaluation.rdf import radial_distribution
from crystal_core.evaluation.symmetry import space_group_curve
from crystal_core.files.parse import parse_text

if TYPE_CHECKING:
    from pymatgen.core import Structure


@st.cache_data(max_entries=64, show_spinner=False)
def scene_of(text: str) -> dict[str, Any]:
    """See :func:`crystal_core.drawing.scene.build_scene`."""
    return build_scene(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner=False)
def curve_of(text: str) -> list[dict[str, Any]]:
    """See :func:`crystal_core.evaluation.symmetry.space_group_curve`."""
    return space_group_curve(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner=False)
def words_of(text: str, occupancy: Mapping[str, Any] | None, _structure: Structure) -> str:  # noqa: ARG001 (text names the structure)
    """See :func:`crystal_core.drawing.scene.describe`."""
    return describe(_structure, occupancy)


# A figure is drawn inside of its cache, which keeps the finished messages: making them takes longer than what they show.


@st.cache_data(max_entries=64, show_spinner=False)
def draw_curve(text: str, key: str) -> None:
    """The space group against the tolerance, as a figure and a table."""
    st.plotly_chart(symmetry_figure(curve_of(text)), width="stretch", key=f"{key}-symmetry")
    st.dataframe(curve_of(text), hide_index=True, width="stretch")


@st.cache_data(max_entries=64, show_spinner=False)
def draw_distances(text: str, key: str) -> None:
    """The radial distribution."""
    found = radial_distribution(parse_text(text, purpose="view"))
    st.plotly_chart(rdf_figure(found), width="stretch", key=f"{key}-rdf")
