"""The crystals of a comparison side by side: one camera, one clock, cells in one orientation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.colours import COLUMNS
from crystal_core.drawing.scene import build_scene, cell_choice, frame_scene
from crystal_core.errors import CrystalCoreError
from crystal_core.evaluation.paths import displacement_to_end, volume_per_atom
from crystal_core.files.records import structure_from_record
from crystal_core.files.uploads import superposed
from crystal_core.properties import fixed
from crystal_core.reference.known_words import known_word
from crystal_core.workflows.compare.draw import KEPT_PATHS, path_label
from crystal_core.workflows.compare.request import LETTERS
from pages._ui.compare.look import keep_look, look_of_link, set_param
from pages._ui.crystal.typeset import formula_text, group_of
from pages._ui.errors import guard
from pages._ui.run.runs import VIEWER, find_job
from pages._ui.text import escape_markdown, sentence_case
from pages._ui.viewer import crystal_comparison

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.jobs.job import Job
    from crystal_core.records import ComparedColumn, CrystalRecord

MOST_FRAMES = 41  # of a path in the browser
PATHS, CELLS = "Paths", "Finished cells"
HEIGHTS = {2: 480, 3: 440, 4: 360}
REST = 468  # pixels of the window for the controls, the clock and the traces


@st.fragment
@guard()
def show_crystals(job_id: str) -> None:
    """The viewer with its choices, which the link keeps."""
    job = find_job(job_id)
    if job is None or job.result is None or not job.result.get("columns"):
        return
    columns = job.result["columns"]
    places = _places(columns)
    if not places:
        st.info("No column has a crystal to show.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        place = places[0]
        if len(places) > 1:
            places = _telling_first(places, columns)
            labels = {p: _place_words(job, p) for p in places}
            place = _linked(  # the first is what the link need not name
                st.selectbox,
                "Sample",
                places,
                "sample",
                lambda p: f"{p[0]}-{p[1]}",
                key=f"sample-{job_id}",
                labels=labels,
            )
        paths = _paths(job) if place[0] in (0, None) else {}
        has_paths = any((letter, place[1]) in paths for letter in LETTERS)
        ways = [PATHS, CELLS] if has_paths else [CELLS]
        way = ways[0]
        if len(ways) > 1:
            way = _linked(
                st.segmented_control,
                "Shown",
                ways,
                "shown",
                lambda w: w.split()[0].lower(),
                key=f"way-{job_id}",
            )
        aligned = _linked(
            st.toggle,
            "Align cells",
            [True, False],
            "align",
            lambda on: "1" if on else "0",
            key=f"align-{job_id}",
            help="Conventional cells, equal crystals in one orientation; "
            "a turned cell then does not look like another crystal.",
        )
    drawn = _panes(job_id, job.result_stamp, place, paths=way == PATHS, aligned=aligned)
    for sentence in drawn["missing"]:
        st.caption(escape_markdown(sentence))
    if not drawn["panes"]:
        return
    look = crystal_comparison(
        drawn["panes"],
        key=f"panes-{job_id}",
        traces=drawn["traces"],
        look=look_of_link(),
        height=HEIGHTS.get(len(drawn["panes"]), 440),
        rest=REST,
    )
    keep_look(look)
    with st.container(horizontal=True):
        for pane in drawn["panes"]:
            label, query = f"{pane['letter']} in the viewer", {"job": job_id, "crystal": pane["id"]}
            st.page_link(VIEWER, label=label, icon=":material/view_in_ar:", query_params=query)


def _linked(
    widget: Any, label: str, options: list[Any], name: str, word: Any, *, key: str, **settings: Any
) -> Any:
    """A choice that the link keeps under ``name``; the first option is not written into it."""
    words = {word(option): option for option in options}
    first = words.get(st.query_params.get(name, ""), options[0])
    labels = settings.pop("labels", None)
    if widget is st.toggle:
        value = widget(label, value=first, key=key, **settings)
    elif widget is st.selectbox:
        value = widget(
            label,
            options,
            index=options.index(first),
            key=key,
            format_func=labels.get,
            label_visibility="collapsed",
            width=260,
        )
    else:
        value = widget(label, options, default=first, required=True, key=key, label_visibility="collapsed")
    set_param(name, "" if value == options[0] else word(value))
    return value


def _places(columns: Sequence[ComparedColumn]) -> list[tuple[int | None, int]]:
    """Target and number of every sample that some column has, in order."""
    places = dict.fromkeys(place for column in columns for place in _by_place(column))
    return sorted(places, key=lambda p: (p[0] is None, p[0] or 0, p[1]))


def _by_place(column: ComparedColumn) -> dict[tuple[int | None, int], str]:
    """Target and number of each sample → id of its crystal; what was made from no seed of ours is counted."""
    id_at: dict[tuple[int | None, int], str] = {}
    counts: dict[int | None, int] = {}
    for row in column["samples"]:
        target = row["target"]
        number = counts.get(target, 0) if row["sample"] is None else row["sample"]
        counts[target] = number + 1
        if row["id"]:
            id_at[target, number] = row["id"]
    return id_at


def _telling_first(
    places: list[tuple[int | None, int]], columns: Sequence[ComparedColumn]
) -> list[tuple[int | None, int]]:
    """The samples in order, led by the one of the first target that most often equals a known crystal."""
    good = [
        (row["target"], row["sample"])
        for column in columns
        for row in column["samples"]
        if row.get("matches") or row.get("known")
    ]
    best = max(
        (p for p in places if p[1] < KEPT_PATHS and p[0] in (0, None)), key=good.count, default=places[0]
    )
    return [best, *(p for p in places if p != best)]


def _place_words(job: Job, place: tuple[int | None, int]) -> str:
    targets = (job.result or {}).get("targets") or []
    of = (
        "other formula"
        if place[0] is None and targets
        else ""
        if place[0] is None
        else formula_text(targets[place[0]]["label"])
    )
    number = f"sample {place[1] + 1}"
    return f"{of} · {number}" if of and len(targets) > 1 else sentence_case(number)


def _paths(job: Job) -> dict[tuple[str, int], list[Any]]:
    """Letter and number of the sample → frames, of the samples of the first target whose path was kept."""
    frames_of = {path["label"]: path["frames"] for path in job.trajectories}
    return {
        (letter, k): frames_of[name]
        for letter in LETTERS
        for k in range(len(frames_of))
        if (name := path_label(letter, k)) in frames_of
    }


@st.cache_data(max_entries=60, show_spinner="Preparing the crystals …")
def _panes(
    job_id: str,
    stamp: str,  # noqa: ARG001 (a part of the key)
    place: tuple[int | None, int],
    *,
    paths: bool,
    aligned: bool,
) -> dict[str, Any]:
    """The viewer's data for one sample of all columns, and a sentence for each empty column."""
    job = find_job(job_id)
    columns = ((job.result if job else None) or {}).get("columns", [])
    paths_of_cells = _paths(job) if job and paths else {}
    panes: list[dict[str, Any]] = []
    lines: list[tuple[list[float], list[float]] | None] = []
    missing, first = [], None
    for i, column in enumerate(columns):
        name = _by_place(column).get(place)
        record = next((r for r in column["crystals"] if r["id"] == name), None)
        if record is None:
            missing.append(f"{column['letter']}: no crystal for this sample.")
            continue
        frames = _thinned(paths_of_cells.get((column["letter"], place[1]), []))
        structure = structure_from_record(record)
        if frames:
            frames = [_upright(frame) for frame in frames] if aligned else frames
            structure = structure_from_record(frames[-1])
        elif aligned:
            structure = _aligned(structure, first)
            first = first or structure
        scene = build_scene(structure)
        panes.append(
            {
                "letter": column["letter"],
                "id": record["id"],
                "name": column["name"],
                "colour": COLUMNS[i],
                "scene": scene,
                "frames": [*(frame_scene(frame) for frame in frames[:-1]), scene] if frames else None,
                "caption": _caption(record),
            }
        )
        lines.append((volume_per_atom(frames), displacement_to_end(frames)) if frames else None)
    return {"panes": panes, "traces": _traces(lines), "missing": missing}


def _traces(lines: Sequence[tuple[list[float], list[float]] | None]) -> list[dict[str, Any]]:
    if not any(lines):
        return []
    volumes, ways = ([None if one is None else one[k] for one in lines] for k in (0, 1))
    return [
        {"title": "Volume per atom", "unit": "Å³", "lines": volumes},
        {"title": "Mean distance of the atoms from their final places", "unit": "Å", "lines": ways},
    ]


def _thinned(frames: Sequence[Any]) -> list[Any]:
    if len(frames) <= MOST_FRAMES:
        return list(frames)
    return [frames[round(k * (len(frames) - 1) / (MOST_FRAMES - 1))] for k in range(MOST_FRAMES)]


def _upright(frame: Mapping[str, Any]) -> dict[str, Any]:
    """The same cell with c along z and a in the plane of x and z.

    As it is where its lattice is too flat for that.
    """
    import numpy as np
    from pymatgen.core import Lattice

    lattice = Lattice(frame["lattice"])
    with suppress(ValueError, ZeroDivisionError, FloatingPointError):
        turned = Lattice.from_parameters(*lattice.parameters).matrix
        if np.isfinite(turned).all() and abs(np.linalg.det(turned)) > 1e-3:
            return {**frame, "lattice": turned.round(4).tolist()}
    return dict(frame)


def _aligned(structure: Structure, first: Structure | None) -> Structure:
    """In its conventional cell; laid onto the first crystal where it is the same one."""
    standard = structure
    with suppress(CrystalCoreError):
        standard = cell_choice(structure, "conventional")
    if first is None or first.composition.reduced_formula != structure.composition.reduced_formula:
        return standard
    return superposed(first, structure) or standard


def _caption(record: CrystalRecord) -> str:
    parts = [
        group_of(record),
        f"{record['density']:.2f} g/cm³",
    ]
    energies = record.get("energies")
    if energies and (energy := energies["energy_per_atom_ev"]) is not None:
        parts.append(f"{fixed(energy, 3)} eV/atom")
    reference, known = record.get("reference"), record.get("novelty")
    if reference is not None:
        parts.append(f"matches, RMSE {reference['rmsd']:.3f}" if reference["matches"] else "no match")
    elif known is not None and known["known"]:
        parts.append(f"{known_word(known)}: {known['nearest_id']}")
    if not record["validity"]["plausible"]:
        parts.append("implausible distances")
    return " · ".join(parts)
