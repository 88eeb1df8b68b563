"""A user's own crystals: uploaded files, which outlive their field, and pasted text."""

from __future__ import annotations

import streamlit as st

from crystal_core.files.uploads import MAX_FILE_BYTES, MAX_FILES, ParsedUpload, parse_uploads
from pages._ui.link.browser import browser_id
from pages._ui.link.session import field, get_state, set_state
from pages._ui.text import escape_markdown

MAX_ARCHIVE_MB = 20


def ask_uploads(begin: str = "", most: int = MAX_FILES) -> list[tuple[str, bytes]]:
    """Name and content of the files last uploaded.

    The field itself is empty again after another page was shown.

    Args:
        begin: of the keys, which tell one page's files from another's. most: files that will be read.
    """
    chosen = st.file_uploader(
        "CIF, POSCAR, XDATCAR, extended XYZ, PDB or JSON; several files or a zip archive",
        key=f"{begin}file",
        accept_multiple_files=True,
        on_change=_keep_files,
        args=(begin,),
        max_upload_size=MAX_ARCHIVE_MB,
        help=f"A file up to {MAX_FILE_BYTES // 10**6} MB, an archive up to {MAX_ARCHIVE_MB} MB, "
        f"{most:,} files in all. They stay on this machine.",
    )
    uploads = get_state(f"{begin}uploaded") or []
    if uploads and not chosen:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                escape_markdown(
                    f"Still here: {uploads[0][0]}"
                    + (f" and {len(uploads) - 1} more" if len(uploads) > 1 else "")
                )
            )
            st.button(
                "Remove",
                key=f"{begin}remove",
                type="tertiary",
                icon=":material/close:",
                on_click=set_state,
                args=(f"{begin}uploaded", None),
            )
    return uploads


def ask_text(begin: str = "") -> list[tuple[str, bytes]]:
    """The pasted text as a file; none while it is blank."""
    text = field(
        st.text_area,
        "Structure text; the format is detected",
        key=f"{begin}text",
        height=200,
        persist_state="session",
    )
    return [("pasted text", text.encode())] if text.strip() else []


def _keep_files(begin: str) -> None:
    chosen = get_state(f"{begin}file") or []
    set_state(f"{begin}uploaded", [(file.name, file.getvalue()) for file in chosen])


def read_files(files: list[tuple[str, bytes]], most: int = MAX_FILES) -> list[ParsedUpload]:
    """The contents of the files, parsed in a child process.

    The next call tries again what the child was too slow for.
    """
    items = _read(files, most, browser_id())
    if any(item.unsettled for item in items):
        _read.clear(files, most, "")  # the browser is no part of the key
    return items


@st.cache_data(max_entries=16, show_spinner="Reading …")
def _read(files: list[tuple[str, bytes]], most: int, _browser: str) -> list[ParsedUpload]:
    return parse_uploads(files, most=most, client=_browser)
