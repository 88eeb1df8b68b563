"""Data and drawings of the detail view, computed once for all readers.

The crystal is named by its JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.rdf import rdf_figure
from crystal_core.drawing.figures.symmetry import symmetry_figure
from crystal_core.drawing.scene import CELL_KINDS, build_scene, cell_choice, describe
from crystal_core.errors import RequestError
from crystal_core.evaluation.arrangements import common_arrangement
from crystal_core.evaluation.rdf import radial_distribution
from crystal_core.evaluation.symmetry import space_group_curve
from crystal_core.files.parse import parse_text
from crystal_core.files.records import structure_from_record
from pages._ui.crystal.cell_tables import cell_words

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


def card_scene(record: Mapping[str, Any]) -> dict[str, Any]:
    """The scene of a crystal's conventional cell, or its own without symmetry: its card's picture.

    Args:
        record: with lattice (Å), atomic_numbers and frac_coords.
    """
    return _card_scene(_cell_text(record))


@st.cache_data(max_entries=512, show_spinner=False)
def _card_scene(cell: str) -> dict[str, Any]:
    structure = structure_from_record(json.loads(cell))
    return build_scene(_conventional(structure) or structure)


def arrangement_of(record: Mapping[str, Any]) -> str:
    """See :func:`crystal_core.evaluation.arrangements.common_arrangement`; empty without a space group.

    Args:
        record: with lattice (Å), atomic_numbers, frac_coords and space_group.
    """
    group = record.get("space_group")
    return _arrangement_of(_cell_text(record), group["number"]) if group else ""


@st.cache_data(max_entries=512, show_spinner=False)
def _arrangement_of(cell: str, group: int) -> str:
    return common_arrangement(structure_from_record(json.loads(cell)), group)


def cell_line(record: Mapping[str, Any]) -> str:
    """The conventional cell of a record in a line, the cell as it is where there is none."""
    return _cell_line(_cell_text(record))


@st.cache_data(max_entries=512, show_spinner=False)
def _cell_line(cell: str) -> str:
    structure = structure_from_record(json.loads(cell))
    return cell_words(_conventional(structure) or structure)


def _cell_text(record: Mapping[str, Any]) -> str:
    """The cell of a record as text, which names it for the caches."""
    return json.dumps({name: record[name] for name in ("lattice", "atomic_numbers", "frac_coords")})


def _conventional(structure: Structure) -> Structure | None:
    try:
        return cell_choice(structure, "conventional")
    except RequestError:
        return None


@st.cache_data(max_entries=256, show_spinner=False)
def usual_kind(text: str, _structure: Structure) -> str:  # noqa: ARG001 (text names the structure)
    """The cell in which a model's crystal is first shown: conventional if there is one."""
    return "conventional" if _conventional(_structure) else CELL_KINDS[0]


@st.cache_data(max_entries=64, show_spinner=False)
def words_of(text: str, occupancy: Mapping[str, Any] | None, _structure: Structure) -> str:  # noqa: ARG001 (text names the structure)
    """See :func:`crystal_core.drawing.scene.describe`."""
    return describe(_structure, occupancy)


# Figures are drawn inside the cache, which stores the finished messages: making these takes longest.


@st.cache_data(max_entries=64, show_spinner=False)
def draw_curve(text: str, key: str) -> None:
    """The space group against the tolerance, as a figure and a table."""
    st.plotly_chart(symmetry_figure(curve_of(text)), width="stretch", key=f"{key}-symmetry")
    st.dataframe(curve_of(text), hide_index=True, width="stretch")


@st.cache_data(max_entries=64, show_spinner=False)
def draw_distances(text: str, key: str) -> None:
    """The radial distribution."""
    rdf = radial_distribution(parse_text(text, purpose="view"))
    st.plotly_chart(rdf_figure(rdf), width="stretch", key=f"{key}-rdf")
