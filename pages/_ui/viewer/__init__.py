"""The 3D components: one crystal (or the path on which it formed), several side by side, and a gallery.

Data travel as JSON; scripts are local.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from pages._ui.theme import REST

HERE = Path(__file__).parent
MAX_CARDS = 24
SCRIPTS = (  # scripts of the viewer, in order of dependence
    "draw.js",
    "camera.js",
    "picture.js",
    "pace.js",
    "measure.js",
    "marks.js",
    "player.js",
    "viewer.js",
)


def _text(*names: str) -> str:
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


_viewer = st.components.v2.component(
    "crystal_viewer",
    html='<div class="xv"></div>',
    css=_text("viewer.css"),
    js=_text(*SCRIPTS, "mount.js"),
)
_comparison = st.components.v2.component(
    "crystal_comparison",
    html='<div class="xc"></div>',
    css=_text("viewer.css", "compare.css"),
    js=_text(*SCRIPTS, "traces.js", "compare.js"),
)
_gallery = st.components.v2.component(
    "crystal_gallery",
    html='<div class="xg"></div>',
    css=_text("viewer.css"),
    js=_text("draw.js", "camera.js", "picture.js", "gallery.js"),
)


def crystal_viewer(
    scene: dict[str, Any],
    *,
    key: str,
    frames: list[dict[str, Any]] | None = None,
    height: int = 600,
    rest: int = REST,
    selected: Sequence[int] = (),
    report: bool = False,
    live: bool = False,
    inviting: bool = False,
) -> int | None:
    """Draw a scene (:mod:`crystal_core.drawing.scene`).

    With ``frames``, a player that starts at the last one.

    The camera and the chosen look are kept when new data come under the same ``key``.

    Args:
        height: pixels, where the window leaves ``rest`` pixels for what else is to be in sight; else as much
            as it leaves.
        selected: sites to highlight.
        report: rerun the page when an atom is clicked.
        live: the scene belongs to a run that is going on: where drawing is slow, scenes are skipped rather
            than the run held up.
        inviting: without controls; it turns once and then rests.

    Returns:
        The site that was clicked just now, or None.
    """
    data = {
        "scene": scene,
        "frames": frames,
        "height": height,
        "rest": rest,
        "selected": list(selected),
        "report": report,
        "live": live,
        "inviting": inviting,
    }
    result = _viewer(key=key, data=data, on_picked_change=lambda: None)
    return getattr(result, "picked", None)


def crystal_comparison(
    panes: list[dict[str, Any]],
    *,
    key: str,
    traces: list[dict[str, Any]],
    look: dict[str, Any],
    height: int = 420,
    rest: int = 440,
) -> dict[str, Any]:
    """Several crystals, or the paths on which they formed, side by side under one camera and one clock.

    Args:
        panes: of each {letter, name, colour, scene, frames, caption}; frames are None for what has no path.
        traces: drawn under the clock, of each {title, unit, lines}: per pane the values along its path, or
            None.
        look: what the reader chose before: linked (bool), at (share of the path, 0 to 1), style, polyhedra
            (bool), cameras (by letter of the pane: the point that it looks at, distance and quaternion; under
            "": distance and quaternion of all panes), hidden (by letter of the pane: elements).
        height, rest: of each picture, see :func:`crystal_viewer`.

    Returns:
        The look as it is now, with the same keys.
    """
    data = {"panes": panes, "traces": traces, "look": look, "height": height, "rest": rest}
    result = _comparison(key=key, data=data, default={"look": look}, on_look_change=lambda: None)
    return getattr(result, "look", None) or look


def crystal_gallery(items: list[dict[str, Any]], *, key: str, first: int = 0, strip: bool = False) -> int:
    """Cards with a picture each; returns the index of the chosen one, at the beginning ``first``.

    The choice follows the ``id`` of its card, wherever a new order under the same ``key`` moves that.

    Args:
        items: at most 24 of {scene, title, caption} and, where wanted, id (else its place), many (how many
            are alike), name (of
            the arrangement), bar ({share, text, title}), signs ([sign, words on hover]), badges ([tone, word]
            with the tones good, bad, known and open), provisional (bool: drawn grey) and mark, a last line.
        strip: one row that scrolls sideways.
    """
    cards = [{"id": str(k), **item} for k, item in enumerate(items[:MAX_CARDS])]
    places = {card["id"]: k for k, card in enumerate(cards)}
    chosen = places.get(st.session_state.get(key, {}).get("selected"), first)
    result = _gallery(
        key=key,
        data={"items": cards, "selected": chosen, "strip": strip},
        default={"selected": None},
        on_selected_change=lambda: None,
    )
    return places.get(getattr(result, "selected", None), first)


def crystal_links(items: list[dict[str, Any]], *, key: str) -> int | None:
    """Cards as in :func:`crystal_gallery` that open something: the index just clicked, else None."""
    result = _gallery(
        key=key,
        data={"items": items[:MAX_CARDS], "selected": -1, "opens": True},
        on_opened_change=lambda: None,
    )
    opened = getattr(result, "opened", None)
    return opened if opened is not None and opened < len(items) else None
