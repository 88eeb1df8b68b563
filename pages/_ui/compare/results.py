"""Numbers of a comparison: metrics, paired differences, distributions, powder patterns, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.demos import find_demo
from crystal_core.demos.comparisons import READY
from crystal_core.drawing.figures.comparison import counts_figure, distribution_figure, powder_figure
from crystal_core.drawing.scene import build_scene, coordination
from crystal_core.errors import CrystalCoreError
from crystal_core.evaluation.xrd import pattern, profile, radiation_text
from crystal_core.files.records import structure_from_record
from crystal_core.jobs.job import Job
from crystal_core.records import RunResult
from crystal_core.workflows.compare.export import (
    PAIRING,
    READING,
    comparison_csv,
    comparison_html,
    difference_text,
    interval_text,
    number_text,
)
from pages._ui.compare.form import COLOUR_NAMES
from pages._ui.compare.panes import show_crystals
from pages._ui.crystal.typeset import formula_text
from pages._ui.run.archive import zip_name
from pages._ui.run.calls import as_command, zip_of
from pages._ui.run.runs import COMPARE, DEMO, find_job
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown

QUANTITIES = {
    "density": "density (g/cm³)",
    "volume_per_atom": "volume per atom (Å³)",
    "space_group": "space group",
    "coordination": "coordination",
    "energy_per_atom_ev": "energy (eV/atom)",
    "predicted_formation_energy_per_atom_ev": "predicted formation energy (eV/atom)",
    "predicted_band_gap_ev": "predicted band gap (eV)",
}
COUNTED = ("space_group", "coordination")
FWHM = 0.3  # degrees, of the drawn powder patterns


def show_comparison(job: Job) -> None:
    """A comparison as far as it is finished."""
    result = job.result
    if not result or not result.get("columns"):
        return
    for note in result.get("notes", []):
        st.warning(escape_markdown(note))
    show_crystals(job.id)
    st.container(key="metrics").markdown(_metrics_table(result))
    st.caption(escape_markdown(READING))
    pairs, spread, powder, settings, calls = st.tabs(
        ["Paired differences", "Distributions", "Powder diffraction", "Settings that differ", "The same call"]
    )
    with pairs:
        _paired(result)
    with spread:
        _distributions(job.id, job.result_stamp, result)
    with powder:
        _powder(job.id, job.result_stamp, result)
    with settings:
        _settings(result)
    with calls:
        st.code(as_command(job), language="bash", wrap_lines=True)


def sentence(result: RunResult) -> str:
    """The comparison in a sentence: subjects and targets."""
    targets = result.get("targets") or []
    settings = result["settings"]
    labels = ", ".join(formula_text(target["label"]) for target in targets[:5])
    of = f"{labels}{f' and {len(targets) - 5} more' if len(targets) > 5 else ''} · " if targets else ""
    samples = "sample" if settings["n"] == 1 else "samples"
    return f"{of}{settings['n']} {samples}{' of each' if len(targets) > 1 else ''} · seed {settings['seed']}"


def show_head(job: Job | None) -> None:
    """The title with what can be done with the comparison beside it, and one line on what it is."""
    result = (job.result if job else None) or {}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Compare", width="stretch")
        if job is not None and result.get("columns"):
            _export(job, result)
        if job is not None and job.request:
            query = {"fork": job.id}
            st.page_link(COMPARE, label="Change and run", icon=":material/edit:", query_params=query)
    if result.get("columns"):
        words = [_ready_title(job), sentence(result)] if job else []
        st.caption(escape_markdown(" · ".join(filter(None, words))) + (_recorded(job) if job else ""))


def _ready_title(job: Job) -> str:
    """The title of a recorded comparison, by which its card opened it; empty for one of the user's own."""
    return next((one.title for one in READY if f"{DEMO}{one.name}" == job.id), "")


def _recorded(job: Job) -> str:
    """The note on a recorded comparison; empty for one of the user's own."""
    if not job.id.startswith(DEMO):
        return ""
    demo = find_demo(job.id.removeprefix(DEMO))
    note = f"; {demo.weights_note}, so a new run will differ" if demo.weights_note else ""
    return " · " + escape_markdown(f"recorded {demo.recorded}, not one of your runs{note}")


def _export(job: Job, result: RunResult) -> None:
    with st.popover("Export", icon=":material/download:"):
        name = zip_name(job).removesuffix(".zip")
        for label, make, ending, kind in (
            ("HTML, to look at", lambda: comparison_html(result), "html", "text/html"),
            ("CSV, the numbers", lambda: comparison_csv(result), "csv", "text/csv"),
            ("JSON, everything", lambda: _json(result), "json", "application/json"),
            ("Crystals and all files (zip)", lambda: zip_of(job), "zip", "application/zip"),
        ):
            st.download_button(
                label,
                make,
                f"{name}.{ending}",
                kind,
                key=f"export-{ending}",
                width="stretch",
                on_click="ignore",
            )


def _json(result: RunResult) -> str:
    import json

    return json.dumps(result, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _head(column: Mapping[str, Any]) -> str:
    place = "ABCD".index(column["letter"])
    return f":{COLOUR_NAMES[place]}[●] {column['letter']} · {escape_markdown(column['name'])}"


def _metrics_table(result: RunResult) -> str:
    """Metrics as a Markdown table; bold as :data:`READING` says."""
    columns = result["columns"]
    lines = [
        "| | " + " | ".join(map(_head, columns)) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for metric in result["metrics"]:
        cells = []
        for column in columns:
            entry = column["metrics"].get(metric["name"])
            if entry is None:
                cells.append("–")
                continue
            text = escape_markdown(number_text(entry["value"], metric["unit"], metric["kind"]))
            text = f"**{text}**" if entry["better"] else text
            interval = interval_text(entry["ci95"], metric["unit"])
            cells.append(text + (f" :small[({escape_markdown(interval)})]" if interval else ""))
        lines.append(f"| {escape_markdown(metric['title'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _paired(result: RunResult) -> None:
    metrics = {metric["name"]: metric for metric in result["metrics"]}
    rows = []
    for pair in result["paired"]:
        metric = metrics.get(pair["metric"])
        if metric is None:
            continue
        ci95 = pair["ci95"]
        rows.append(
            {
                "columns": f"{pair['b']} less {pair['a']}",
                "metric": metric["title"],
                "difference": difference_text(pair["difference"], metric["unit"]),
                "95 % interval": interval_text(ci95, metric["unit"]),
                "differs": "yes" if ci95 and (ci95[0] > 0 or ci95[1] < 0) else "unclear",
                "pairs": pair.get("n"),
            }
        )
    if not rows:
        st.info("No two columns share their seeds, so there are no pairs.")
        return
    show_table(rows)
    st.caption(escape_markdown(PAIRING))


def _settings(result: RunResult) -> None:
    differ = result["differing_settings"]
    if not differ:
        st.info("The columns have the same settings.")
        return
    heads = [f"{column['letter']} · {column['name']}" for column in result["columns"]]
    rows: list[dict[str, str | None]] = []
    for name, values in differ.items():
        texts = [None if v is None else str(v) for v in values]
        rows.append({"setting": name.replace("_", " "), **dict(zip(heads, texts, strict=True))})
    show_table(rows)
    st.caption("Settings equal in all columns are left out.")


def _distributions(job_id: str, stamp: str, result: RunResult) -> None:
    values = {
        name: [
            (column["letter"], [row[name] for row in column["samples"] if row.get(name) is not None])
            for column in result["columns"]
        ]
        for name in QUANTITIES
        if name != "coordination"
    }
    offered = [name for name in QUANTITIES if name == "coordination" or any(v for _, v in values[name])]
    chosen = st.selectbox(
        "Quantity",
        offered,
        format_func=QUANTITIES.__getitem__,
        key=f"quantity-{job_id}",
        label_visibility="collapsed",
    )
    by_letter: Sequence[tuple[str, list[Any]]] = (
        _surroundings(job_id, stamp) if chosen == "coordination" else values[chosen]
    )
    named = [(f"{letter}", "ABCD".index(letter), one) for letter, one in by_letter]
    if chosen in COUNTED:
        words = [(letter, place, [str(x) for x in one]) for letter, place, one in named]
        figure = counts_figure(words, QUANTITIES[chosen])
    else:
        figure = distribution_figure(named, QUANTITIES[chosen])
    st.plotly_chart(figure, width="stretch", key=f"spread-{job_id}-{chosen}")


@st.cache_data(max_entries=30, show_spinner="Counting neighbours …")
def _surroundings(job_id: str, stamp: str) -> list[tuple[str, list[str]]]:  # noqa: ARG001 (a part of the key)
    """Element and bonded neighbours of every site of every valid crystal, e.g. "Ti: 6 O"."""
    job = find_job(job_id)
    by_letter = []
    for column in ((job.result if job else None) or {}).get("columns", []):
        words = []
        for record in column["crystals"]:
            if not record["validity"]["structure"]:
                continue
            scene = build_scene(structure_from_record(record))
            for site, around in zip(scene["sites"], coordination(scene), strict=True):
                neighbours = ", ".join(part.split(" at ")[0] for part in around.split(", "))
                words.append(f"{site['e']}: {neighbours}")
        by_letter.append((column["letter"], words))
    return by_letter


def _powder(job_id: str, stamp: str, result: RunResult) -> None:
    columns = {column["letter"]: column for column in result["columns"] if column["crystals"]}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen: dict[str, str] = {}
        for letter, column in columns.items():
            names = [record["id"] for record in column["crystals"] if record["validity"]["structure"]]
            if names:
                words = {name: f"{letter} · {k}" for k, name in enumerate(names, start=1)}
                chosen[letter] = st.selectbox(
                    f"Crystal of {letter}",
                    names,
                    key=f"xrd-{job_id}-{letter}",
                    format_func=words.__getitem__,
                    width=150,
                )
        apart = st.toggle("One above the other", value=True, key=f"xrd-apart-{job_id}")
    patterns = []
    for letter, name in chosen.items():
        line = _pattern(job_id, stamp, letter, name)
        if isinstance(line, str):
            st.caption(escape_markdown(f"{letter}: {line}"))
        else:
            label = f"{letter} · {columns[letter]['name']}"
            patterns.append((label, "ABCD".index(letter), line))
    if patterns:
        figure = powder_figure(patterns, radiation_text("CuKa"), apart=apart)
        st.plotly_chart(figure, width="stretch", key=f"xrd-figure-{job_id}")


@st.cache_data(max_entries=100, show_spinner="Computing powder patterns …")
def _pattern(job_id: str, stamp: str, letter: str, name: str) -> Any:  # noqa: ARG001 (the stamp is a part of the key)
    """2θ and intensity of one crystal, or why it has no pattern."""
    job = find_job(job_id)
    columns = ((job.result if job else None) or {}).get("columns", [])
    record = next(r for c in columns if c["letter"] == letter for r in c["crystals"] if r["id"] == name)
    try:
        return profile(pattern(structure_from_record(record)), fwhm=FWHM)
    except CrystalCoreError as error:
        return str(error)
