"""The outcome of a generation: valid, distinct, new and likely stable crystals; one in full."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from crystal_core.drawing.scene import frame_scene
from crystal_core.files.records import is_valid, structure_from_record
from crystal_core.jobs.job import Job
from crystal_core.properties import fixed
from crystal_core.reference.known_words import known_word
from crystal_core.workflows.property_targets import target_words
from crystal_core.workflows.symmetrising import symmetrised_words
from pages._ui.compare.sending import offer_comparison
from pages._ui.crystal.cached import arrangement_of, card_scene, cell_line
from pages._ui.crystal.cell_views import CellView, known_views, show_views
from pages._ui.crystal.energies import show_energies
from pages._ui.crystal.typeset import formula_text, group_of, group_text
from pages._ui.forms.completing import generation_query
from pages._ui.link.session import get_state, set_state
from pages._ui.properties.sending import (
    DEFAULT_PREDICTOR,
    histograms_of,
    offer_properties,
    predicted_of,
    show_card,
    show_predicting,
)
from pages._ui.properties.words import run_cells
from pages._ui.run.archive import offer_archive
from pages._ui.run.badges import show_passed, show_state, show_verdict
from pages._ui.run.cohesion import LOOSE, cohesion
from pages._ui.run.drafts import draft_views, show_draft, show_left_out, stage_words, symmetry_words
from pages._ui.run.generated_order import Groups, Targets, above_hull, filtered, requested_elements
from pages._ui.run.relaxing import offer_relaxing, show_relaxing
from pages._ui.run.runs import (
    GENERATE,
    PREDICT,
    NumberedCrystal,
    generated_of,
    lost_paths_words,
    origin_words,
    paths_of,
    promising,
    summary,
)
from pages._ui.run.verdict import Verdict
from pages._ui.run.verdicts import charge_balance, is_credible, stability, validity_reasons, verdicts
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown
from pages._ui.viewer import MAX_CARDS, crystal_gallery, crystal_viewer

RELAXED_TOGETHER = (
    "Of equal crystals one, without those that are not valid; a failed charge test alone is no objection."
)
GENERATED, RELAXED, BOTH = "As generated", "Relaxed", "Relaxed over generated"
DECIMALS = {"above hull (eV/atom, ML)": 3, "±": 3, "RMSD": 3}  # as beside the crystal
VERDICTS_AS_GENERATED = (0, 2, 4)  # those on cell, distances and twins


def show_generated(job: Job) -> None:
    """Everything a finished (or partly finished) generation made."""
    state = st.container(horizontal=True, vertical_alignment="center", gap="small")
    # the crystal stands above the cards that choose it, and what goes on below the buttons that begin it
    crystal, cards = st.container(gap="xsmall"), st.container(gap="xsmall")
    work, more = st.container(), st.container()
    with work:
        busy, predicting = show_relaxing(job), show_predicting(job)
    records = generated_of(job)
    result = job.result or {}
    if not records:
        st.warning("No crystal: no sampled cell has a volume. Try more samples or more steps.")
        show_left_out(result)
        return
    lost = f" · {result['n_failed']} without a cell" if result.get("n_failed") else ""
    with more:
        _show_notes(job, records)
    predicted, columns = predicted_of(job, records)
    groups = _groups(records)
    with state:
        show_state(job, f"{summary(job)}{lost}")
        offer_comparison(job)
        offer_archive(job)
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
        targets: Targets = result["summary"].get("targets", {})
        listed = filtered(records, groups, requested_elements(job.request), targets)
        several = f"Relax {'all' if len(waiting) == len(records) else f'{len(waiting)} of'} {len(records)}"
        offer_relaxing(job, waiting, several, key="relax-all", busy=busy, which=RELAXED_TOGETHER)
        offer_properties(job, records, predicted, busy=predicting)
    rows = [_row(r, groups, run_cells(predicted.get(r["id"]), columns)) for r in listed]
    with cards:
        chosen = _choose(job, listed, groups, rows if how == "Table" else None)
    if chosen is None:
        return
    with crystal:
        twins = [r["number"] for r in groups[chosen["group"]] if r is not chosen]
        judged = verdicts(chosen, twins)
        _cell(chosen, judged, partial(_head, chosen, judged))
    with cards:
        _send_on(job, chosen, busy=busy)
    with more:
        if values := predicted.get(chosen["id"]):
            st.markdown("**Predicted properties**")
            show_card(values, columns, histograms_of(DEFAULT_PREDICTOR), key=f"card-{chosen['id']}")
        _path(job, chosen)


def _show_notes(job: Job, records: list[NumberedCrystal]) -> None:
    """The meaning of the verdicts, and notes on the run."""
    result = job.result or {}
    st.caption(
        "Generated by a model."
        + _left_out_words(job)
        + (f" {excused}" if (excused := _excused_words(records)) else "")
        + ("" if any(r.get("novelty") for r in records) else " They were not compared with known crystals."),
        help="Valid: sound distances and charge-balanced by SMACT's test. Distinct: equal crystals counted "
        "once. Worth a look: valid, distinct and new, without other objections.",
    )
    targets = [target_words(*pair) for pair in result["summary"].get("targets", {}).items()]
    for sentence in filter(
        None, [*_notes(result["summary"]), symmetry_words(job.request, records), *targets]
    ):
        st.caption(escape_markdown(sentence))
    show_left_out(result)


def _left_out_words(job: Job) -> str:
    """A sentence on valid, distinct, new crystals that are not worth a look; empty without any."""
    more = ", ".join(f"{n} {words}" for words, n in promising(job)[1].items())
    return f" Not worth a look: {more}." if more else ""


def _notes(run_summary: Mapping[str, Any]) -> list[str]:
    """Further lines on a run: the requested space group, how many were symmetrised, and its note."""
    words = []
    if group := run_summary.get("space_group"):
        n_kept = group["kept_within_0.1"]
        words.append(
            f"{n_kept} of {run_summary['n']} {'keeps' if n_kept == 1 else 'keep'} "
            f"{group_text(group['symbol'])}, or a group above it, within 0.1 Å (experimental)."
        )
    if changed := run_summary.get("symmetrised"):
        words.append(symmetrised_words(changed))
    return words + ([run_summary["note"]] if "note" in run_summary else [])


def _excused_words(records: list[NumberedCrystal]) -> str:
    """A sentence on crystals shown with the valid ones but not counted; empty without any."""
    n = sum(is_credible(r) and not is_valid(r) for r in records)
    fail = f"{n} {'fails' if n == 1 else 'fail'} only the charge test, with plausible charges"
    return f"{fail}: shown with the valid ones, but not counted as valid." if n else ""


def _groups(records: list[NumberedCrystal]) -> Groups:
    groups: Groups = {}
    for record in records:
        groups.setdefault(record["group"], []).append(record)
    return groups


def _choose(
    job: Job,
    records: list[NumberedCrystal],
    groups: Groups,
    rows: list[dict[str, Any]] | None,
) -> NumberedCrystal | None:
    """Pictures, or ``rows`` as a table, with a chosen crystal that stays chosen when order changes."""
    if not records:
        st.info("No crystal fits; leave out one of the filters.")
        return None
    if rows is None and len(records) > MAX_CARDS:
        page = st.pagination((len(records) + MAX_CARDS - 1) // MAX_CARDS, key="cards-page")
        records = records[(page - 1) * MAX_CARDS : page * MAX_CARDS]
    names = [record["id"] for record in records]
    last = get_state(f"chosen-{job.id}")
    first = names.index(last) if last in names else 0
    if rows is not None:
        # a row in another order is another crystal
        order = hashlib.sha256("|".join(names).encode()).hexdigest()[:12]
        key = f"made-{order}-table"
        state = show_table(rows, decimals=DECIMALS, on_select="rerun", selection_mode="single-row", key=key)
        st.caption("A click on a column's head sorts; a row selects its crystal.")
        picked = state.selection.rows[0] if state.selection.rows else first
    else:
        cards = [_card(r, groups) for r in records]
        picked = crystal_gallery(cards, key=f"made-{job.id}", first=first, strip=True)
    set_state(f"chosen-{job.id}", names[picked])
    return records[picked]


def _card(record: NumberedCrystal, groups: Groups) -> dict[str, Any]:
    n, credible = len(groups[record["group"]]), is_credible(record)
    believable = credible and record["validity"]["plausible"]
    badges = [
        ["bad", "not valid"]
        if not credible
        else ["bad", "implausible distances"]  # beside it "valid" would be a contradiction
        if not believable
        else ["good", "valid"]
        if is_valid(record)
        else ["open", charge_balance(record).word]
    ]
    if (connectivity := cohesion(record)).word in LOOSE:
        badges.append([connectivity.tone, connectivity.word])
    if novelty := record.get("novelty"):
        badges.append(
            ["known", known_word(novelty)] if novelty["known"] else ["good" if believable else "open", "new"]
        )
    verdict = stability(record)
    above = above_hull(record)
    if above is not None:
        badges.append([verdict.tone, f"hull {fixed(above, 2, signed=True)} eV/atom (ML)"])
    elif verdict.tone == "bad":
        badges.append([verdict.tone, verdict.word])
    return {
        "id": record["id"],
        "scene": card_scene(record),
        "title": formula_text(record["formula"]),
        "many": n,
        "caption": f"{record['number']} · {group_of(record)} · {record['n_atoms']} atoms",
        "badges": badges,
    }


def _row(
    record: NumberedCrystal,
    groups: Groups,
    predicted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    energies: Mapping[str, Any] = record.get("energies") or {}
    novelty: Mapping[str, Any] = record.get("novelty") or {}
    connectivity = cohesion(record)
    return {
        "no.": record["number"],
        "formula": formula_text(record["formula"]),
        "space group": group_of(record),
        "atoms": record["n_atoms"],
        "density (g/cm³)": round(record["density"], 2),
        "valid": "yes" if is_valid(record) else "no",
        "alike": len(groups[record["group"]]),
        "above hull (eV/atom, ML)": energies.get("e_above_hull_ev"),
        "±": energies.get("e_above_hull_error_ev"),
        **(predicted or {}),
        "known": (known_word(novelty, "yes") if novelty["known"] else "no") if novelty else None,
        "nearest": novelty.get("nearest_id"),
        "RMSD": novelty.get("rmsd"),
        "why": " ".join(
            [*validity_reasons(record), *([connectivity.reason] if connectivity.word in LOOSE else [])]
        ),
    }


def _head(record: NumberedCrystal, judged: Sequence[Verdict]) -> None:
    """The crystal, each verdict with its reason, and its energies."""
    words = [formula_text(record["formula"]), arrangement_of(record), group_of(record)]
    st.header(escape_markdown(" · ".join([*filter(None, words), f"crystal {record['number']}"])))
    st.caption(cell_line(record))
    with st.container(gap="xxsmall"):
        notes = [
            " (As generated.)" if "original" in record and k in VERDICTS_AS_GENERATED else ""
            for k in range(len(judged))
        ]
        # passed checks share one line; failed ones get a line each with the reason
        show_passed([replace(v, reason=v.reason + more) for v, more in zip(judged, notes, strict=True)])
        for verdict, more in zip(judged, notes, strict=True):
            if verdict.tone != "good":
                show_verdict(verdict, more)
    if stages := stage_words(record):
        st.caption(escape_markdown(stages))
    if "energies" in record:
        show_energies(record)
    show_draft(record)


def _send_on(job: Job, record: NumberedCrystal, *, busy: bool) -> None:
    """Links from the crystal to other pages."""
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


def _path(job: Job, record: NumberedCrystal) -> None:
    """The path on which the crystal formed, if stored."""
    if lost := lost_paths_words(job):
        st.caption(lost)
    if frames := paths_of(job).get(f"crystal {record['number']}"):
        refined = (record.get("origin") or "").endswith("refined")
        with st.expander("From the draft to the result" if refined else "Watch it form"):
            scenes = [frame_scene(frame) for frame in frames]
            crystal_viewer(scenes[-1], key=f"path-{record['id']}", frames=scenes, height=420)


def _cell(record: NumberedCrystal, judged: Sequence[Verdict], head: Callable[[], None]) -> None:
    """The crystal as made, as relaxed, over what it was before, or over the nearest known one."""
    origin = f"generated by a model: {origin_words(record)}"
    words = frozenset(verdict.word for verdict in judged)
    view = partial(CellView, provenance=record["provenance"], origin=origin, judged=words)
    generated = view(structure=structure_from_record(record["generated"]))
    latest, views = generated, {GENERATED: generated}
    if "original" in record:
        latest = view(structure=structure_from_record(record))
        both = replace(
            latest, pale=generated.structure, what="Solid: relaxed. Pale, with the dashed cell: as generated."
        )
        views = {RELAXED: latest, BOTH: both, GENERATED: generated}
    views |= draft_views(record["generated"], generated)
    show_views(views | known_views(record, latest), key=record["id"], head=head)
