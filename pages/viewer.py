"""Look at any crystal: an example, or pasted or uploaded text."""

from __future__ import annotations

import streamlit as st

from crystal_core.scene import build_scene
from crystal_core.structures import parse_text
from crystal_core.uploads import MAX_FILES, ParsedUpload, parse_uploads
from pages._ui.detail import show_structure
from pages._ui.errors import guard
from pages._ui.plain import plain
from pages._ui.viewer import MAX_CARDS, crystal_gallery

EXAMPLES = {
    "BaTiO3 (cubic perovskite)": "BaTiO3\n4.01\n1 0 0\n0 1 0\n0 0 1\nBa Ti O\n1 1 3\nDirect\n0 0 0\n.5 .5 .5\n.5 .5 0\n.5 0 .5\n0 .5 .5\n",
    "NaCl (rock salt)": "NaCl\n5.64\n1 0 0\n0 1 0\n0 0 1\nNa Cl\n4 4\nDirect\n0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n.5 .5 .5\n.5 0 0\n0 .5 0\n0 0 .5\n",
    "TiO2 (rutile)": "TiO2\n1\n4.594 0 0\n0 4.594 0\n0 0 2.959\nTi O\n2 4\nDirect\n0 0 0\n.5 .5 .5\n.305 .305 0\n.695 .695 0\n.195 .805 .5\n.805 .195 .5\n",
    "Si (diamond)": "Si\n5.431\n1 0 0\n0 1 0\n0 0 1\nSi\n8\nDirect\n0 0 0\n0 .5 .5\n.5 0 .5\n.5 .5 0\n.25 .25 .25\n.25 .75 .75\n.75 .25 .75\n.75 .75 .25\n",
}


def ask() -> list[tuple[str, bytes]] | None:
    """Name and content of what is to be shown; None for one of the examples."""
    how = st.segmented_control("Crystal", ["Example", "Upload", "Paste"], default="Example", key="how", label_visibility="collapsed")
    if how == "Upload":
        files = st.file_uploader(
            "CIF, POSCAR, extended XYZ or JSON; several files or a zip archive", key="file", accept_multiple_files=True,
            help=f"Up to 5 MB each, {MAX_FILES} files; they are read in a process of their own and stay on this machine.",
        )  # fmt: skip
        return [(file.name, file.getvalue()) for file in files]
    if how == "Paste":
        text = st.text_area("Structure text; the format is detected", key="text", height=200)
        return [("pasted text", text.encode())] if text.strip() else []
    return None


@st.cache_data(max_entries=16, show_spinner="Reading …")
def read(files: list[tuple[str, bytes]]) -> list[ParsedUpload]:
    """What the files hold, parsed in a child process."""
    return parse_uploads(files)


def example() -> list[ParsedUpload]:
    """One of our own crystals: read here, as no stranger wrote it."""
    name = st.selectbox("Example", list(EXAMPLES), key="example", label_visibility="collapsed")
    return [ParsedUpload(name=name, structure=parse_text(EXAMPLES[name]))]


def main() -> None:
    st.title("Viewer")
    files = ask()
    found = example() if files is None else read(files)
    for item in found:
        if item.error:
            st.error(plain(f"{item.name}: {item.error}"))
            read.clear(files)  # a reader that was too slow on a busy machine may be quicker the next time
    good = [item for item in found if item.structure is not None]
    if not good:
        return
    index = 0
    if len(good) > 1:
        shown = good[:MAX_CARDS]
        if len(good) > MAX_CARDS:
            page = st.pagination((len(good) + MAX_CARDS - 1) // MAX_CARDS, key="page")
            shown = good[(page - 1) * MAX_CARDS : page * MAX_CARDS]
        cards = [
            {"scene": build_scene(item.structure), "title": item.structure.composition.reduced_formula, "caption": item.name}
            for item in shown
            if item.structure is not None
        ]
        index = crystal_gallery(cards, key="gallery")
        good = shown
    chosen = good[index]
    if chosen.limitation:
        st.warning(chosen.limitation)
    if chosen.structure is not None:
        show_structure(chosen.structure, key="viewer")


with guard():
    main()
