"""The outcome of a generation: which crystals are valid, distinct, new and likely stable; the chosen one in full."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.chemistry.formula import atomic_number_of
from crystal_core.drawing.scene import frame_scene
from crystal_core.files.records import is_valid, structure_from_record
from crystal_core.jobs.job import Job
from pages._ui.compare.sending import offer_comparison
from pages._ui.crystal.cached import card_scene
from pages._ui.crystal.cell_views import CellView, known_views, show_views
from pages._ui.crystal.energies import error_words, show_energies
from pages._ui.crystal.typeset import formula_text, group_of, group_text
from pages._ui.forms.completing import generation_query
from pages._ui.link.session import recall, remember
from pages._ui.plain import plain
from pages._ui.properties.sending import (
    DEFAULT_PREDICTOR,
    histograms_of,
    offer_properties,
    predicted_of,
    show_card,
    show_predicting,
)
from pages._ui.properties.words import run_cells
from pages._ui.run.archive import zip_name
from pages._ui.run.badges import show_passed, show_state, show_verdict
from pages._ui.run.calls import zip_of
from pages._ui.run.drafts import draft_views, show_draft, show_left_out, stage_words, symmetry_words
from pages._ui.run.relaxing import offer_relaxing, show_relaxing
from pages._ui.run.runs import (
    GENERATE,
    ORIGINS,
    PREDICT,
    generated_of,
    lost_paths_words,
    paths_of,
    promising,
    summary,
)
from pages._ui.run.verdicts import (
    LOOSE,
    charge_balance,
    cohesion,
    is_credible,
    stability,
    told_reasons,
    verdicts,
)
from pages._ui.tables import show_table
from pages._ui.viewer import MAX_CARDS, crystal_gallery, crystal_viewer

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord

MADE, RELAXED, BOTH = "As generated", "Relaxed", "Relaxed over generated"
AS_MADE = (0, 2, 4)  # the verdicts on cell, distances and twins: those of the crystal as generated


def show_generated(job: Job) -> None:
    """Everything a finished (or partly finished) generation made."""
    records = generated_of(job)
    result = job.result or {}
    if not records:
        st.warning("No crystal came out: none of the cells was a lattice. Try more samples or more steps.")
        show_left_out(result)
        return
    lost = f" · {result['n_failed']} no cell at all" if result.get("n_failed") else ""
    state = st.container(horizontal=True, vertical_alignment="center", gap="small")
    # the crystal stands above the cards that choose it
    crystal, cards, more = st.container(), st.container(gap="xsmall"), st.container()
    with more:
        _show_notes(job, records)
    busy, predicting = show_relaxing(job), show_predicting(job)
    predicted, columns = predicted_of(job, records)
    groups = _groups(records)
    with state:
        show_state(job, f"{summary(job)}{lost}")
        offer_comparison(job)
        st.download_button(
            "Download all",
            lambda: zip_of(job),
            zip_name(job),
            "application/zip",
            key="all",
            help="CIF, extxyz, JSON, paths",
        )
    bar = cards.container(horizontal=True, vertical_alignment="center")
    waiting = [
        members[0]
        for members in groups.values()
        if is_credible(members[0]) and not any("relaxation" in r for r in members)
    ]
    with bar:
        how = st.segmented_control(
            "Crystals as",
            ["Pictures", "Table"],
            default="Pictures",
            required=True,
            key="how",
            label_visibility="collapsed",
        )
        shown = _filtered(records, groups, wished_elements(job.request))
        several = (
            f"Relax the {len(waiting)} valid, distinct ones" if len(waiting) > 1 else "Relax the valid one"
        )
        offer_relaxing(job, waiting, several, key="relax-all", busy=busy)
        offer_properties(job, records, predicted, busy=predicting)
    rows = [_row(r, groups, run_cells(predicted.get(r["id"]), columns)) for r in shown]
    with cards:
        chosen = _choose(job, shown, groups, rows if how == "Table" else None)
    if chosen is None:
        return
    with crystal:
        _cell(chosen, partial(_head, chosen, groups))
    with cards:
        _send_on(job, chosen, busy=busy)
    with more:
        if found := predicted.get(chosen["id"]):
            st.markdown("**Predicted properties**")
            show_card(found, columns, histograms_of(DEFAULT_PREDICTOR), key=f"card-{chosen['id']}")
        _path(job, chosen)


def _show_notes(job: Job, records: list[CrystalRecord]) -> None:
    """What the words of the verdicts mean, and what else is to be said of the run."""
    result = job.result or {}
    st.caption(
        "Generated by a model."
        + _left_out_words(job)
        + (f" {excused}" if (excused := _excused_words(records)) else "")
        + ("" if any(r.get("novelty") for r in records) else " They were not compared with known crystals."),
        help="Valid: sound distances and charge-balanced by SMACT's test. Distinct: like ones counted once. "
        "Worth a look: valid, distinct and new, with nothing else against it.",
    )
    for told in filter(None, [*_notes(result["summary"]), symmetry_words(job.request, records)]):
        st.caption(plain(told))
    show_left_out(result)


def _left_out_words(job: Job) -> str:
    """A sentence on the valid, distinct and new crystals that are not worth a look; empty where there are none."""
    more = ", ".join(f"{n} {words}" for words, n in promising(job)[1].items())
    return f" Not worth a look: {more}." if more else ""


def _notes(told: Mapping[str, Any]) -> list[str]:
    """Further lines on a run: whether the requested space group was kept, and its note."""
    words = []
    if group := told.get("space_group"):
        kept = group["kept_within_0.1"]
        words.append(
            f"{kept} of {told['n']} {'keeps' if kept == 1 else 'keep'} {group_text(group['symbol'])}, or a group above it, within 0.1 Å (experimental)."
        )
    return words + ([told["note"]] if "note" in told else [])


def _excused_words(records: list[CrystalRecord]) -> str:
    """A sentence on the crystals that are shown with the valid ones without being counted; empty where there are none."""
    n = sum(is_credible(r) and not is_valid(r) for r in records)
    fail = f"{n} {'fails' if n == 1 else 'fail'} this test alone, with charges that are no fault"
    return f"{fail}: not counted as valid, but shown with the valid ones." if n else ""


def _groups(records: list[CrystalRecord]) -> dict[int, list[CrystalRecord]]:
    groups: dict[int, list[CrystalRecord]] = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    return groups


def wished_elements(asked: Mapping[str, Any]) -> set[int]:
    """Atomic numbers of the elements asked for and not excluded; empty where any would do."""
    wished = set(asked.get("elements") or ()) - set(asked.get("exclude_elements") or ())
    return {atomic_number_of(symbol) for symbol in wished}


def _filtered(
    records: list[CrystalRecord], groups: dict[int, list[CrystalRecord]], wished: set[int]
) -> list[dict[str, Any]]:
    """What the reader wants to see, the most promising first; before all, those with the most of the ``wished`` elements."""
    tests = {
        "valid": is_credible,
        "distinct": lambda r: groups[r["group"]][0] is r,
        "new": lambda r: bool(r.get("novelty")) and not r["novelty"]["known"],
        "near the hull": lambda r: (
            (r.get("energies") or {}).get("e_above_hull_ev") is not None and stability(r).tone != "bad"
        ),
    }
    offered = [name for name, test in tests.items() if 0 < sum(map(test, records)) < len(records)]
    first = [name for name in ("distinct",) if name in offered]
    wanted = (
        st.pills(
            "Show only",
            offered,
            selection_mode="multi",
            default=first,
            key="only",
            format_func="only {}".format,
            label_visibility="collapsed",
        )
        if offered
        else []
    )
    return sorted(
        (r for r in records if all(tests[name](r) for name in wanted)),
        key=lambda r: (-len(wished & set(r["atomic_numbers"])), *_promise(r, len(groups[r["group"]]))),
    )


def _promise(record: CrystalRecord, n_alike: int) -> tuple[Any, ...]:
    """Sort key: sound and new ones first, then by energy, then by how often they were made."""
    above = (record.get("energies") or {}).get("e_above_hull_ev")
    known = bool(record.get("novelty")) and record["novelty"]["known"]
    return (
        not is_credible(record),
        not record["validity"]["plausible"],
        known,
        above is None,
        above or 0.0,
        -n_alike,
        record["number"],
    )


def _choose(
    job: Job,
    records: list[CrystalRecord],
    groups: dict[int, list[CrystalRecord]],
    rows: list[dict[str, Any]] | None,
) -> CrystalRecord | None:
    """Pictures, or the ``rows`` as a table, with one crystal chosen; it stays so when relaxing changes the order."""
    if not records:
        st.info("No crystal fits; leave out one of the filters.")
        return None
    if rows is None and len(records) > MAX_CARDS:
        page = st.pagination((len(records) + MAX_CARDS - 1) // MAX_CARDS, key="cards-page")
        records = records[(page - 1) * MAX_CARDS : page * MAX_CARDS]
    names = [record["id"] for record in records]
    last = recall(f"chosen-{job.id}")
    first = names.index(last) if last in names else 0
    key = f"made-{hashlib.sha256('|'.join(names).encode()).hexdigest()[:12]}"  # a place in another order is another crystal
    if rows is not None:
        state = show_table(
            rows,
            on_select="rerun",
            selection_mode="single-row",
            key=f"{key}-table",
        )
        st.caption("A click on a column's head sorts; a row selects its crystal.")
        picked = state.selection.rows[0] if state.selection.rows else first
    else:
        picked = crystal_gallery([_card(r, groups) for r in records], key=key, first=first, strip=True)
    remember(f"chosen-{job.id}", names[picked])
    return records[picked]


def _card(record: CrystalRecord, groups: dict[int, list[CrystalRecord]]) -> dict[str, Any]:
    n = len(groups[record["group"]])
    badges = [
        ["good", "valid"]
        if is_valid(record)
        else ["open", charge_balance(record).word]
        if is_credible(record)
        else ["bad", "not valid"]
    ]
    if is_credible(record) and not record["validity"]["plausible"]:
        badges.append(["bad", "implausible"])
    if (pieces := cohesion(record)).word in LOOSE:
        badges.append([pieces.tone, pieces.word])
    if novelty := record.get("novelty"):
        badges.append(
            ["known", "known"] if novelty["known"] else ["good" if is_credible(record) else "open", "new"]
        )
    verdict = stability(record)
    above = (record.get("energies") or {}).get("e_above_hull_ev")
    if above is not None:
        badges.append([verdict.tone, f"hull {above:+.2f} eV/atom (ML)"])
    elif verdict.tone == "bad":
        badges.append([verdict.tone, verdict.word])
    return {
        "scene": card_scene(record),
        "title": formula_text(record["formula"]),
        "many": n,
        "caption": f"{record['number']} · {_group(record)} · {record['n_atoms']} atoms",
        "badges": badges,
    }


def _row(
    record: CrystalRecord,
    groups: dict[int, list[CrystalRecord]],
    predicted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    energies, novelty, pieces = record.get("energies") or {}, record.get("novelty") or {}, cohesion(record)
    return {
        "no.": record["number"],
        "formula": formula_text(record["formula"]),
        "space group": _group(record),
        "atoms": record["n_atoms"],
        "density (g/cm³)": round(record["density"], 2),
        "valid": "yes" if is_valid(record) else "no",
        "alike": len(groups[record["group"]]),
        "above hull (eV/atom, ML)": energies.get("e_above_hull_ev"),
        "±": energies.get("e_above_hull_error_ev"),
        **(predicted or {}),
        "known": ("yes" if novelty["known"] else "no") if novelty else None,
        "nearest": novelty.get("nearest_id"),
        "RMSD": novelty.get("rmsd"),
        "why": " ".join([*told_reasons(record), *([pieces.reason] if pieces.word in LOOSE else [])]),
    }


def _head(record: CrystalRecord, groups: dict[int, list[CrystalRecord]]) -> None:
    """What the crystal is, each verdict with its reason, and its energies."""
    members = groups[record["group"]]
    st.subheader(plain(f"{formula_text(record['formula'])} · {_group(record)} · crystal {record['number']}"))
    with st.container(gap="xxsmall"):
        told = verdicts(record, [r["number"] for r in members if r is not record])
        of = [" (As generated.)" if "original" in record and k in AS_MADE else "" for k in range(len(told))]
        # what speaks for it takes a line; what does not is told with its reason
        show_passed([replace(v, reason=v.reason + more) for v, more in zip(told, of, strict=True)])
        for verdict, more in zip(told, of, strict=True):
            if verdict.tone != "good":
                show_verdict(verdict, more)
    if words := stage_words(record):
        st.caption(plain(words))
    if "energies" in record:
        show_energies(record)
        st.caption(plain(error_words()))
    show_draft(record)


def _send_on(job: Job, record: CrystalRecord, *, busy: bool) -> None:
    """Where the crystal can go from here."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if "energies" not in record:
            offer_relaxing(job, [record], "Relax this crystal", key=f"relax-{record['id']}", busy=busy)
        st.page_link(
            PREDICT,
            label="Predict this formula",
            icon=":material/science:",
            query_params={"formula": record["formula"]},
        )
        st.page_link(
            "pages/viewer.py",
            label="Open in the viewer",
            icon=":material/view_in_ar:",
            query_params={"job": job.id, "crystal": record["id"]},
        )
        query = generation_query(str(job.request.get("model", "")))
        if query is not None:
            st.switch_page(GENERATE, query_params={"fork": job.id, "crystal": record["id"]} | query)


def _path(job: Job, record: CrystalRecord) -> None:
    """How the crystal formed, where that was kept."""
    if lost := lost_paths_words(job):
        st.caption(lost)
    if frames := paths_of(job).get(f"crystal {record['number']}"):
        refined = (record.get("origin") or "").endswith("refined")
        with st.expander("From the draft to the result" if refined else "Watch it form"):
            scenes = [frame_scene(frame) for frame in frames]
            crystal_viewer(scenes[-1], key=f"path-{record['id']}", frames=scenes, height=420)


def _cell(record: CrystalRecord, head: Callable[[], None]) -> None:
    """The crystal as made, as relaxed, over what it was before, or over the nearest known one."""
    origin = f"generated by a model: {ORIGINS[record.get('origin') or 'noise']}"
    told = {"provenance": record["provenance"], "origin": origin}
    made = CellView(structure=structure_from_record(record["generated"]), **told)
    shown, views = made, {MADE: made}
    if "original" in record:
        shown = CellView(structure=structure_from_record(record), **told)
        both = replace(
            shown, pale=made.structure, what="Solid: relaxed. Pale, with the dashed cell: as generated."
        )
        views = {RELAXED: shown, BOTH: both, MADE: made}
    views |= draft_views(record["generated"], made)
    show_views(views | known_views(record, shown), key=record["id"], head=head)


def _group(record: CrystalRecord) -> str:
    return group_of(record)
