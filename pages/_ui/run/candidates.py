"""The outcome of a structure prediction: clusters as cards, candidates in a table, one in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from crystal_core.drawing.scene import frame_scene
from crystal_core.files.records import EQUAL_ENERGY, ranked, structure_from_record
from crystal_core.jobs.job import Job
from crystal_core.properties import fixed
from crystal_core.reference.known_words import is_strained, known_word, lengths_words
from pages._ui.compare.sending import offer_comparison
from pages._ui.crystal.cached import cell_line
from pages._ui.crystal.cell_views import CellView, known_views, laid_over, show_views
from pages._ui.crystal.energies import error_words, show_energies
from pages._ui.crystal.reference import ask_reference, reference_words, with_reference
from pages._ui.crystal.typeset import formula_text, group_of
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
from pages._ui.run.badges import show_state, show_verdict
from pages._ui.run.candidate_cards import arrangement_name, arrangement_words, candidate_card
from pages._ui.run.drafts import draft_views, show_draft, show_left_out, stage_words
from pages._ui.run.runs import candidates_of, lost_paths_words, origin_words, paths_of, summary
from pages._ui.run.verdict import Verdict
from pages._ui.run.verdicts import (
    by_distances_words,
    nearest_words,
    newness,
    training_words,
    unmatched_word,
    was_trained_on,
)
from pages._ui.tables import show_table
from pages._ui.text import escape_markdown
from pages._ui.viewer import MAX_CARDS, crystal_gallery, crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord, Score

FIRST_CARDS = 8
EVIDENCE = "log-likelihood"  # unit of the score of all evidence
AS_PREDICTED, RELAXED, BOTH, SAMPLED = "As predicted", "Relaxed", "Relaxed over sampled", "As sampled"
OVER_REFERENCE = "Over the reference"
# of the table, as beside the crystal
DECIMALS = {
    "above the lowest (meV/atom, ML estimate)": 0,
    "energy (eV/atom)": 3,
    "above hull (eV/atom, ML estimate)": 3,
    "moved (Å)": 2,
}


def typed_words(typed: str, computed: str) -> str:
    """The typed formula in brackets, if it differs from the computed one.

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
    crystal, cards, more = st.container(gap="xsmall"), st.container(gap="xsmall"), st.container()
    with more:
        ranking, caveats = ranking_words(candidates)
        st.caption(escape_markdown(ranking), help=escape_markdown(caveats))
        show_left_out(result)
        reference = ask_reference(job.request["formula"])
    if reference is not None:
        candidates = with_reference(candidates, reference)
    clusters: dict[int | None, list[CrystalRecord]] = {}
    for record in candidates:
        clusters.setdefault(record["group"], []).append(record)
    weighed = _score(candidates[0])["unit"] == EVIDENCE
    # by energy, equals of a cluster count from its own lowest
    members = list(clusters.values()) if weighed else [ranked(cluster) for cluster in clusters.values()]
    n_cards = FIRST_CARDS
    if len(members) > FIRST_CARDS:
        n_cards = (
            MAX_CARDS
            if more.toggle(
                f"Show {'all' if len(members) <= MAX_CARDS else f'{MAX_CARDS} of'} "
                f"{len(members)} different structures",
                key=f"more-{job.id}",
            )
            else FIRST_CARDS
        )
    with cards:
        record = _choose(job, members, n_cards)
    head = partial(_head, job, record, members)
    with crystal:
        show_views(_views(record, reference), key=record["id"], head=head)
    with more:
        if values := predicted.get(record["id"]):
            st.markdown("**Predicted properties**")
            show_card(values, columns, histograms_of(DEFAULT_PREDICTOR), key=f"card-{record['id']}")
        _show_all(
            job,
            candidates,
            [
                _row(place, r, run_cells(predicted.get(r["id"]), columns))
                for place, r in enumerate(candidates, start=1)
            ],
        )


def _head(job: Job, record: CrystalRecord, clusters: Sequence[Sequence[CrystalRecord]]) -> None:
    """The chosen candidate in a few lines."""
    computed = formula_text(record["formula"]) + typed_words(job.request["formula"], record["formula"])
    alike = next((group for group in clusters if any(r["id"] == record["id"] for r in group)), [record])
    words = [computed, arrangement_name([record]) or arrangement_name(alike), group_of(record)]
    st.header(escape_markdown(" · ".join(filter(None, words))))
    st.caption(f"{cell_line(record)} · {origin_words(record)}")
    show_verdict(identity_of(record))
    if stages := stage_words(record):
        st.caption(escape_markdown(stages))
    if "reference" in record:
        st.info(escape_markdown(reference_words(record["reference"])))
    show_energies(record)
    show_draft(record)


def _show_all(job: Job, candidates: Sequence[CrystalRecord], rows: list[dict[str, Any]]) -> None:
    """Every candidate in a table, and the paths on which cells formed."""
    with st.expander(f"All {len(candidates)} candidates"):
        show_table(rows, decimals=DECIMALS)
    if lost := lost_paths_words(job):
        st.caption(lost)
    if paths := paths_of(job):
        with st.expander("Watch a cell form"):
            label = st.selectbox("Path", list(paths), key="path")
            frames = [frame_scene(frame) for frame in paths[label]]
            crystal_viewer(frames[-1], key=f"path-{label}", frames=frames, height=420)


def _views(record: CrystalRecord, reference: Structure | None) -> dict[str, CellView]:
    """The candidate as it is, as sampled, and beside the user's reference and nearest known crystal."""
    predicted = CellView(
        structure=structure_from_record(record),
        provenance=record["provenance"],
    )  # its origin stands under the title
    views = {AS_PREDICTED: predicted}
    if record.get("original"):
        sampled = structure_from_record(record["original"])
        both = replace(
            predicted, pale=sampled, what="Solid: relaxed. Pale, with the dashed cell: as sampled."
        )
        views = {RELAXED: predicted, BOTH: both, SAMPLED: replace(predicted, structure=sampled)}
    if reference is not None and record["reference"]["matches"]:
        view = laid_over(
            predicted, reference, "Solid: this candidate. Pale, with the dashed cell: the reference."
        )
        views |= {OVER_REFERENCE: view} if view else {}
    return views | draft_views(record, predicted) | known_views(record, predicted)


def _choose(job: Job, clusters: list[list[CrystalRecord]], n_cards: int) -> CrystalRecord:
    """Cards of the first clusters, and a member of the chosen one.

    The best until the user chooses; then the same member, wherever energies move it.
    """
    last = get_state(f"chosen-{job.id}")
    numbered = [
        (place, group)
        for place, group in enumerate(clusters, start=1)
        if place <= n_cards or any(r["id"] == last for r in group)
    ]
    first = next((k for k, (_, group) in enumerate(numbered) if any(r["id"] == last for r in group)), 0)
    cards = [candidate_card(place, group, provisional=job.live) for place, group in numbered]
    cluster = numbered[crystal_gallery(cards, key=f"clusters-{job.id}", first=first, strip=True)][1]
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
        set_state(f"chosen-{job.id}", record["id"])
    return record


def ranking_words(candidates: list[CrystalRecord]) -> tuple[str, str]:
    """By what the candidates are ranked, and how far that can be trusted."""
    score = _score(candidates[0])
    if "pattern" in score["name"]:
        return "Ranked by likeness to the measured powder pattern.", (
            "1 is identical; peaks more than 0.5° apart do not overlap; the cell is scaled by up to 3 %. "
            "Nothing was refined; a mixture of phases resembles no single phase."
        )
    if score["unit"] == EVIDENCE:
        return "Ranked by all evidence.", (
            "How often relatives of the formula choose an arrangement, a network's log odds that its cell is "
            "right, whether it is a known crystal, how many samples agree, "
            "and the energy difference beside the potential's usual error. Relaxed cells come first."
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
    """The candidate in one sentence: the known crystal, or the known arrangement that it has."""
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
        match = f"{'It has the arrangement of' if is_strained(novelty) else 'It is'} {nearest_words(novelty)}"
        lengths = f"; {words}" if (words := lengths_words(novelty)) else ""
        more = by_distances_words(record) + training_words(record)
        return replace(verdict, tone="known", reason=f"{match}{cell}{arrangement}{rmsd}{lengths}.{more}")
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
    """The candidates of a formula with ``above_lowest_mev``, meV/atom above the lowest, where known.

    Where some were relaxed only those are compared, because relaxing lowers energies. The lowest is taken
    among the plausible ones, if any has an energy: atoms on top of each other mislead a potential.
    """
    some_relaxed = any("original" in r for r in candidates)
    energy_of: dict[str, float] = {}
    for record in candidates:
        energies = record.get("energies")
        energy = energies["energy_per_atom_ev"] if energies else None
        if energy is not None and ("original" in record or not some_relaxed):
            energy_of[record["id"]] = energy
    sound = [energy_of[r["id"]] for r in candidates if r["id"] in energy_of and r["validity"]["plausible"]]
    lowest = min(sound or energy_of.values(), default=0.0)
    above = {name: round(1000 * (energy - lowest), 1) for name, energy in energy_of.items()}
    return [
        cast("CrystalRecord", {**r, "above_lowest_mev": above[r["id"]]}) if r["id"] in above else r
        for r in candidates
    ]


def _score(record: CrystalRecord) -> Score:
    score = record["score"]
    assert score is not None  # a prediction ranks every candidate by one
    return score


def _member(place: int, record: CrystalRecord) -> str:
    energies = record.get("energies")
    energy = energies["energy_per_atom_ev"] if energies else None
    energy_text = "" if energy is None else f", {fixed(energy, 3)} eV/atom"
    return f"{place}: {origin_words(record)}, {record['density']:.3f} g/cm³{energy_text}"


def _row(place: int, record: CrystalRecord, predicted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    energies: Mapping[str, Any] = record.get("energies") or {}
    row = {
        "rank": place,
        "space group": group_of(record),
        "Z sampled": record["z"],
        "above the lowest (meV/atom, ML estimate)": record.get("above_lowest_mev"),
        "energy (eV/atom)": energies.get("energy_per_atom_ev"),
        "above hull (eV/atom, ML estimate)": energies.get("e_above_hull_ev"),
        **(predicted or {}),
        "moved (Å)": record.get("relaxation", {}).get("displacement_angstrom"),
        "likeness to the pattern": record.get("pattern", {}).get("similarity"),
        "consensus (cluster size)": record.get("n_alike", _score(record)["value"]),
        "density (g/cm³)": round(record["density"], 2),
        "origin": origin_words(record),
        "plausible": "yes"
        if record["validity"]["plausible"]
        else "no: " + " ".join(record["validity"]["reasons"]),
    }
    if novelty := record.get("novelty"):
        yes = known_word(novelty, "yes")
        known = f"{yes}, seen in training" if was_trained_on(record) else yes
        row |= {
            "known": known if novelty["known"] else unmatched_word(record),
            "nearest": novelty["nearest_id"],
        }
    if "reference" in record:
        row["matches reference"] = {True: "yes", False: "no", None: "not compared"}[
            record["reference"]["matches"]
        ]
    return row
