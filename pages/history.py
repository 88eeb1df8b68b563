"""The runs of this browser, and on demand of all: reopen, download, repeat, change, delete."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime
from typing import Any

import streamlit as st

from crystal_core.chemistry.formula_markup import SUBSCRIPTS
from crystal_core.errors import RequestError
from crystal_core.files.property_table import spreadsheet_text
from crystal_core.jobs.job import Job
from crystal_core.jobs.queue import MAX_NOTE, JobQueue
from crystal_core.jobs.worker import ensure_worker
from pages._ui.compare.sending import offer_comparison
from pages._ui.errors import guard
from pages._ui.link.browser import browser_id, own_queue
from pages._ui.link.session import action_button
from pages._ui.run.archive import zip_name
from pages._ui.run.calls import as_command, as_python, settings_of, zip_of
from pages._ui.run.overview import overview
from pages._ui.run.runs import KIND_WORDS, PREDICT, link_of, model_of, plain_title_of, state_words, title_of
from pages._ui.text import duration, escape_markdown, sentence_case

ALL = "All"  # kinds of run

# pixels: on a phone the table scrolls sideways instead of squeezing its columns
WIDTHS = {
    "★": 30,
    "request": 190,
    "state": 105,
    "result": 290,
    "when": 125,
    "note": 95,
    "model": 105,
    "duration": 75,
}


def row(job: Job) -> dict[str, Any]:
    """One line of the table."""
    state, result = overview(job)
    return {
        "★": "★" if job.starred else "",
        "request": title_of(job),
        "state": state,
        "result": result,
        # a damaged entry may have lost its time
        "when": datetime.fromtimestamp(job.created).astimezone() if job.created else None,
        # the table can be saved as CSV, and another browser may have written it
        "note": spreadsheet_text(job.note),
        "model": model_of(job),
        "duration": duration(job.seconds) if job.seconds and job.seconds > 0 else "–",
    }


def matches(job: Job, text: str, kind: str, starred: bool) -> bool:
    """Whether the filter lets this run through: its request contains the text, in any case; kind and star.

    Args:
        kind: of :data:`KIND_WORDS`, or :data:`ALL`.
    """
    part = text.strip().translate(SUBSCRIPTS).casefold()
    return part in plain_title_of(job).casefold() and kind in (ALL, job.kind) and (job.starred or not starred)


@guard()  # a callback runs outside of main
def keep_note(job: str, key: str) -> None:
    """Store a typed note."""
    own_queue().mark(job, note=st.session_state[key])


def actions(job: Job) -> None:
    """Actions on one run."""
    page, query = link_of(job)
    own = own_queue().may_change(job)
    st.markdown(f"**{escape_markdown(title_of(job))}** · {escape_markdown(state_words(job))}")
    show_note(job, own=own)
    with st.container(horizontal=True, vertical_alignment="center"):
        if own and st.button(
            "Remove the star" if job.starred else "Star", icon=":material/star:", key="star"
        ):
            own_queue().mark(job.id, starred=not job.starred)
            st.rerun()
        with st.container(key="link-button-open", width="content"):
            st.page_link(page, label="Open", icon=":material/open_in_new:", query_params=query)
        if job.batch:
            st.page_link(
                PREDICT, label="Open its list", icon=":material/list:", query_params={"batch": job.batch}
            )
        if job.request and action_button(
            "Run again", key="again", help="The same request with the same seed."
        ):
            ensure_worker()
            request = settings_of(job)
            again = own_queue().submit(job.kind, request, parent=job.parent)
            has_page = job.kind in ("predict-property", "learn-property", "compare")
            target = again if has_page else job.parent or again
            st.switch_page(page, query_params={"job": target})
        if (
            job.request
            and job.kind not in ("relax", "learn-property", "infill")
            and st.button("Change and run", key="fork", help="Opens the form with these settings.")
        ):
            named = {"formula": job.request["formula"]} if "formula" in job.request else {}
            st.switch_page(page, query_params={"fork": job.id} | named)
        offer_comparison(job)
        if job.result:
            st.download_button(
                "Download all (zip)",
                lambda: zip_of(job),
                zip_name(job),
                "application/zip",
                key="zip",
                on_click="ignore",
            )
        end_run(job, own=own)
    if job.error:
        st.error(escape_markdown(job.error))
    show_calls(job)


def show_note(job: Job, *, own: bool) -> None:
    """The note of a run, to be written by its own browser."""
    if own:
        st.text_input(
            "Note",
            job.note,
            key=f"note-{job.id}",
            max_chars=MAX_NOTE,
            placeholder="What this run was for",
            on_change=keep_note,
            args=(job.id, f"note-{job.id}"),
        )
    elif job.note:
        st.caption(escape_markdown(job.note))


def end_run(job: Job, *, own: bool) -> None:
    """The button that cancels or deletes a run, for its own browser."""
    if not own:
        st.caption(
            "This run belongs to another browser, which alone can cancel or delete it.", width="content"
        )
    elif job.live and not is_stuck(job):
        if st.button("Cancel", key="cancel"):
            own_queue().cancel(job.id)
            st.rerun()
    elif st.button("Delete", key="delete"):
        confirm_delete(job)


def is_stuck(job: Job) -> bool:
    """Whether a run waits although its damaged entry can never run."""
    return job.state == "queued" and not job.request


def show_calls(job: Job) -> None:
    """The calls that make the run again; nothing where its settings are damaged or incomplete."""
    if not job.request:
        return
    with st.expander("The same call from the command line or Python"):
        try:
            calls = as_command(job), as_python(job)
        except KeyError as missing:
            st.caption(
                escape_markdown(
                    f"This run does not record its setting {missing}, so the call cannot be shown."
                )
            )
            return
        st.code(calls[0], language="bash")
        st.code(calls[1], language="python")


@st.dialog("Delete this run?")
def confirm_delete(job: Job) -> None:
    """Ask before anything is lost."""
    kinds = Counter(child.kind for child in JobQueue().list_children(job.id))
    words = [
        word if n == 1 else f"{n} {word}s"
        for kind, word in (("relax", "relaxation"), ("predict-property", "property prediction"))
        if (n := kinds[kind])
    ]
    more = f", and its {' and '.join(words)} with it" if words else ""
    st.write(f"**{escape_markdown(title_of(job))}**")
    st.write(f"This deletes its entry and its link{more}.")
    if st.button("Delete", type="primary", key="really"):
        try:
            if is_stuck(job):
                own_queue().cancel(job.id)  # only a run that is over can be deleted
            own_queue().delete(job.id)
        except RequestError as error:
            st.error(escape_markdown(error))
        else:
            st.rerun()


def main() -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("History", width="stretch")
        everyone = bool(browser_id()) and st.toggle(
            "Everyone's runs", key="everyone", help="Also those of other browsers and of the command line."
        )
    jobs = own_queue().list_jobs(results=False, own=not everyone)
    if not jobs:
        st.info("Nothing here yet. Try TiO2.")
        st.page_link(PREDICT, label="Predict a structure", icon=":material/science:")
        return
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="bottom")
    text = left.text_input(
        "Request", key="filter", placeholder="All; type a part of a formula, or an element"
    )
    present = {job.kind for job in jobs}
    kind = middle.selectbox(
        "Kind",
        [ALL, *(name for name in KIND_WORDS if name in present)],
        format_func=lambda name: sentence_case(KIND_WORDS.get(name, str(name))),
        key="kind",
    )
    starred = right.toggle("Starred only", key="starred")
    jobs = [job for job in jobs if matches(job, text, kind, starred)]
    if not jobs:
        st.info("No run fits this filter.")
        return
    st.caption("Runs stay on this machine until you delete them. Select one, by keyboard with Shift+Space.")
    # a row of another list is another run
    listed = hashlib.sha256("".join(job.id for job in jobs).encode()).hexdigest()[:12]
    chosen = st.dataframe(
        [row(job) for job in jobs],
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"runs-{listed}",
        width="stretch",
        column_config={name: st.column_config.Column(width=width) for name, width in WIDTHS.items()}
        | {"when": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=WIDTHS["when"])},
    )
    if chosen.selection.rows and chosen.selection.rows[0] < len(jobs):
        job = JobQueue().get(jobs[chosen.selection.rows[0]].id)
        if job:
            actions(job)


with guard():
    main()
