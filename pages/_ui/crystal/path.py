"""The frames of an uploaded trajectory: a player, and the energy of each frame where the file has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.trajectory import energy_figure
from crystal_core.drawing.scene import frame_scene
from crystal_core.drawing.site_values import (
    VALENCE,
    coloured,
    colouring_of,
    colourings_in,
    longest_moment,
    span_of,
    with_moments,
)
from crystal_core.files.records import cell_json
from pages._ui.crystal.colouring import ELEMENT, ask_colouring, moment_words
from pages._ui.text import escape_markdown
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.files.uploads import ParsedUpload


def entries_of(items: Sequence[ParsedUpload]) -> list[list[ParsedUpload]]:
    """Crystals one by one, the frames of a trajectory together."""
    entries: list[list[ParsedUpload]] = []
    for item in items:
        last = entries[-1][-1] if entries else None
        if last is not None and _follows(last, item):
            entries[-1].append(item)
        else:
            entries.append([item])
    return entries


def file_of(item: ParsedUpload) -> str:
    """The file of a frame."""
    return item.name.rsplit(" #", 1)[0]


def _follows(earlier: ParsedUpload, later: ParsedUpload) -> bool:
    """Whether both are frames of one file, the second after the first."""
    return (
        earlier.frame is not None
        and later.frame is not None
        and file_of(earlier) == file_of(later)
        and earlier.frame["index"] < later.frame["index"]
    )


def show_path(items: Sequence[ParsedUpload], *, key: str) -> int:
    """The player and the energies; returns the index of the frame that is to be looked at in full."""
    structures = [item.structure for item in items if item.structure is not None]
    names = [name for name in colourings_in(structures[-1]) if name != VALENCE]
    scenes = _coloured(structures, ask_colouring(names, f"{key}-path"))
    crystal_viewer(scenes[-1], key=f"{key}-path", frames=scenes, height=420)
    if words := moment_words(structures[-1]):
        st.caption(words)
    frames: list[dict[str, Any]] = [dict(item.frame or {}) for item in items]
    if all("energy" in frame for frame in frames):
        numbers, energies = ([frame[name] for frame in frames] for name in ("index", "energy"))
        figure = energy_figure([number + 1 for number in numbers], energies)
        st.plotly_chart(figure, width="stretch", key=f"{key}-energies")
    chosen = st.slider("Frame in full", 1, len(items), len(items), key=f"{key}-frame")
    return int(chosen) - 1


def _coloured(structures: Sequence[Structure], by: str) -> list[dict[str, Any]]:
    """A scene of each frame; colours and arrows have one scale in all of them."""
    longest = max(map(longest_moment, structures))
    scenes = [with_moments(frame_scene(cell_json(structure)), structure, longest) for structure in structures]
    if by == ELEMENT:
        return scenes
    pairs = [colouring_of(structure, by, scene) for structure, scene in zip(structures, scenes, strict=True)]
    colourings = [colouring for colouring, _ in pairs]
    known = [colouring for colouring in colourings if colouring is not None]
    if not known:
        st.caption(escape_markdown(pairs[-1][1]))
        return scenes
    span = span_of(known)
    return [
        scene if colouring is None else coloured(scene, colouring, span)
        for scene, colouring in zip(scenes, colourings, strict=True)
    ]
