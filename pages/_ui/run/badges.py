"""Verdicts as badges with their reason beside them, and the state of a run as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from pages._ui.text import duration, escape_markdown

if TYPE_CHECKING:
    from crystal_core.jobs.job import Job
    from pages._ui.run.verdict import Verdict

COLOURS = {"good": "green", "bad": "orange", "open": "gray", "known": "blue"}
SIGNS = {"good": "✓", "bad": "✗", "open": "·", "known": "✓"}
PROJECT = re.compile(r"\bmp-(\d+)\b")
ADDRESS = "https://next-gen.materialsproject.org/materials/mp-"


def show_verdict(verdict: Verdict, more: str = "") -> None:
    """One line: the badge, its reason, and ``more``; ids of the Materials Project are links."""
    st.markdown(
        f":{COLOURS[verdict.tone]}-badge[{SIGNS[verdict.tone]} {escape_markdown(verdict.word)}] "
        f":small[{linked(verdict.reason + more)}]"
    )


def show_passed(verdicts: Sequence[Verdict]) -> None:
    """One line of the good ones among the verdicts, with their reasons behind the help sign."""
    good = [verdict for verdict in verdicts if verdict.tone == "good"]
    if good:
        badges = " ".join(
            f":{COLOURS['good']}-badge[{SIGNS['good']} {escape_markdown(verdict.word)}]" for verdict in good
        )
        st.markdown(badges, help="\n\n".join(escape_markdown(verdict.reason) for verdict in good))


def linked(text: str) -> str:
    r"""``text`` as Markdown, with the ids of the Materials Project as links.

    >>> linked("It is mp-390.")
    'It is [mp-390](https://next-gen.materialsproject.org/materials/mp-390)\\.'
    """
    return PROJECT.sub(rf"[mp-\1]({ADDRESS}\1)", escape_markdown(text))


def show_state(job: Job, words: str) -> None:
    """The outcome of a run in one line: green once finished, grey while its order may change."""
    result = job.result or {}
    state = f"{words} · {duration(result['seconds'])} · seed {result['settings']['seed']}"
    badge = ":gray-badge[Provisional order]" if job.live else ":green-badge[✓ Finished]"
    st.markdown(f"{badge} :small[{escape_markdown(state)}]")
