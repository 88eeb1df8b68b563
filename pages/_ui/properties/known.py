"""Training crystals around the predicted ones: those most alike, and the map of all."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.latent_map import map_figure, shown_rows
from crystal_core.properties import shown_unit
from crystal_core.reference.known_cells import known_cell
from crystal_core.registry.property_cards import known_crystals
from pages._ui.crystal.typeset import formula_text
from pages._ui.properties.words import DISTANCE, label_of, name_of, value_words
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crystal_core.predictors.latent_index import LatentIndex
    from crystal_core.records import PropertyColumn, PropertyRow

MAP = (
    "Each point is a training crystal; crystals that the model finds alike lie together. Axes: the two "
    "directions in which its features vary most."
)


def show_known(
    model: str,
    rows: Sequence[PropertyRow],
    chosen: PropertyRow,
    columns: Sequence[PropertyColumn],
    *,
    key: str,
) -> None:
    """Two tabs: the training crystals closest to the chosen crystal with their true values, and the map."""
    if not chosen.get("nearest"):
        return
    alike, chart = st.tabs(["Crystals like this one", "Map of known crystals"])
    with alike:
        show_table(
            [_alike(near, columns) for near in chosen["nearest"]],
            column_config={
                "distance": st.column_config.NumberColumn(format="%.2f", help=DISTANCE),
                **{label_of(c): st.column_config.TextColumn(alignment="right") for c in columns},
            },
        )
    with chart:
        index = _index(model)
        if index is None or "place" not in chosen:
            st.caption("The training crystals of this model are not installed.")
            return
        _map(index, rows, columns, key)


def _alike(near: Any, columns: Sequence[PropertyColumn]) -> dict[str, Any]:
    values = near["values"]
    known = {label_of(c): value_words(values[c["name"]], c) for c in columns if c["name"] in values}
    return {"crystal": formula_text(near["formula"]), "id": near["id"], "distance": near["distance"], **known}


@st.cache_resource(max_entries=2, show_spinner=False)
def _index(model: str) -> LatentIndex | None:
    return known_crystals(model)


def _map(
    index: LatentIndex, rows: Sequence[PropertyRow], columns: Sequence[PropertyColumn], key: str
) -> None:
    drawn = [column for column in columns if column["name"] in index.values]
    if not drawn:
        return
    titles = {column["name"]: column for column in drawn}
    name = st.selectbox(
        "Colour",
        list(titles),
        format_func=lambda choice: titles[choice]["title"],
        key=f"{key}-colour",
        help=MAP,
    )
    column, values = titles[name], index.values[name]
    some = shown_rows(values)
    placed = [row for row in rows if "place" in row]
    figure = map_figure(
        index.map_places[some],
        values[some] * float(column.get("shown_factor", 1.0)),
        [
            f"{formula_text(index.formulas[k])} "
            f"({index.ids[k]})<br>{value_words(float(values[k]), column)} {shown_unit(column)}"
            for k in some.tolist()
        ],
        label=label_of(column),
        logarithmic=column["logarithmic"],
        own=[(row["place"][0], row["place"][1]) for row in placed],
        own_words=[name_of(row) for row in placed],
    )
    state = st.plotly_chart(
        figure, width="stretch", key=f"{key}-map-{name}", on_select="rerun", selection_mode="points"
    )
    points = [p for p in state.selection.points if p.get("curve_number") == 0]
    if points:
        _show_point(index, int(some[points[0]["point_index"]]), columns)
    else:
        st.caption(f"{len(some):,} training crystals; click one to read what is known of it.")


def _show_point(index: LatentIndex, row: int, columns: Sequence[PropertyColumn]) -> None:
    known = {
        label_of(c): value_words(float(index.values[c["name"]][row]), c)
        for c in columns
        if c["name"] in index.values and isfinite(index.values[c["name"]][row])
    }
    st.markdown(escape_markdown(f"{formula_text(index.formulas[row])} ({index.ids[row]})"))
    show_table([known])
    structure = known_cell(index.ids[row])
    if structure is not None:
        from crystal_core.drawing.scene import build_scene
        from pages._ui.viewer import crystal_viewer

        crystal_viewer(build_scene(structure), key=f"known-{index.ids[row]}", height=300)
