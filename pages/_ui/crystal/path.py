"""The frames of an uploaded trajectory: a player, and the energy of each frame where the file has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.scene import frame_scene
from crystal_core.files.records import cell_json
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from crystal_core.files.uploads import ParsedUpload


def is_path(items: Sequence[ParsedUpload]) -> bool:
    """Whether the crystals are the frames of one trajectory."""
    files = {item.name.rsplit(" #", 1)[0] for item in items}
    return len(items) > 1 and len(files) == 1 and all(item.frame is not None for item in items)


def show_path(items: Sequence[ParsedUpload], *, key: str) -> int:
    """The player and the energies; returns the index of the frame that is to be looked at in full."""
    scenes = [frame_scene(cell_json(item.structure)) for item in items if item.structure is not None]
    crystal_viewer(scenes[-1], key=f"{key}-path", frames=scenes, height=420)
    frames: list[dict[str, Any]] = [dict(item.frame or {}) for item in items]
    if all("energy" in frame for frame in frames):
        rows = [{"frame": frame["index"] + 1, "energy (eV)": frame["energy"]} for frame in frames]
        st.line_chart(rows, x="frame", y="energy (eV)", height=200)
    chosen = st.slider("Frame in full", 1, len(items), len(items), key=f"{key}-frame")
    return int(chosen) - 1
