"""The first page: purpose and entry points."""

from __future__ import annotations

import streamlit as st

from crystal_core.demos import find_demo
from crystal_core.jobs.worker import expect_run
from pages._ui.crystal.cached import card_scene
from pages._ui.errors import guard
from pages._ui.link.browser import own_queue
from pages._ui.link.session import action_button
from pages._ui.run.demos import demo_gallery
from pages._ui.run.overview import overview
from pages._ui.run.runs import COMPARE, GENERATE, NO_SUMMARY, PREDICT, PROPERTIES, link_of, title_of
from pages._ui.text import escape_markdown
from pages._ui.viewer import crystal_viewer

RECENT = 5
HOME_DEMO = "titanium-dioxide"  # a recorded run
CARDS_IN_A_ROW = 3
CARDS = (
    (
        "Generate crystals",
        "New crystals, each with a verdict: valid, distinct, new, likely stable.",
        GENERATE,
        "Generate eight",
        "grain",
    ),
    (
        "Predict a structure",
        "From a formula to ranked candidate cells; download them as CIF.",
        PREDICT,
        "Start with TiO2",
        "science",
    ),
    (
        "Predict properties",
        "From CIFs to energies, band gap and moduli, each with its uncertainty.",
        PROPERTIES,
        "Open the predictor",
        "tune",
    ),
    (
        "Look at a crystal",
        "A CIF, POSCAR or extxyz: polyhedra, symmetry, diffraction, distances.",
        "pages/viewer.py",
        "Open the viewer",
        "view_in_ar",
    ),
    (
        "Compare",
        "Two to four models, samplers, runs or files: one camera, one clock, intervals.",
        COMPARE,
        "Compare samplers",
        "compare",
    ),
    (
        "Model cards",
        "Training data, measured accuracy and limits of each model.",
        "pages/models.py",
        "Read the cards",
        "inventory_2",
    ),
)


def main() -> None:
    expect_run()
    words, picture = st.columns([5, 6], gap="large", vertical_alignment="center")
    with words:
        st.title("Crystal Studio")
        st.markdown(
            "Predict and generate crystals with published models.  \nEverything runs on this machine."
        )
        ask_formula()
    with picture:
        show_crystal()
    st.header("Recorded runs")
    demo_gallery()
    recent()
    st.header("What you can do")
    columns = [*st.columns(CARDS_IN_A_ROW), *st.columns(CARDS_IN_A_ROW)]
    for column, (title, sentence, page, label, icon) in zip(columns, CARDS, strict=True):
        with column.container(border=True, height="stretch"):
            st.markdown(f"**{title}**")
            st.write(sentence)
            st.page_link(page, label=label, icon=f":material/{icon}:")


def ask_formula() -> None:
    """A formula and the button that opens the form with it."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="ask-formula"):
        formula = st.text_input("Formula", key="home-formula", placeholder="TiO2", width=320)
        if action_button("Predict structure", key="home-predict", type="primary", shortcut="Ctrl+Enter"):
            st.switch_page(PREDICT, query_params={"formula": formula.strip() or "TiO2"})


def show_crystal() -> None:
    """A recorded answer to the formula that the field suggests."""
    crystal_viewer(
        card_scene(find_demo(HOME_DEMO).best), key="home-crystal", height=420, rest=440, inviting=True
    )


def recent() -> None:
    """The latest runs of this browser, each a link."""
    st.header("Your recent runs")
    jobs = own_queue().list_jobs(limit=RECENT, results=False, own=True)
    if not jobs:
        st.caption("Nothing here yet. Try TiO2.")
        st.page_link(
            PREDICT, label="Predict a structure", icon=":material/science:", query_params={"formula": "TiO2"}
        )
    with st.container(key="recent", gap="xxsmall"):
        for job in jobs:
            page, query = link_of(job)
            state, result = overview(job)
            words = [title_of(job), state, *([result] if result != NO_SUMMARY else [])]
            icon = ":material/star:" if job.starred else ":material/open_in_new:"
            st.page_link(page, label=escape_markdown(" · ".join(words)), query_params=query, icon=icon)
        if jobs:
            st.page_link("pages/history.py", label="All runs", icon=":material/history:")


with guard():
    main()
