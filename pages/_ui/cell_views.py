"""The ways to look at one crystal: by itself, over what it was before, over a known one; shared by predictions and generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.structures import parse_text, structure_to_text
from crystal_core.uploads import superposed
from pages._ui.detail import show_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

OVER, NEAREST = "Over the known crystal", "Nearest known crystal"


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One way to look.

    Attributes:
        origin: where the cell comes from, in words. provenance: of what was made by a model.
        pale: drawn pale over it, the same sites in the same order. what: of the two is solid and which is pale, a sentence each.
    """

    structure: Structure
    origin: str
    provenance: Mapping[str, Any] | None = None
    pale: Structure | None = None
    what: str = ""


def known_views(record: Mapping[str, Any], shown: CellView) -> dict[str, CellView]:
    """The nearest known crystal: pale over the one shown where both match, else by itself; nothing where its cell is not at hand."""
    nearest = (record.get("novelty") or {}).get("nearest_id")
    if not nearest:
        return {}
    known, over = _known(structure_to_text(shown.structure, "json"), nearest)
    if over is not None:
        return {OVER: _over(shown, over, "Solid: this crystal. Pale, with the dashed cell: the known one.")}
    return {} if known is None else {NEAREST: CellView(structure=known, origin=f"known crystal {nearest}")}


def _over(shown: CellView, pale: Structure, what: str) -> CellView:
    return CellView(structure=shown.structure, origin=shown.origin, provenance=shown.provenance, pale=pale, what=what)


def show_views(views: Mapping[str, CellView], *, key: str) -> None:
    """The view of the reader's choice, the first one until there is a choice."""
    ways = list(views)
    way = ways[0]
    if len(ways) > 1:
        chosen = f"way-{key}-{len(ways)}"
        way = st.segmented_control("Cell shown", ways, default=ways[0], required=True, key=chosen, label_visibility="collapsed")
    view = views[way]
    if view.what:
        st.caption(f"{view.what} Lines join the two places of an atom.")
    name = f"shown-{key}-{ways.index(way)}-{len(ways)}"
    show_structure(view.structure, key=name, provenance=view.provenance, origin=view.origin, pale=view.pale)


@st.cache_data(max_entries=64, show_spinner="Looking up the known crystal …")
def _known(text: str, nearest: str) -> tuple[Structure | None, Structure | None]:
    """The known crystal of an id, where its cell is at hand; and laid over the one in ``text``, where both match."""
    from crystal_core.reference.known_cells import known_cell

    known = known_cell(nearest)
    return known, None if known is None else superposed(parse_text(text, purpose="view"), known)
