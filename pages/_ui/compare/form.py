"""The form of a comparison: what is predicted, and two to four columns of models, runs or files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from typing import Any

import streamlit as st

from crystal_core.checks import check_whole
from crystal_core.chemistry.formula import parse_formula
from crystal_core.demos import list_demos
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.registry.property_cards import is_installed as has_predictor
from crystal_core.registry.store import runnable_cards
from crystal_core.relax.potential import is_installed as has_potential
from crystal_core.workflows.compare.given import KINDS, column_of_files, column_of_run
from crystal_core.workflows.compare.request import (
    LETTERS,
    MAX_SAMPLES,
    STARTS,
    ComparisonRequest,
    ModelColumn,
)
from crystal_core.workflows.prediction_plan import has_prototypes
from pages._ui.forms.drafting import OWN, UNREFINED, ask_refiner, refines_drafts
from pages._ui.forms.own_files import ask_uploads, read_files
from pages._ui.forms.samplers import SAMPLERS, seed_of
from pages._ui.link.browser import own_queue
from pages._ui.link.session import field, get_state, set_state, value_of
from pages._ui.run.runs import DEMO, as_job, find_job, plain_title_of, title_of
from pages._ui.text import escape_markdown, not_installed

SOURCES = {"model": "Model", "run": "A run", "files": "Files"}
UNCHANGED = "As it was"
MOST_FORMULAS = 12
RECENT = 40
COLOUR_NAMES = ("blue", "orange", "green", "violet")
BEGIN = "cmp-"  # of the keys of all fields
SAMPLES = "Samples of each"


def models() -> list[str]:
    """The checkpoints that place the atoms of a formula, the most general first."""
    cards = [
        card
        for card in runnable_cards("generator")
        if card.task == "structure prediction" or "composition" in card.conditions
    ]
    return [
        card.name for card in sorted(cards, key=lambda c: (c.loader == "prototype", -len(c.elements), c.name))
    ]


def default_columns(installed: Sequence[str]) -> list[dict[str, Any]]:
    """The first columns: two samplers of the most general model."""
    model = "kldm-csp-mp" if "kldm-csp-mp" in installed else next(iter(installed), "")
    return [
        {"model": model, "sampler": "em", "steps": 100},
        {"model": model, "sampler": "pc", "steps": 50},
        {"model": model, "sampler": "fast", "start": "prototype"},
        {"model": model, "sampler": "ode"},
    ]


def fields_of(request: Mapping[str, Any], seed: str) -> dict[str, Any]:
    """Key → value of every field of the form for a request; an empty request gives the defaults."""
    installed = models()
    columns = list(request.get("columns") or ())
    targets = [item.get("id", "") for item in request.get("targets") or ()]
    # settings without a field stay as long as their model and sampler stay
    set_state(f"{BEGIN}asked", dict(request))
    values: dict[str, Any] = {
        f"{BEGIN}formula": ", ".join(request.get("formulas") or ([] if targets else ["TiO2"])),
        f"{BEGIN}z": request.get("z") or 0,
        f"{BEGIN}n": request.get("n", 4),
        f"{BEGIN}seed": seed,
        f"{BEGIN}count": max(2, len(columns)),
        f"{BEGIN}energies": bool(request.get("energies")),
        f"{BEGIN}properties": request.get("properties") != [] and request.get("properties") != (),
    }
    given_columns: dict[int, Any] = {}
    for i, usual in enumerate(default_columns(installed)):
        given = columns[i] if i < len(columns) else usual
        if "crystals" in given:
            given_columns[i] = given
            values[f"{BEGIN}{i}-source"] = UNCHANGED
            given = usual
        else:
            values[f"{BEGIN}{i}-source"] = "model"
        start = given.get("start", "noise")
        values |= {
            f"{BEGIN}{i}-model": given["model"],
            f"{BEGIN}{i}-sampler": given.get("sampler", "fast"),
            f"{BEGIN}{i}-steps": given.get("steps") or 0,
            f"{BEGIN}{i}-temperature": float(given.get("temperature") or 0.0),
            f"{BEGIN}{i}-refiner": given.get("refiner") or OWN,
            f"{BEGIN}{i}-start": start if start in STARTS else "noise",
        }
    set_state(f"{BEGIN}kept", given_columns)
    return values


def ask_comparison() -> ComparisonRequest | None:
    """The form; what is wrong with it is said in it, and the request is then None."""
    installed = models()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = field(
            st.text_input,
            "Formulas",
            key=f"{BEGIN}formula",
            width="stretch",
            help="One or several with commas, e.g. TiO2, SrTiO3. "
            "All columns get the same formulas and seeds.",
        )
        z = field(
            st.number_input,
            "Z (0 = usual)",
            step=1,
            key=f"{BEGIN}z",
            width=130,
            help="Formula units per cell; 0 takes the smallest number that is frequent in training.",
        )
        n = field(
            st.number_input, SAMPLES, step=1, key=f"{BEGIN}n", width=150, help=f"At most {MAX_SAMPLES}."
        )
        seed = field(
            st.text_input,
            "Seed",
            key=f"{BEGIN}seed",
            width=110,
            placeholder="drawn",
            help="Blank: drawn and reported.",
        )
        count = field(
            st.segmented_control,
            "Columns",
            [2, 3, 4],
            key=f"{BEGIN}count",
            default=2,
            required=True,
            width="content",
        )
    columns: list[dict[str, Any]] = []
    problems = False
    for i, box in enumerate(st.columns(int(count or 2), border=True)):
        with box:
            try:
                columns.append(_ask_column(i, installed, narrow=int(count or 2) > 3))
            except CrystalCoreError as error:
                problems = True
                st.caption(f":red[{escape_markdown(error)}]")
    with st.container(horizontal=True):
        energies = has_potential() and field(
            st.toggle,
            "Energies (CHGNet)",
            key=f"{BEGIN}energies",
            help="Energy per atom of every plausible crystal as it is; about a second each.",
        )
        predicted = has_predictor("crysldnet") and field(
            st.toggle,
            "Predicted properties",
            key=f"{BEGIN}properties",
            help="Formation energy, energy above the hull and band gap by CrysLDNet.",
        )
    try:
        formulas = _formulas(text)
        check_whole(SAMPLES, int(n), 1, MAX_SAMPLES)
        if problems:
            return None  # the column says why
        request = get_state(f"{BEGIN}asked") or {}
        same = formulas == tuple(request.get("formulas") or ())
        exact = same and not z and bool(request.get("exact_cell"))
        return ComparisonRequest(
            columns=tuple(columns),
            formulas=formulas,
            targets=() if formulas else tuple(request.get("targets") or ()),
            reference=request.get("reference") if same else None,
            exact_cell=exact,
            z=int(z) or None if formulas else None,
            n=int(n),
            seed=seed_of(seed),
            energies=bool(energies),
            properties=tuple(request.get("properties") or ()) or None if predicted else (),
        )
    except CrystalCoreError as error:
        st.error(escape_markdown(error))
        return None


def _formulas(text: str) -> tuple[str, ...]:
    formulas = tuple(part for part in re.split(r"[,;\s]+", text) if part)
    if len(formulas) > MOST_FORMULAS:
        raise RequestError(
            f"{len(formulas)} formulas are too many for this form; give at most {MOST_FORMULAS}."
        )
    for formula in formulas:
        parse_formula(formula)
    return formulas


def _ask_column(i: int, installed: Sequence[str], *, narrow: bool) -> dict[str, Any]:
    """The fields of one column, beneath each other where it is narrow.

    Raises:
        RequestError: nothing is chosen yet, or the files hold no crystal.
    """
    given_column = (get_state(f"{BEGIN}kept") or {}).get(i)
    sources = [*SOURCES, *([UNCHANGED] if given_column else [])]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(mark_of(i), width="content")
        source = field(
            st.segmented_control,
            f"Column {LETTERS[i]}",
            sources,
            key=f"{BEGIN}{i}-source",
            default="model",
            required=True,
            format_func=lambda name: SOURCES.get(name, name),
            label_visibility="collapsed",
        )
    if source == UNCHANGED and given_column:
        st.caption(
            escape_markdown(
                f"{given_column.get('name') or given_column['source']}: "
                f"{len(given_column['crystals'])} crystals"
            )
        )
        return dict(given_column)
    if source == "run":
        return _ask_run(i)
    if source == "files":
        return _ask_files(i)
    if not installed:
        raise RequestError(not_installed("structure-prediction model"))
    letter = LETTERS[i]
    model = field(
        st.selectbox, f"Model of {letter}", installed, key=f"{BEGIN}{i}-model", label_visibility="collapsed"
    )
    given: dict[str, Any] = {"model": model}
    if model == "prototype":
        st.caption("Known arrangements with these elements, the likeliest first; no network.")
        return given
    writer = next((c for c in runnable_cards("generator") if c.name == model and c.writes_drafts), None)
    if writer is not None:
        temperature = field(
            st.number_input,
            f"Temperature of {letter}",
            step=0.1,
            key=f"{BEGIN}{i}-temperature",
            help="Of the language model's tokens; 0 takes that of the card. "
            "Below 1 writes likelier, less diverse crystals.",
        )
        given["temperature"] = float(temperature) or None
        if refines_drafts(writer):
            refiner = ask_refiner(writer, f"Refiner of {letter}", key=f"{BEGIN}{i}-refiner")
            given["refiner"] = None if refiner == OWN else refiner
        return _with_other_settings(i, given)
    return _with_other_settings(i, given | _ask_sampler(i, narrow=narrow))


def _with_other_settings(i: int, given: dict[str, Any]) -> dict[str, Any]:
    """The column with settings of a changed run that have no field, while model and sampler stay."""
    columns = list((get_state(f"{BEGIN}asked") or {}).get("columns") or ())
    before: dict[str, Any] = dict(columns[i]) if i < len(columns) else {}
    was = {f.name: before.get(f.name, f.default) for f in dataclass_fields(ModelColumn)}
    if was["model"] != given["model"] or was["sampler"] != given.get("sampler", was["sampler"]):
        return given
    idle = ("start_draft", "refine_from") if given.get("refiner") == UNREFINED else ()
    other_settings = {
        k: v for k, v in before.items() if k not in given and k not in idle and v not in (None, "", "card")
    }
    is_unchanged = all(was[k] == v for k, v in given.items())
    if not is_unchanged:
        other_settings.pop("name", None)  # it may have named what is changed now
    words = [
        f"{k.replace('_', ' ')} {v}"
        for k, v in other_settings.items()
        if k not in ("name", "sampler", "start")
    ]
    if words:
        st.caption(escape_markdown("Also: " + ", ".join(words)))
    return given | other_settings


def _ask_sampler(i: int, *, narrow: bool) -> dict[str, Any]:
    """Sampler, steps and start of a column."""
    letter = LETTERS[i]
    left, right = (st.container(), st.container()) if narrow else st.columns([3, 2])
    sampler = field(
        left.selectbox,
        f"Sampler of {letter}",
        list(SAMPLERS),
        key=f"{BEGIN}{i}-sampler",
        format_func=lambda name: SAMPLERS[name].split(" – ")[0],
        help="; ".join(SAMPLERS.values()) + ".",
    )
    steps = field(
        right.number_input,
        f"Steps of {letter}",
        step=1,
        key=f"{BEGIN}{i}-steps",
        help="0 takes the sampler's default.",
    )
    start = field(
        st.selectbox,
        f"Start of {letter}",
        list(STARTS) if has_prototypes() else ["noise"],
        key=f"{BEGIN}{i}-start",
        format_func=lambda start: f"from {'noise' if start == 'noise' else 'a known prototype'}",
        label_visibility="collapsed",
    )
    return {"sampler": sampler, "steps": int(steps) or None, "start": start}


def _ask_run(i: int) -> dict[str, Any]:
    jobs = [
        job
        for job in own_queue().list_jobs(RECENT, results=False, own=True)
        if job.kind in KINDS and job.result_stamp
    ]
    chosen = value_of(f"{BEGIN}{i}-run")
    names = {job.id: title_of(job) for job in jobs}
    if chosen and chosen not in names and (job := find_job(chosen)) is not None:
        names = {job.id: title_of(job)} | names  # a recorded run, or an older one
    names |= {f"{DEMO}{demo.name}": f"recorded: {title_of(as_job(demo))}" for demo in list_demos()}
    job_id = field(
        st.selectbox,
        f"Run of {LETTERS[i]}",
        list(names),
        key=f"{BEGIN}{i}-run",
        format_func=lambda one: names.get(one, one),
        label_visibility="collapsed",
    )
    job = find_job(job_id)
    column = column_of_run(job.kind, job.result, plain_title_of(job)) if job else {}
    if not column:
        raise RequestError("This run was deleted; choose another one.")
    st.caption(f"{len(column['crystals'])} crystals")
    return column


def _ask_files(i: int) -> dict[str, Any]:
    crystals = [item for item in read_files(ask_uploads(f"{BEGIN}{i}-")) if not item.limitation]
    for item in crystals:
        if item.error:
            st.error(escape_markdown(f"{item.name}: {item.error}"))
    good = [item for item in crystals if item.structure is not None]
    if not good:
        raise RequestError("Upload at least one crystal.")
    name = good[0].name if len(good) == 1 else f"{len(good)} files"
    notes = [f"{item.name}: {note}" for item in good for note in item.notes]
    return column_of_files([item.structure for item in good if item.structure is not None], name, notes)


def mark_of(i: int) -> str:
    """The colour and the letter of a column, as Markdown."""
    return f":{COLOUR_NAMES[i]}[●] **{LETTERS[i]}**"


def names_of(request: ComparisonRequest) -> str:
    """The columns in one line."""
    return " | ".join(f"{letter}: {name}" for letter, name in zip(LETTERS, request.names, strict=False))
