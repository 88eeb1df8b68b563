"""Recorded runs on the pages: a gallery that opens them, and the note that says what they are."""

from __future__ import annotations

import streamlit as st

from crystal_core.demos import Demo, list_demos
from pages._ui.crystal.cached import arrangement_of, card_scene
from pages._ui.crystal.typeset import formula_text, group_of
from pages._ui.run.runs import GENERATE, PREDICT, as_job, summary, title_of
from pages._ui.text import escape_markdown
from pages._ui.viewer import crystal_links

FIRST = "zinc-sulphide"  # what everybody knows: zinc blende lowest, wurtzite next
PAGES = {"predict-structure": PREDICT, "generate": GENERATE}


# a card may change: the weights that made a run are looked up again
@st.cache_data(ttl=600, show_spinner=False)
def _cards(kinds: tuple[str, ...]) -> list[tuple[str, dict[str, str], dict[str, object]]]:
    """Page, query and picture of each.

    What the page leads with first, then what was made from nothing, then the smallest cells.
    """
    demos = [demo for demo in list_demos() if demo.kind in kinds]
    demos.sort(
        key=lambda demo: (
            demo.name != FIRST,
            demo.request.get("start", "noise") != "noise",
            demo.best["n_atoms"],
        )
    )
    runs = [as_job(demo) for demo in demos]
    return [(PAGES[demo.kind], {"job": run.id}, _card(demo)) for demo, run in zip(demos, runs, strict=True)]


def demo_gallery(*kinds: str) -> None:
    """One card for each recorded run of these kinds, or of all; a click opens it on its page."""
    demos = _cards(kinds or tuple(PAGES))
    opened = crystal_links([card for *_, card in demos], key="demos")
    if opened is not None:
        page, query, _ = demos[opened]
        st.switch_page(page, query_params=query)


def show_note(demo: Demo, button: str) -> None:
    """A note that a run is recorded: its origin, and how to repeat it."""
    note = f" It was {demo.weights_note}: a new run will differ." if demo.weights_note else ""
    more = f"{note} The form holds its settings: {button} runs it on this machine.".strip()
    st.markdown(
        f":blue-badge[Recorded run, not one of yours] :small[{escape_markdown(provenance(demo))}]",
        help=escape_markdown(more),
    )


def provenance(demo: Demo) -> str:
    """The origin of a recorded run, in a few words."""
    return f"{demo.request['model']}, seed {demo.seed}, {demo.recorded}"


def _card(demo: Demo) -> dict[str, object]:
    best, note = demo.best, f" · {demo.weights_note}" if demo.weights_note else ""
    kind = arrangement_of(best) or group_of(best)
    title = (
        title_of(as_job(demo))
        if demo.kind == "generate"
        else f"{formula_text(demo.request['formula'])} · {kind}"
    )
    return {
        "scene": card_scene(best),
        "title": title,
        "caption": summary(as_job(demo)),
        "mark": f"{provenance(demo)}{note}",
    }
