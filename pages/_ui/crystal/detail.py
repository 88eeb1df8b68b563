"""One structure in full: viewer, summary, sites, symmetry, diffraction, distances, files, origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.scene import CELL_KINDS, cell_choice, coordination, overlay_scene
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.evaluation.symmetry import MAX_ANALYSED, site_table
from crystal_core.evaluation.valences import Valences, state_text, valences_of
from crystal_core.evaluation.validity import check_structure
from crystal_core.files.parse import is_mixed, parse_text
from crystal_core.files.records import space_group
from crystal_core.files.writers import structure_to_text
from pages._ui.crystal.cached import curve_of, draw_curve, draw_distances, scene_of, usual_kind, words_of
from pages._ui.crystal.cell_tables import show_lattice, show_sites
from pages._ui.crystal.colouring import ask_colouring, moment_words, options_for, show_values
from pages._ui.crystal.diffraction import show_diffraction
from pages._ui.crystal.downloads import show_files
from pages._ui.crystal.infill import language_model, offer_infill
from pages._ui.crystal.phases import show_phases
from pages._ui.crystal.shared import show_shared
from pages._ui.crystal.typeset import formula_text, group_text
from pages._ui.run.badges import COLOURS, SIGNS, show_verdict
from pages._ui.run.verdict import Tone, Verdict
from pages._ui.run.verdicts import charge_balance, distances_word, newness, structure_word
from pages._ui.text import escape_markdown, sentence_case
from pages._ui.theme import REST, REST_TALL
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from crystal_core.records import CrystalRecord, Provenance

VALENCES = (
    "Sums by O'Keeffe and Brese's parameters of the elements, in valence units, negative for anions. "
    "Oxidation states are the balanced ones that fit the sums best (pymatgen)."
)
MAX_NAMED = 4  # kinds of surroundings that a sentence can hold
MAX_COMPARED = 60  # sites; known crystals have up to 20 in the primitive cell


@st.fragment
def show_structure(
    structure: Structure,
    *,
    key: str,
    provenance: Provenance | None = None,
    origin: str = "",
    pale: Structure | None = None,
    occupancy: Mapping[str, Any] | None = None,
    compare: bool = False,
    judged: AbstractSet[str] = frozenset(),
    head: Callable[[], None] | None = None,
    is_tall: bool = False,
) -> None:
    """The detail view, the picture beside its facts.

    What is clicked inside reruns only this part of the page.

    Args:
        pale: drawn pale over the crystal as given: the same sites in the same order, in a cell of its own.
        occupancy: of a crystal with shared sites or heavy hydrogen, see
            :func:`crystal_core.files.parse.occupancy_of`.
        compare: say in the summary whether it is a known crystal.
        judged: words of verdicts that the page says elsewhere, which the summary does not repeat.
        head: draws what stands above the facts; no buttons, which would rerun this part alone.
        is_tall: no strip of crystals stands below, which would have to be in sight.
    """
    try:
        if occupancy and is_mixed(occupancy):
            show_shared(structure, occupancy, key=key)
            return
        _show(structure, key, provenance, origin, pale, occupancy, compare, judged, head, is_tall)
    except CrystalCoreError as error:
        st.error(escape_markdown(error))


def _show(
    structure: Structure,
    key: str,
    provenance: Provenance | None,
    origin: str,
    pale: Structure | None,
    occupancy: Mapping[str, Any] | None,
    compare: bool,
    judged: AbstractSet[str],
    head: Callable[[], None] | None,
    is_tall: bool,
) -> None:
    left, side = st.columns([4, 3], gap="medium")
    picture = left.container(gap="xsmall")
    facts = side.container(key=f"facts-{'tall-' if is_tall else ''}{key}", gap="xsmall")
    if head is not None:
        # first: it also stands where a cell cannot be drawn
        with facts, st.container(key=f"head-{key}", gap="xsmall"):
            head()
    with picture, st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        given, own = structure_to_text(structure, "json"), structure
        first = usual_kind(given, structure) if provenance and pale is None else CELL_KINDS[0]
        kind = (
            st.segmented_control(
                "Cell",
                CELL_KINDS,
                default=first,
                key=f"{key}-cell",
                format_func=sentence_case,
                label_visibility="collapsed",
            )
            or first
        )
        structure = cell_choice(structure, kind)
        by = ask_colouring(options_for(structure), key)
    # names the structure for the caches below
    text = given if kind == CELL_KINDS[0] else structure_to_text(structure, "json")
    scene = scene_of(text) | {"sentence": words_of(text, occupancy, structure)}
    if pale is not None and kind == CELL_KINDS[0]:
        scene = overlay_scene(structure, pale)
    with picture:
        scene = show_values(scene, structure, text, by)
    table = st.session_state.get(f"{key}-sites")
    rows = table.selection.rows if table else []
    with picture:
        rest = REST_TALL if is_tall else REST
        picked = crystal_viewer(scene, key=f"{key}-viewer", rest=rest, selected=rows, report=True)
        if words := moment_words(own, is_given=kind == CELL_KINDS[0]):
            st.caption(words)
        if picked is not None and picked < len(structure):
            site = scene["sites"][picked]
            st.caption(
                f"{site['e']}{picked + 1}: ({', '.join(f'{x:.4f}' for x in site['f'])}) · "
                f"{coordination(scene)[picked]}"
            )
    with facts:
        _tabs(
            structure,
            key,
            provenance,
            origin,
            occupancy,
            compare,
            judged,
            given=given,
            kind=kind,
            text=text,
            brief=head is not None,
        )


def _tabs(
    structure: Structure,
    key: str,
    provenance: Provenance | None,
    origin: str,
    occupancy: Mapping[str, Any] | None,
    compare: bool,
    judged: AbstractSet[str],
    *,
    given: str,
    kind: str,
    text: str,
    brief: bool,
) -> None:
    """The facts of the cell shown, which ``text`` names; ``given`` names the crystal as it came.

    ``brief``: a heading above names formula, group and density in large letters.
    """
    if len(structure) > MAX_ANALYSED:
        st.info(
            f"This cell has {len(structure)} sites; tables and patterns are made for up to {MAX_ANALYSED}."
        )
        return
    names = [
        "Summary",
        "Sites",
        "Symmetry",
        "Diffraction",
        "Distances",
        "Phases",
        "Files",
        "Provenance",
    ]
    summary, sites, symmetry, diffraction, distances, phases, files, origin_tab = st.tabs(names)
    with summary:
        _summary(structure, text, origin, occupancy, judged, brief=brief)
        known = st.container()
    with sites:
        ask = " and asks which elements fit there" if language_model() and not occupancy else ""
        st.caption(f"A selected row (Shift+Space) marks its atom{ask}. A clicked atom says which row it is.")
        valences = None
        if st.toggle("Oxidation states and bond-valence sums", key=f"{key}-valences", help=VALENCES):
            valences = _valences(text)
            if valences.reason:
                st.caption(escape_markdown(valences.reason))
        chosen = show_sites(
            _sites(text, valences), on_select="rerun", selection_mode="multi-row", key=f"{key}-sites"
        )
        if not occupancy:
            selected = [row for row in chosen.selection.rows if row < len(structure)]
            offer_infill(structure, selected, key=key)
    with symmetry:
        st.caption(
            "The space group depends on the tolerance. Models place atoms inexactly, "
            "so a tight tolerance finds P1."
        )
        draw_curve(text, key)
    with diffraction:
        shares = (occupancy or {}).get("shares")
        volume = structure.volume
        show_diffraction(given, kind, volume, key=key, is_generated=bool(provenance), shares=shares)
    with distances:
        draw_distances(text, key)
    with phases:
        show_phases(structure, text, key)
    with files:
        show_files(structure, text, key, provenance)
    with origin_tab:
        st.json(dict(provenance)) if provenance else st.caption("Read from a file; nothing was generated.")
    # last, because the first comparison of an app reads the index of known crystals, which takes seconds
    if compare:
        with known:
            show_verdict(_newness(given))


def _summary(
    structure: Structure,
    text: str,
    origin: str,
    occupancy: Mapping[str, Any] | None,
    judged: AbstractSet[str],
    *,
    brief: bool,
) -> None:
    if origin:
        st.caption(f"{sentence_case(origin)}.")
    mixed = dict(occupancy or {})
    if mixed:
        rest = "Formula and density are those of the file; models and written files have H in place of D."
        st.caption(escape_markdown(f"The crystal has {mixed['sites']}. {rest}"))
    group = next(row for row in curve_of(text) if row["tolerance (Å)"] == 0.1)
    formula = escape_markdown(formula_text(mixed.get("formula") or formula_of(structure.composition)))
    symbol = group_text(group["space group"])
    density = f"{mixed.get('density') or structure.density:.2f} g/cm³"
    if not brief:
        # side by side as far as they fit, two by two on a phone
        with st.container(horizontal=True, gap="small"):
            st.metric("Formula", formula, width="content")
            st.metric("Space group (0.1 Å)", symbol, width="content")
            st.metric("Density", density, width="content")
    show_lattice(structure, above=f"{formula} · {symbol} (0.1 Å) · {density}" if brief else "")
    _show_checks(structure, judged)
    st.code(
        _sentence(text, words_of(text, mixed or None, structure), group["space group"]),
        language=None,
        wrap_lines=True,
    )


def _show_checks(structure: Structure, judged: AbstractSet[str]) -> None:
    """Checks of cell, charges and distances with reasons; nothing where all are among ``judged``."""
    validity = check_structure(structure)
    charges = charge_balance(
        cast("CrystalRecord", {"atomic_numbers": structure.atomic_numbers, "validity": asdict(validity)})
    )
    tones: dict[str, Tone] = {
        structure_word(is_valid=validity.structure): "good" if validity.structure else "bad",
        charges.word: charges.tone,
        distances_word(is_plausible=validity.plausible): "good" if validity.plausible else "bad",
    }
    if tones.keys() <= judged:
        return
    reasons = [*(validity.reasons if validity.composition else validity.reasons[:-1]), charges.reason]
    st.markdown(" ".join(f":{COLOURS[tone]}-badge[{SIGNS[tone]} {name}]" for name, tone in tones.items()))
    for reason in reasons:
        st.text(reason)


def _sentence(text: str, words: str, group: str) -> str:
    """The crystal in words to copy: its picture for a screen reader, space group, and bonds."""
    scene = scene_of(text)
    around = dict.fromkeys(
        f"{site['e']} to {near}"
        for site, near in zip(scene["sites"], coordination(scene), strict=True)
        if near != "–"
    )
    bonds = f" Bonded: {'; '.join(around)}." if 0 < len(around) <= MAX_NAMED else ""
    return f"{words} Space group {group} within 0.1 Å.{bonds}"


@st.cache_data(max_entries=64, show_spinner="Comparing with known crystals …")
def _newness(text: str) -> Verdict:
    """Whether the crystal is a known one.

    Large cells, which take long and which no known crystal has, are not compared.
    """
    from crystal_core.reference.known import novelty

    structure = parse_text(text, purpose="view")
    if len(structure) > MAX_COMPARED:
        with suppress(RequestError):
            structure = cell_choice(structure, "primitive")
    if len(structure) > MAX_COMPARED:
        return Verdict(
            "open", "not compared", f"Known crystals are compared with cells of up to {MAX_COMPARED} sites."
        )
    record: dict[str, Any] = {
        "novelty": novelty(structure),
        "space_group": space_group(structure),
        "provenance": {},
    }
    return newness_of_own(cast("CrystalRecord", record), structure)


def newness_of_own(record: CrystalRecord, structure: Structure) -> Verdict:
    """:func:`pages._ui.run.verdicts.newness` of a user's crystal: never new, no fault if known."""
    _, z = structure.composition.get_reduced_composition_and_factor()
    return replace(newness({**record, "z": int(z)}), tone="open")


def _sites(text: str, valences: Valences | None) -> list[dict[str, Any]]:
    rows = [
        row | {"bonded to": bonded}
        for row, bonded in zip(_plain_sites(text), coordination(scene_of(text)), strict=True)
    ]
    if valences is None:
        return rows
    return [
        row | {"oxidation state": state_text(state), "bond-valence sum": total}
        for row, state, total in zip(rows, valences.states, valences.sums, strict=True)
    ]


@st.cache_data(max_entries=64, show_spinner=False)
def _plain_sites(text: str) -> list[dict[str, Any]]:
    return site_table(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner="Summing bond valences …")
def _valences(text: str) -> Valences:
    return valences_of(parse_text(text, purpose="view"))
