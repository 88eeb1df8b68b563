"""The outcome of a structure prediction: clusters as cards, every candidate in a table, the chosen one in full."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.scene import build_scene, frame_scene
from crystal_core.files.records import EQUAL_ENERGY, ranked, structure_from_record
from crystal_core.jobs.job import Job
from pages._ui.compare.sending import offer_comparison
from pages._ui.crystal.cell_views import CellView, known_views, laid_over, show_views
from pages._ui.crystal.energies import error_words, show_energies
from pages._ui.crystal.reference import ask_reference, reference_words, with_reference
from pages._ui.crystal.typeset import formula_text, group_of
from pages._ui.link.session import recall, remember
from pages._ui.plain import duration, plain
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
from pages._ui.run.badges import show_verdict
from pages._ui.run.calls import zip_of
from pages._ui.run.drafts import beside_draft, draft_views, show_left_out, stage_words
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
AFLOW = re.compile(r", AFLOW (\S+)")  # of a prototype, see :class:`crystal_core.requests.Template`
ARRANGEMENTS = {
    "A_cF4_225_a": "face-centred cubic",
    "A_cI2_229_a": "body-centred cubic",
    "A_hP2_194_c": "hexagonal close-packed",
    "A_cF8_227_a": "diamond",
    "A_hP4_194_bc": "graphite",
    "AB_cF8_225_a_b": "rock salt",
    "AB_cP2_221_b_a": "caesium chloride",
    "AB_cF8_216_c_a": "zinc blende",
    "AB_hP4_186_b_b": "wurtzite",
    "AB_hP4_194_c_a": "nickel arsenide",
    "AB2_cF12_225_a_c": "fluorite",
    "A2B_tP6_136_f_a": "rutile",
    "A2B_tI12_141_e_a": "anatase",
    "A2B3_hR10_167_c_e": "corundum",
    "AB3C_cP5_221_a_c_b": "cubic perovskite",
    "AB3C_oP20_62_c_cd_a": "orthorhombic perovskite",
    "AB3C_hR10_148_c_f_c": "ilmenite",
    "A2BC4_cF56_227_d_a_e": "spinel",
    "AB2C_cF16_225_a_c_b": "Heusler",
}  # of AFLOW names (Mehl et al. 2017)
SHORT = {
    "known": "known crystal",
    "noise": "from noise",
    "prototype": "known prototype",
    "prototype refined": "refined prototype",
    "draft": "draft",
    "draft refined": "refined draft",
    "given refined": "refined crystal",
}


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
    left, right = st.columns([4, 1], vertical_alignment="center")
    state = f"{summary(job)} · {duration(result['seconds'])} · seed {result['settings']['seed']}"
    if job.live:
        left.markdown(f":gray-badge[Provisional order] :gray[{plain(state)}]")
    else:
        left.success(state)
    right.download_button(
        "Download all",
        lambda: zip_of(job),
        zip_name(job),
        "application/zip",
        key="all",
        width="stretch",
        help="CIF, extxyz, JSON, paths",
    )
    ranking, caveats = ranking_words(candidates)
    st.caption(plain(ranking), help=plain(caveats))
    show_left_out(result)
    predicting = show_predicting(job)
    predicted, columns = predicted_of(job, candidates)
    with st.container(horizontal=True, vertical_alignment="center"):
        offer_properties(job, candidates, predicted, busy=predicting)
        offer_comparison(job)
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
            if st.toggle(
                f"Show {'all' if len(members) <= MAX_CARDS else f'{MAX_CARDS} of'} {len(members)} different structures",
                key=f"more-{job.id}",
            )
            else FIRST_CARDS
        )
    record = _choose(job, members, shown)
    computed = formula_text(record["formula"]) + typed_words(job.request["formula"], record["formula"])
    st.subheader(plain(f"{computed} · {_group(record)} · {ORIGINS[record['origin']]}"))
    show_verdict(identity_of(record))
    if words := stage_words(record):
        st.caption(plain(words))
    if "reference" in record:
        st.info(plain(reference_words(record["reference"])))
    show_energies(record)
    if found := predicted.get(record["id"]):
        st.markdown("**Predicted properties**")
        show_card(found, columns, histograms_of(DEFAULT_PREDICTOR), key=f"card-{record['id']}")
    with beside_draft(record):
        show_views(_views(record, reference), key=record["id"])
    with st.expander(f"All {len(candidates)} candidates"):
        show_table(
            [
                _row(place, r, run_cells(predicted.get(r["id"]), columns))
                for place, r in enumerate(candidates, start=1)
            ]
        )
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
            [_card(place, group, provisional=job.live) for place, group in shown], key=key, first=first
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
        cell = "" if same or ours is None else f", within {ours['symprec']:g} Å as {_group(record)}"
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


def arrangement_words(template: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> str:
    """The prototype that a candidate was laid out on: its name, and how many crystals have it; empty where relaxing led elsewhere."""
    group, (theirs, *rest) = (record or {}).get("space_group"), template["label"].split(" ")
    if group and rest and theirs != group["symbol"]:  # the full index labels cells by their ids alone
        return ""
    told = AFLOW.search(template["label"])
    name = f"the {ARRANGEMENTS.get(told[1], f'AFLOW {told[1]}')} arrangement" if told else "an arrangement"
    n = template["members"]
    return f"{name} of {n:,} known crystal{'' if n == 1 else 's'}"


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


def _card(place: int, group: list[CrystalRecord], *, provisional: bool = False) -> dict[str, Any]:
    best = group[0]
    origins = ", ".join(dict.fromkeys(SHORT[r["origin"]] for r in group))
    mark = "" if best["validity"]["plausible"] else " · implausible"
    told = best.get("relaxation")
    if told and not told["converged"]:
        mark += " · not relaxed" if "error" in told else " · not converged"
    energies = best.get("energies")
    middle = f"{best['density']:.2f} g/cm³"
    if energies and "above_lowest_mev" in best:
        above = best["above_lowest_mev"]
        middle = f"{above:+.0f} meV/atom" if above else "lowest energy"
        middle += (
            f" · hull {energies['e_above_hull_ev']:+.3f} eV/atom (ML)"
            if energies["e_above_hull_ev"] is not None
            else " (ML)"
        )
    novelty = best.get("novelty")
    mark += f" · {'known' if novelty['known'] else unmatched_word(best)}" if novelty else ""
    likeness = best.get("pattern", {}).get("similarity")
    middle += f" · pattern {likeness:.2f}" if likeness is not None else ""
    return {
        "scene": build_scene(structure_from_record(best)),
        "title": f"{'' if provisional else f'{place}. '}{_group(best)}  ×{len(group)}",
        "caption": f"Z = {best['z']} · {middle} · {origins}{mark}",
    }


def _group(record: CrystalRecord) -> str:
    return group_of(record)


def _row(place: int, record: CrystalRecord, predicted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    energies = record.get("energies") or {}
    row = {
        "rank": place,
        "space group": _group(record),
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
