"""The ways to look at one crystal: by itself, over what it was before, over a known one.

Shared by predictions and generations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

from crystal_core.files.parse import parse_text
from crystal_core.files.uploads import superposed
from crystal_core.files.writers import structure_to_text
from pages._ui.crystal.detail import show_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord, Provenance

OVER, NEAREST = "Over the known crystal", "Nearest known crystal"


@dataclass(frozen=True, kw_only=True)
class CellView:
    """One way to look.

    Attributes:
        origin: where the cell comes from, in words; empty where the page says it elsewhere.
        provenance: of what was made by a model.
        pale: drawn pale over it, the same sites in the same order.
        what: of the two is solid and which is pale, a sentence each.
        judged: the words of the verdicts that the page says elsewhere; the summary does not repeat them.
    """

    structure: Structure
    origin: str = ""
    provenance: Provenance | None = None
    pale: Structure | None = None
    what: str = ""
    judged: frozenset[str] = frozenset()


def known_views(record: CrystalRecord, view_of_cell: CellView) -> dict[str, CellView]:
    """The nearest known crystal: pale over the one shown where both match, else alone.

    Empty if its cell is not installed.
    """
    from crystal_core.reference.known_cells import known_cell

    novelty = record.get("novelty")
    nearest = novelty.get("nearest_id") if novelty else None
    known = known_cell(nearest) if nearest else None
    if known is None:
        return {}
    view = laid_over(view_of_cell, known, "Solid: this crystal. Pale, with the dashed cell: the known one.")
    return {OVER: view} if view else {NEAREST: CellView(structure=known, origin=f"known crystal {nearest}")}


def laid_over(solid: CellView, other: Structure, what: str) -> CellView | None:
    """``other`` turned and repeated so that it lies pale over the crystal shown.

    None where the two do not match.
    """
    pale = _superposed(structure_to_text(solid.structure, "json"), structure_to_text(other, "json"))
    return None if pale is None else replace(solid, pale=pale, what=what)


def show_views(views: Mapping[str, CellView], *, key: str, head: Callable[[], None] | None = None) -> None:
    """The view of the reader's choice, the first one until there is a choice.

    ``head`` draws what stands above its facts.
    """
    ways = list(views)
    way = ways[0]
    if len(ways) > 1:
        chosen = f"way-{key}-{len(ways)}"
        way = st.segmented_control(
            "Cell shown", ways, default=ways[0], required=True, key=chosen, label_visibility="collapsed"
        )
    view = views[way]
    if view.what:
        st.caption(f"{view.what} Lines join the two places of an atom.")
    show_structure(
        view.structure,
        # the first view keeps its picture and its tabs when relaxing changes its cell and adds further views
        key=f"shown-{key}" if way == ways[0] else f"shown-{key}-{way}",
        provenance=view.provenance,
        origin=view.origin,
        pale=view.pale,
        judged=view.judged,
        head=head,
    )


@st.cache_data(max_entries=64, show_spinner="Laying one crystal over the other …")
def _superposed(text: str, other: str) -> Structure | None:
    return superposed(parse_text(text, purpose="view"), parse_text(other, purpose="view"))
