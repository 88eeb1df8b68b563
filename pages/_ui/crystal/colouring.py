"""By what the atoms of a crystal are coloured: the reader's choice, kept in the link.

Moments of its file as arrows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.site_values import (
    COORDINATION,
    VALENCE,
    Colouring,
    coloured,
    colouring_of,
    colourings_in,
    with_moments,
)
from crystal_core.errors import CrystalCoreError
from crystal_core.files.parse import parse_text
from crystal_core.files.site_values import site_values_of
from crystal_core.relax.potential import is_installed, load_potential
from pages._ui.crystal.cached import scene_of
from pages._ui.link.session import field, value_of
from pages._ui.text import escape_markdown, sentence_case

if TYPE_CHECKING:
    from pymatgen.core import Structure

ELEMENT = "Element"
FORCE, PREDICTED_MOMENT = "Force (CHGNet)", "Magnetic moment (CHGNet)"
MOST_PREDICTED = 200  # atoms of a cell whose forces a reader waits for
ALONG_C = "The file gives signed sizes of the moments: the arrows point along c or against it."
OTHER_CELL = "Moments and other values of the file are shown in the cell as given."
HELP = (
    "Coordination counts the bonds drawn; in oxides, bond-valence sums by O'Keeffe and Brese's element "
    "parameters are a third too high for Si and P, and half too low for Cu. CHGNet's forces and unsigned "
    "moments belong to the cell as shown, not relaxed."
)


def ask_colouring(names: Sequence[str], key: str) -> str:
    """One of ``names`` or the element; the link keeps the choice."""
    options = [ELEMENT, *names]
    linked = st.query_params.get("colour", "")
    first = next((name for name in options if _slug(name) == linked), ELEMENT)
    return field(
        st.selectbox,
        "Colour atoms by",
        options,
        index=first,
        key=f"{key}-colour",
        label_visibility="collapsed",
        format_func=lambda name: f"Colour: {sentence_case(name)}",
        help=HELP,
        width=150,
        on_change=_keep,
        args=(f"{key}-colour",),
    )


def options_for(structure: Structure, *, is_mixed: bool = False) -> list[str]:
    """What can colour the atoms, with models if installed and the cell is small enough."""
    names = colourings_in(structure)
    if is_mixed:
        return [name for name in names if name != VALENCE]
    small = len(structure) <= MOST_PREDICTED
    return [*names, *((FORCE, PREDICTED_MOMENT) if small and is_installed() else ())]


def show_values(scene: dict[str, Any], structure: Structure, text: str, by: str) -> dict[str, Any]:
    """The scene with colours and arrows; why a colouring is not possible is said.

    Args:
        text: the crystal as JSON, which names it for the caches.
    """
    scene = with_moments(scene, structure)
    if by == ELEMENT:
        return scene
    colouring, reason = _colouring(structure, text, by, scene)
    if colouring is None:
        st.caption(escape_markdown(reason))
        return scene
    return coloured(scene, colouring)


def moment_words(structure: Structure, *, is_given: bool = True) -> str:
    """A note on moments and other values of the file; empty where none is needed.

    Args:
        is_given: the cell is shown as the file gives it.
    """
    given = site_values_of(structure)
    if not is_given:
        return OTHER_CELL if given["moments"] or given["columns"] else ""
    return ALONG_C if given["moments"] and given["along_c"] else ""


def _colouring(
    structure: Structure, text: str, by: str, scene: dict[str, Any]
) -> tuple[Colouring | None, str]:
    if by in (FORCE, PREDICTED_MOMENT):
        try:
            forces, moments = _predicted(text)
        except CrystalCoreError as error:
            return None, str(error)
        values, unit = (forces, "eV/Å") if by == FORCE else (moments, "µB")
        return Colouring(label=by, unit=unit, values=tuple(values)), ""
    if by in (COORDINATION, VALENCE):
        return _of_cell(text, by)
    return colouring_of(structure, by, scene)


@st.cache_data(max_entries=32, show_spinner=False)
def _of_cell(text: str, by: str) -> tuple[Colouring | None, str]:
    return colouring_of(parse_text(text, purpose="view"), by, scene_of(text))


@st.cache_data(max_entries=32, show_spinner="Predicting with CHGNet …")
def _predicted(text: str) -> tuple[list[float], list[float]]:
    """Sizes of the forces (eV/Å) and moments (µB) of the sites."""
    import numpy as np

    structure, potential = parse_text(text, purpose="view"), load_potential()
    forces = np.linalg.norm(potential.predict(structure)["f"], axis=1)
    return forces.tolist(), potential.moments(structure).tolist()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _keep(key: str) -> None:
    by = value_of(key, ELEMENT)
    if by == ELEMENT:
        st.query_params.pop("colour", None)
    else:
        st.query_params["colour"] = _slug(by)
