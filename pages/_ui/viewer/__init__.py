"""The one 3D component: a crystal, or the path on which it formed. Data travel as JSON; the script is local."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

HERE = Path(__file__).parent
_component = st.components.v2.component(
    "crystal_viewer",
    html='<div class="xv"></div>',
    css=(HERE / "viewer.css").read_text(encoding="utf-8"),
    js=(HERE / "viewer.js").read_text(encoding="utf-8"),
)


def crystal_viewer(scene: dict[str, Any], *, key: str, frames: list[dict[str, Any]] | None = None, height: int = 440) -> None:
    """Draw a scene (:mod:`crystal_core.scene`); with ``frames``, a player that starts at the last one.

    The camera is kept when new data come under the same ``key``.
    """
    _component(key=key, data={"scene": scene, "frames": frames, "height": height})
