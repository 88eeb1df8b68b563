"""Crystal Studio: the page table, and what every page needs."""

from contextlib import suppress

import streamlit as st

from crystal_core.errors import StorageFault
from crystal_core.jobs.worker import resume_jobs
from pages._ui.errors import guard
from pages._ui.link.address import show_address
from pages._ui.memory import freeze_modules
from pages._ui.theme import compact

NAME = "Crystal Studio"


def main() -> None:
    """Set up and run the page that the address names."""
    st.set_page_config(page_title=NAME, page_icon="static/icon.png", layout="wide")
    compact()
    freeze_modules()
    with guard(), suppress(StorageFault):  # a page that needs the runs says itself what is wrong with them
        resume_jobs()  # on every page: a run whose worker has died must not be shown as running
    page = st.navigation(
        [
            st.Page("pages/home.py", title="Home", icon=":material/home:", default=True),
            st.Page("pages/generate.py", title="Generate", icon=":material/grain:"),
            st.Page("pages/predict_structure.py", title="Predict structure", icon=":material/science:"),
            st.Page("pages/property_predictor.py", title="Property predictor", icon=":material/tune:"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare:"),
            st.Page("pages/viewer.py", title="Viewer", icon=":material/view_in_ar:"),
            st.Page("pages/history.py", title="History", icon=":material/history:"),
            st.Page("pages/models.py", title="Models", icon=":material/inventory_2:"),
        ],
        position="top",
    )
    st.set_page_config(page_title=NAME if page.title == "Home" else f"{page.title} · {NAME}")
    page.run()
    show_address()  # last: the page may have changed its query


if __name__ == "__main__":  # a process that a computation spawns imports this file under another name
    main()
