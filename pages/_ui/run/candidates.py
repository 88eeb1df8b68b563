"""The outcome of a structure prediction: clusters as cards, every candidate in a table, the chosen one in full."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.scene import frame_scene
from crystal_core.files.records import EQUAL_ENERGY, ranked, structure_from_record
from crystal_core.jobs.job import Job
from pages._ui.compare.sending import offer_comparison
from pages._ui.crystal.cell_views import CellView, known_views, laid_over, show_views
from pages._ui.crystal.energies import error_words, show_energies
from pages._ui.crystal.reference import ask_reference, reference_words, with_reference
from pages._ui.crystal.typeset import formula_text, group_of
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
from pages._ui.run.archive import offer_archive
from pages._ui.run.badges import show_state, show_verdict
from pages._ui.run.candidate_cards import arrangement_name, arrangement_words, candidate_card
from pages._ui.run.drafts import draft_views, show_draft, show_left_out, stage_words
from pages._ui.run.runs import ORIGINS, candidates_of, lost_paths_words, paths_of, summary
from pages._ui.run.verdicts import (
    Verdict,
    by_distances_words,
    nearest_words,
    newness,
    training_words,
    unmatched_word,
    was_trained_on,
)
from pages._ui.tables import show_table
from pages._ui.viewer import MAX_CARDS, crystal_gallery, crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord

FIRST_CARDS = 8
EVIDENCE = "log-likelihood"  # unit of the score of all evidence
FOUND, RELAXED, BOTH, SAMPLED = "As predicted", "Relaxed", "Relaxed over sampled", "As sampled"
OVER_REFERENCE = "Over the reference"


def typed_words(typed: str, computed: str) -> str:
    """What was typed, in brackets, where it is not what is computed.

    >>> typed_words("D2O", "H2O"), typed_words(" TiO2", "TiO2")
    (' (typed: D2O)', '')
    """
    return "" if typed.strip() == computed else f" (typed: {typed.strip()})"


def show_results(job: Job) -> None:
    """Everything a finished (or partly finished) run found."""
    candidates = with_lowest(candidates_of(job))
    if not candidates:
        st.warning("No candidate could be decoded. Try more samples or more steps.")
        return
    result = job.result or {}
    predicting = show_predicting(job)
    predicted, columns = predicted_of(job, candidates)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        show_state(job, summary(job))
        offer_properties(job, candidates, predicted, busy=predicting)
        offer_comparison(job)
        offer_archive(job)
    # the crystal stands above the cards that choose it
    crystal, cards, more = st.container(), st.container(gap="xsmall"), st.container()
    with more:
        ranking, caveats = ranking_words(candidates)
        st.caption(plain(ranking), help=plain(caveats))
        show_left_out(result)
        reference = ask_reference(job.request["formula"])
    if reference is not None:
        candidates = with_reference(candidates, reference)
    clusters: dict[int, list[CrystalRecord]] = {}
    for record in candidates:
        clusters.setdefault(record["group"], []).append(record)
    weighed = candidates[0]["score"]["unit"] == EVIDENCE
    # by energy, equals of a cluster count from its own lowest
    members = list(clusters.values()) if weighed else [ranked(cluster) for cluster in clusters.values()]
    shown = FIRST_CARDS
    if len(members) > FIRST_CARDS:
        shown = (
            MAX_CARDS
            if more.toggle(
                f"Show {'all' if len(members) <= MAX_CARDS else f'{MAX_CARDS} of'} {len(members)} different structures",
                key=f"more-{job.id}",
            )
            else FIRST_CARDS
        )
    with cards:
        record = _choose(job, members, shown)
    head = partial(_head, job, record, members)
    with crystal:
        show_views(_views(record, reference), key=record["id"], head=head)
    with more:
        if found := predicted.get(record["id"]):
            st.markdown("**Predicted properties**")
            show_card(found, columns, histograms_of(DEFAULT_PREDICTOR), key=f"card-{record['id']}")
        _show_all(
            job,
            candidates,
            [
                _row(place, r, run_cells(predicted.get(r["id"]), columns))
                for place, r in enumerate(candidates, start=1)
            ],
        )


def _head(job: Job, record: CrystalRecord, clusters: Sequence[Sequence[CrystalRecord]]) -> None:
    """What the chosen candidate is, in a few lines."""
    computed = formula_text(record["formula"]) + typed_words(job.request["formula"], record["formula"])
    alike = next((group for group in clusters if any(r["id"] == record["id"] for r in group)), [record])
    words = [computed, arrangement_name([record]) or arrangement_name(alike), group_of(record)]
    st.subheader(plain(" · ".join(filter(None, words))))
    st.caption(f"{ORIGINS[record['origin']].capitalize()}.")
    show_verdict(identity_of(record))
    if words := stage_words(record):
        st.caption(plain(words))
    if "reference" in record:
        st.info(plain(reference_words(record["reference"])))
    show_energies(record)
    show_draft(record)


def _show_all(job: Job, candidates: Sequence[CrystalRecord], rows: list[dict[str, Any]]) -> None:
    """Every candidate in a table, and the paths on which cells formed."""
    with st.expander(f"All {len(candidates)} candidates"):
        show_table(rows)
    if lost := lost_paths_words(job):
        st.caption(lost)
    if paths := paths_of(job):
        with st.expander("Watch a cell form"):
            label = st.selectbox("Path", list(paths), key="path")
            frames = [frame_scene(frame) for frame in paths[label]]
            crystal_viewer(frames[-1], key=f"path-{label}", frames=frames, height=420)


def _views(record: CrystalRecord, reference: Structure | None) -> dict[str, CellView]:
    """The candidate as it is, as it was sampled, and beside the reader's reference and the nearest known crystal."""
    shown = CellView(
        structure=structure_from_record(record),
        provenance=record["provenance"],
        origin=ORIGINS[record["origin"]],
    )
    views = {FOUND: shown}
    if record.get("original"):
        sampled = structure_from_record(record["original"])
        both = replace(shown, pale=sampled, what="Solid: relaxed. Pale, with the dashed cell: as sampled.")
        views = {RELAXED: shown, BOTH: both, SAMPLED: replace(shown, structure=sampled)}
    if reference is not None and record["reference"]["matches"]:
        view = laid_over(
            shown, reference, "Solid: this candidate. Pale, with the dashed cell: the reference."
        )
        views |= {OVER_REFERENCE: view} if view else {}
    return views | draft_views(record, shown) | known_views(record, shown)


def _choose(job: Job, clusters: list[list[CrystalRecord]], n_shown: int) -> CrystalRecord:
    """Cards of the first clusters, and the member of the chosen one: the best until the reader chooses, then that one wherever energies move it."""
    last = recall(f"chosen-{job.id}")
    shown = [
        (place, group)
        for place, group in enumerate(clusters, start=1)
        if place <= n_shown or any(r["id"] == last for r in group)
    ]
    first = next((k for k, (_, group) in enumerate(shown) if any(r["id"] == last for r in group)), 0)
    order = "|".join(group[0]["id"] for _, group in shown)
    key = f"clusters-{job.id}-{hashlib.sha256(order.encode()).hexdigest()[:12]}"  # a place in another order is another crystal
    cluster = shown[
        crystal_gallery(
            [candidate_card(place, group, provisional=job.live) for place, group in shown],
            key=key,
            first=first,
            strip=True,
        )
    ][1]
    record = next((r for r in cluster if r["id"] == last), cluster[0])
    if len(cluster) > 1:
        names = {r["id"]: _member(place, r) for place, r in enumerate(cluster, start=1)}
        picked = st.selectbox(
            f"Member of this cluster ({len(cluster)} alike)",
            list(names),
            list(names).index(record["id"]),
            format_func=names.__getitem__,
            key=f"member-{job.id}-{cluster[0]['id']}",
        )
        record = next(r for r in cluster if r["id"] == picked)
    if last is not None or record is not clusters[0][0]:
        remember(f"chosen-{job.id}", record["id"])
    return record


def ranking_words(candidates: list[CrystalRecord]) -> tuple[str, str]:
    """By what the candidates are ranked, and how far that can be trusted."""
    score = candidates[0]["score"]
    if "pattern" in score["name"]:
        return "Ranked by likeness to the measured powder pattern.", (
            "1 is the same; peaks more than half a degree apart have nothing in common; the cell may be up to 3 % larger or smaller. "
            "Nothing was refined, and a mixture of phases resembles none of them."
        )
    if score["unit"] == EVIDENCE:
        return "Ranked by all evidence.", (
            "How often relatives of the formula choose an arrangement, whether it is a known crystal, how many candidates agree, "
            "and the energy difference in units of the potential's error. Relaxed cells come first."
        )
    if score["unit"] != "eV/atom":
        return (
            "Ranked by consensus (cluster size).",
            "How many candidates are the same structure. This says nothing about stability.",
        )
    words = (
        "Differences between candidates are more reliable than energies above the hull. "
        f"Of equals within {1000 * EQUAL_ENERGY:.0f} meV/atom, the most symmetric comes first."
    )
    if len({"original" in record for record in candidates if "energies" in record}) == 2:
        words += " Relaxed cells come first."
    return f"Ranked by {score['name']}, a machine-learning estimate.", f"{words} {error_words()}".strip()


def identity_of(record: CrystalRecord) -> Verdict:
    """What the candidate is, in one sentence: the known crystal, or the known arrangement that it has."""
    verdict = newness(record)
    template = record["provenance"].get("prototype")
    named = arrangement_words(template, record) if template else ""
    novelty = record.get("novelty")
    if not novelty:
        return verdict
    if novelty["known"]:
        theirs, ours = novelty.get("nearest_space_group"), record.get("space_group")
        same = not theirs or ours is None or theirs == ours["number"]
        cell = "" if same or ours is None else f", within {ours['symprec']:g} Å as {group_of(record)}"
        rmsd = f", RMSD {novelty['rmsd']:.3f} of the mean atomic spacing" if novelty.get("rmsd") else ""
        arrangement = f", {named}" if named else ""
        more = by_distances_words(record) + training_words(record)
        return replace(
            verdict, tone="known", reason=f"It is {nearest_words(novelty)}{cell}{arrangement}{rmsd}.{more}"
        )
    if not named or template is None:
        return replace(verdict, tone="open")
    among = f"the reference set ({novelty.get('reference', 'known crystals')}), a part of what is known"
    reason = (
        f"It has a known arrangement of this formula, {named}; it is not in {among}."
        if template["distance"] == 0
        else f"It has {named}, after {formula_text(template['formula'])}; it matches nothing in {among}."
    )
    return replace(verdict, tone="open", reason=reason + by_distances_words(record))


def with_lowest(candidates: list[CrystalRecord]) -> list[CrystalRecord]:
    """The candidates of one formula with ``above_lowest_mev``, the energy above the lowest of them (meV/atom), where they have one.

    Where some were relaxed only those are compared, because relaxing lowers energies. The lowest is taken among the plausible
    ones, if any has an energy: atoms on top of each other mislead a potential.
    """
    some_relaxed = any("original" in r for r in candidates)
    known = {
        r["id"]: r["energies"]["energy_per_atom_ev"]
        for r in candidates
        if r.get("energies") and ("original" in r or not some_relaxed)
    }
    sound = [known[r["id"]] for r in candidates if r["id"] in known and r["validity"]["plausible"]]
    lowest = min(sound or known.values(), default=0.0)
    return [
        r | {"above_lowest_mev": round(1000 * (known[r["id"]] - lowest), 1)} if r["id"] in known else r
        for r in candidates
    ]


def _member(place: int, record: CrystalRecord) -> str:
    energy = f", {record['energies']['energy_per_atom_ev']:.3f} eV/atom" if "energies" in record else ""
    return f"{place}: {ORIGINS[record['origin']]}, {record['density']:.3f} g/cm³{energy}"


def _row(place: int, record: CrystalRecord, predicted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    energies = record.get("energies") or {}
    row = {
        "rank": place,
        "space group": group_of(record),
        "Z": record["z"],
        "above the lowest (meV/atom, ML estimate)": record.get("above_lowest_mev"),
        "energy (eV/atom)": energies.get("energy_per_atom_ev"),
        "above hull (eV/atom, ML estimate)": energies.get("e_above_hull_ev"),
        **(predicted or {}),
        "moved (Å)": record.get("relaxation", {}).get("displacement_angstrom"),
        "likeness to the pattern": record.get("pattern", {}).get("similarity"),
        "consensus (cluster size)": record.get("n_alike", record["score"]["value"]),
        "density (g/cm³)": round(record["density"], 2),
        "origin": ORIGINS[record["origin"]],
        "plausible": "yes"
        if record["validity"]["plausible"]
        else "no: " + " ".join(record["validity"]["reasons"]),
    }
    if novelty := record.get("novelty"):
        known = "yes, seen in training" if was_trained_on(record) else "yes"
        row |= {
            "known": known if novelty["known"] else unmatched_word(record),
            "nearest": novelty["nearest_id"],
        }
    if "reference" in record:
        row["matches reference"] = {True: "yes", False: "no", None: "not compared"}[
            record["reference"]["matches"]
        ]
    return row
