"""A crystal with shared or partial sites, shown, measured and exported exactly as in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.symmetry import symmetry_figure
from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.drawing.scene import CELL_KINDS, build_scene, cell_choice, describe
from crystal_core.errors import CrystalCoreError
from crystal_core.evaluation.symmetry import MAX_ANALYSED, site_table, space_group_curve
from crystal_core.evaluation.xrd import pattern, profile, stick_height
from crystal_core.files.orderings import MOST_ATOMS, orderings
from crystal_core.files.parse import parse_text, with_shares
from crystal_core.files.records import zip_texts
from crystal_core.files.writers import shared_cif_text, structure_to_text
from pages._ui.crystal.cell_tables import show_lattice, show_sites
from pages._ui.crystal.colouring import ask_colouring, moment_words, options_for, show_values
from pages._ui.crystal.typeset import formula_text, group_text
from pages._ui.text import escape_markdown, sentence_case
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

RANGE, WIDTH = (5.0, 90.0), 0.2  # degrees 2θ
Shares = Sequence[Mapping[str, float]]


def show_shared(structure: Structure, occupancy: Mapping[str, Any], *, key: str) -> None:
    """The detail view of such a crystal.

    Args:
        structure: its cell and sites. occupancy: see :func:`crystal_core.files.parse.occupancy_of`.
    """
    shares, text = occupancy["shares"], structure_to_text(structure, "json")
    sentence = describe(structure, occupancy)
    picture, side = st.columns([4, 3], gap="medium")
    with picture:
        by = ask_colouring(options_for(structure, is_mixed=True), key)
        scene = build_scene(structure, sentence=sentence, shares=shares)
        crystal_viewer(show_values(scene, structure, text, by), key=f"{key}-viewer")
        if words := moment_words(structure):
            st.caption(words)
        st.caption("Shared and partly occupied sites are drawn in slices; white is vacant.")
    small = len(structure) <= MAX_ANALYSED
    names = ["Summary", "Sites", "Symmetry", "Diffraction", "Files"]
    summary, sites, symmetry, diffraction, files = side.container(key=f"facts-{key}").tabs(names)
    curve = _curve(text, shares) if small else []
    with summary:
        _summary(structure, occupancy, curve)
        st.code(sentence, language=None, wrap_lines=True)
    with sites:
        show_sites(_sites(text, shares) if small else [])
    with symmetry:
        if curve:
            st.plotly_chart(symmetry_figure(curve), width="stretch", key=f"{key}-symmetry")
            st.dataframe(curve, hide_index=True, width="stretch")
    with diffraction:
        try:
            reflections = _pattern(text, shares) if small else None
            if reflections is not None:
                line = profile(reflections, fwhm=WIDTH, two_theta=RANGE)
                height = stick_height(reflections, line, fwhm=WIDTH)
                figure = xrd_figure(reflections, line, RANGE, strongest=height)
                st.plotly_chart(figure, width="stretch", key=f"{key}-xrd")
        except CrystalCoreError as error:
            st.info(escape_markdown(error))
    with files:
        _files(structure, text, occupancy, key)


def _summary(structure: Structure, occupancy: Mapping[str, Any], curve: list[dict[str, Any]]) -> None:
    st.caption(escape_markdown(f"{sentence_case(occupancy['sites'])}."))
    group = next((row["space group"] for row in curve if row["tolerance (Å)"] == 0.1), "–")
    with st.container(horizontal=True, gap="medium"):
        st.metric("Formula", escape_markdown(formula_text(occupancy["formula"])), width="content")
        st.metric("Space group (0.1 Å)", group_text(group), width="content")
        st.metric("Density", f"{occupancy['density']:.2f} g/cm³", width="content")
    show_lattice(structure, counted="sites")
    st.text("Validity and novelty are not judged, because sites are shared or partly occupied.")


def _files(structure: Structure, text: str, occupancy: Mapping[str, Any], key: str) -> None:
    name = occupancy["formula"]
    cif = shared_cif_text(structure, occupancy["shares"])
    st.download_button("CIF", cif, f"{name}.cif", key=f"{key}-cif", on_click="ignore")
    st.caption(
        f"Models and relaxation need an ordered cell. Orderings are cells of up to {MOST_ATOMS} atoms "
        "with the same contents, lowest electrostatic energy first."
    )
    if not st.toggle("Make orderings", key=f"{key}-order"):
        return
    try:
        ordered_cells = _orderings(text, occupancy["shares"])
    except CrystalCoreError as error:
        st.info(escape_markdown(error))
        return
    st.download_button(
        f"{len(ordered_cells)} ordered cell{'' if len(ordered_cells) == 1 else 's'} as CIF",
        zip_texts({f"{name}-ordering-{k}.cif": cell for k, cell in enumerate(ordered_cells, start=1)}),
        f"{name}-orderings.zip",
        "application/zip",
        key=f"{key}-orderings",
        on_click="ignore",
    )


def _true(text: str, shares: Shares) -> Structure:
    return with_shares(parse_text(text, purpose="view"), shares)


@st.cache_data(max_entries=32, show_spinner=False)
def _curve(text: str, shares: Shares) -> list[dict[str, Any]]:
    return space_group_curve(_true(text, shares))


@st.cache_data(max_entries=32, show_spinner=False)
def _sites(text: str, shares: Shares) -> list[dict[str, Any]]:
    return site_table(_true(text, shares))


@st.cache_data(max_entries=32, show_spinner=False)
def _pattern(text: str, shares: Shares) -> Any:
    return pattern(cell_choice(_true(text, shares), CELL_KINDS[0]), "CuKa", RANGE)


@st.cache_data(max_entries=16, show_spinner="Making orderings …")
def _orderings(text: str, shares: Shares) -> list[str]:
    return [structure_to_text(one, "cif") for one in orderings(parse_text(text, purpose="view"), shares)]
