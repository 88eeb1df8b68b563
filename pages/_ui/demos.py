"""Recorded runs on the pages: a gallery that opens them, and the note that says what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.demos import Demo, find_demo, list_demos
from crystal_core.errors import RequestError
from crystal_core.jobs.queue import Job
from crystal_core.records import structure_from_record
from crystal_core.scene import build_scene, cell_choice
from pages._ui.candidates import show_results
from pages._ui.plain import plain
from pages._ui.runs import summary
from pages._ui.typeset import formula_text, group_text
from pages._ui.viewer import crystal_links

if TYPE_CHECKING:
    from pymatgen.core import Structure


@st.cache_data(ttl=600, show_spinner=False)  # a card may change: the weights that made a run are looked up again
def _cards() -> list[tuple[str, str, dict[str, object]]]:
    return [
        (demo.name, demo.request["formula"], _card(demo))
        for demo in sorted(list_demos(), key=lambda demo: (demo.request["start"] != "noise", demo.best["n_atoms"]))
    ]


def demo_gallery(page: str) -> None:
    """One card for each recorded run; a click opens it on ``page``."""
    demos = _cards()
    opened = crystal_links([card for *_, card in demos], key="demos")
    if opened is not None:
        name, formula, _ = demos[opened]
        st.switch_page(page, query_params={"demo": name, "formula": formula})


def demo_request(name: str) -> dict[str, Any]:
    """What was asked for in a recorded run, with the seed that was drawn; empty where there is no such run."""
    return next((dict(demo.request) | {"seed": demo.seed} for demo in list_demos() if demo.name == name), {})


def show_demo(name: str) -> None:
    """A recorded run in full, marked as such."""
    demo = find_demo(name)
    note = f" It was {demo.weights_note}: a new run will differ." if demo.weights_note else ""
    st.info(
        plain(f"Recorded run, not one of yours: {provenance(demo)}.{note} The form holds its settings: Predict structure runs it on this machine."),
        icon=":material/inventory:",
    )
    show_results(_as_job(demo))


def provenance(demo: Demo) -> str:
    """Where a recorded run comes from, in a few words."""
    return f"{demo.request['model']}, seed {demo.seed}, {demo.recorded}"


def _card(demo: Demo) -> dict[str, object]:
    best, note = demo.best, f" · {demo.weights_note}" if demo.weights_note else ""
    symbol = group_text((best["space_group"] or {}).get("symbol", "no symmetry"))
    return {
        "scene": build_scene(_standard(structure_from_record(best))), "title": f"{formula_text(demo.request['formula'])} · {symbol}",
        "caption": summary(_as_job(demo)), "mark": f"Recorded: {provenance(demo)}{note}",
    }  # fmt: skip


def _standard(structure: Structure) -> Structure:
    """In its conventional cell, where it has one: a model's choice of origin hides what everybody knows."""
    try:
        return cell_choice(structure, "conventional")
    except RequestError:
        return structure


def _as_job(demo: Demo) -> Job:
    """As the queue would hand it out, so that the same view shows it."""
    when = datetime.fromisoformat(demo.recorded).replace(tzinfo=UTC).timestamp()
    return Job(
        id=f"demo-{demo.name}", kind="predict-structure", request=dict(demo.request), state="done", created=when, started=when, finished=when,
        stage="done", step=1, n_steps=1, error=None, snapshot=None, result=dict(demo.result), trajectories=list(demo.trajectories), place=0,
    )  # fmt: skip
