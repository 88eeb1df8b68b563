"""Relaxing crystals of a run or of the user: buttons, and the relaxation in progress."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.scene import frame_scene
from crystal_core.files.records import for_relaxing, given_json
from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import JobQueue
from crystal_core.jobs.worker import ensure_worker
from crystal_core.relax.potential import is_installed
from crystal_core.requests import RelaxationRequest, to_json
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button
from pages._ui.run.progress import part_panel
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord, Snapshot

NO_ID = re.compile(r"[^A-Za-z0-9]+")
WHAT = "Relaxes atoms and cell with CHGNet and estimates the energy above the hull."


def show_relaxing(job: Job) -> bool:
    """The latest relaxation of the run's crystals, while it is going on or if it ended early.

    Whether one is going on.
    """
    children = JobQueue().list_children(job.id, "relax")
    if n := sum(child.damaged for child in children[:-1]):
        several = (
            "1 earlier relaxation of this run is" if n == 1 else f"{n} earlier relaxations of this run are"
        )
        st.warning(f"{several} damaged and left out here; the history lists what can be deleted.")
    return part_panel(children, draw_relaxing)


def draw_relaxing(snapshot: Snapshot) -> None:
    """The cell as it stands now."""
    crystal_viewer(frame_scene(snapshot), key="relaxing", height=260, live=True)


def offer_relaxing(
    job: Job, records: Sequence[CrystalRecord], label: str, *, key: str, busy: bool, which: str = ""
) -> None:
    """A button that puts the relaxation of ``records`` into the queue.

    Nothing where there is no potential or nothing to do.

    Args:
        which: crystals it relaxes, in words.
    """
    if not records or not is_installed():
        return
    words = "A relaxation of this run is going on." if busy else f"{WHAT} {which}".strip()
    if action_button(label, key=key, icon=":material/bolt:", disabled=busy, help=words):
        own_queue().submit(
            "relax", to_json(RelaxationRequest(crystals=tuple(map(for_relaxing, records)))), parent=job.id
        )
        ensure_worker()
        st.rerun()


def offer_relaxing_own(structure: Structure, name: str) -> str | None:
    """A button that queues the relaxation of a user's crystal: the run's id when pressed, else None.

    Args:
        name: of its file, recorded as provenance.
    """
    if not is_installed() or not action_button(
        "Relax, energy above the hull", key="relax-own", icon=":material/bolt:", help=WHAT
    ):
        return None
    short = NO_ID.sub("-", formula_of(structure.composition))[:60].strip("-")
    crystal = {"id": short, **given_json(structure), "origin": None, "provenance": {"file": name}}
    job = own_queue().submit("relax", to_json(RelaxationRequest(crystals=(crystal,))))
    ensure_worker()
    return job
