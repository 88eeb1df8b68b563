"""What this is, and where to begin."""

from __future__ import annotations

import streamlit as st

from pages._ui.errors import guard
from pages._ui.link.browser import own_queue
from pages._ui.plain import plain
from pages._ui.run.demos import demo_gallery
from pages._ui.run.overview import overview
from pages._ui.run.runs import GENERATE, NO_SUMMARY, PREDICT, PROPERTIES, link_of, title_of

RECENT = 5
CARDS_IN_A_ROW = 3
CARDS = (
    (
        "Generate crystals",
        "Eight new ones, or as many as you like: which are valid, distinct, new and likely stable, and why.",
        GENERATE,
        "Generate eight",
        "grain",
    ),
    (
        "Predict a structure",
        "A formula becomes ranked candidate cells; watch them form, take them home as CIF.",
        PREDICT,
        "Start with TiO2",
        "science",
    ),
    (
        "Predict properties",
        "Drop CIFs: energies, band gap, moduli, each with its uncertainty and the closest known crystal.",
        PROPERTIES,
        "Open the predictor",
        "tune",
    ),
    (
        "Look at a crystal",
        "Drop a CIF, POSCAR or extxyz: polyhedra, symmetry, diffraction, distances.",
        "pages/viewer.py",
        "Open the viewer",
        "view_in_ar",
    ),
    (
        "Come back to a run",
        "Every run is kept on this machine, with its seed, its settings and its files.",
        "pages/history.py",
        "Open the history",
        "history",
    ),
    (
        "Know the models",
        "What each was trained on, what it reaches on crystals it has not seen, where it ends.",
        "pages/models.py",
        "Read the cards",
        "inventory_2",
    ),
)


def main() -> None:
    st.title("Crystal Studio")
    st.markdown(
        "Published generative models for crystals, trained on real data, in your browser. Everything runs on this machine."
    )
    st.subheader("See what comes out")
    st.caption(
        "Runs recorded with the models of this program: open one to look at its candidates and watch its cell form."
    )
    demo_gallery()
    recent()
    st.subheader("What you can do")
    columns = [*st.columns(CARDS_IN_A_ROW), *st.columns(CARDS_IN_A_ROW)]
    for column, (title, sentence, page, label, icon) in zip(columns, CARDS, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            st.write(sentence)
            st.page_link(page, label=label, icon=f":material/{icon}:")


def recent() -> None:
    """The latest runs of this browser, each a link."""
    st.subheader("Your recent runs")
    jobs = own_queue().list_jobs(limit=RECENT, results=False, own=True)
    if not jobs:
        st.caption("Nothing here yet. Try TiO2.")
        st.page_link(
            PREDICT, label="Predict a structure", icon=":material/science:", query_params={"formula": "TiO2"}
        )
    with st.container(gap="xxsmall"):
        for job in jobs:
            page, query = link_of(job)
            state, result = overview(job)
            words = [title_of(job), state, *([result] if result != NO_SUMMARY else [])]
            icon = ":material/star:" if job.starred else ":material/open_in_new:"
            st.page_link(page, label=plain(" · ".join(words)), query_params=query, icon=icon)


with guard():
    main()
