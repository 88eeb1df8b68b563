"""The archive of a run: its button, and a unique file name from request and time."""

from __future__ import annotations

import re
from datetime import datetime

import streamlit as st

from crystal_core.jobs.job import Job
from pages._ui.run.calls import zip_of


def offer_archive(job: Job) -> None:
    """The button that downloads all files of a run."""
    st.download_button(
        "Download all",
        lambda: zip_of(job),
        zip_name(job),
        "application/zip",
        key="all",
        icon=":material/download:",
        help="CIF, extxyz, JSON, paths",
        on_click="ignore",
    )


def zip_name(job: Job) -> str:
    """E.g.

    ``TiO2-2026-11-25-1410.zip``, ``new-crystals-Li-Fe-O-….zip``; the time is that of the request, local.
    """
    request = job.request
    if job.kind == "relax":
        words = "relaxed-crystals"
    elif job.kind == "predict-property":
        words = "properties"
    elif job.kind == "learn-property":
        words = f"learned-{request['column']}"
    elif job.kind == "infill":
        words = f"elements-{request.get('source', '')}"
    elif job.kind == "compare":
        words = "-".join(["compared", *(request.get("formulas") or ())])
    elif job.kind == "generate":
        words = "-".join(["new-crystals", *(request.get("elements") or ())])
    else:
        words = str(request.get("formula", job.kind))
    return timed_name(words, job.created)


def timed_name(words: str, when: float, ending: str = "zip") -> str:
    """``words``, as far as a file may be called so, with a moment (seconds since 1970) in local time."""
    stem = re.sub(r"[^A-Za-z0-9()+.-]+", "-", words)[:60].strip("-.") or "crystals"
    return f"{stem}-{datetime.fromtimestamp(when).astimezone():%Y-%m-%d-%H%M}.{ending}"
