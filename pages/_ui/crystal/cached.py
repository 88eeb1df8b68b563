"""What several parts of the detail view compute of one crystal, once; the crystal is named by its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from crystal_core.drawing.scene import build_scene, cell_choice
from crystal_core.errors import RequestError
from crystal_core.evaluation.symmetry import space_group_curve
from crystal_core.files.parse import parse_text
from crystal_core.files.records import structure_from_record


@st.cache_data(max_entries=64, show_spinner=False)
def scene_of(text: str) -> dict[str, Any]:
    """See :func:`crystal_core.drawing.scene.build_scene`."""
    return build_scene(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner=False)
def curve_of(text: str) -> list[dict[str, Any]]:
    """See :func:`crystal_core.evaluation.symmetry.space_group_curve`."""
    return space_group_curve(parse_text(text, purpose="view"))


def card_scene(record: Mapping[str, Any]) -> dict[str, Any]:
    """The scene of a crystal's conventional cell, or of its own where no symmetry is found: what its card shows.

    Args:
        record: with lattice (Å), atomic_numbers and frac_coords.
    """
    return _card_scene(
        json.dumps({name: record[name] for name in ("lattice", "atomic_numbers", "frac_coords")})
    )


@st.cache_data(max_entries=512, show_spinner=False)
def _card_scene(cell: str) -> dict[str, Any]:
    structure = structure_from_record(json.loads(cell))
    try:
        return build_scene(cell_choice(structure, "conventional"))
    except RequestError:
        return build_scene(structure)
