"""One structure in full, shared by all pages: viewer, summary, sites, symmetry, diffraction, distances, files, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core import to_html
from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.figures.rdf import rdf_figure
from crystal_core.drawing.figures.symmetry import symmetry_figure
from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.drawing.scene import (
    CELL_KINDS,
    build_scene,
    cell_choice,
    coordination,
    describe,
    overlay_scene,
)
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.evaluation.rdf import radial_distribution
from crystal_core.evaluation.symmetry import MAX_ANALYSED, TOLERANCES, site_table, space_group_curve
from crystal_core.evaluation.validity import check_structure
from crystal_core.evaluation.xrd import (
    WAVELENGTH_RANGE,
    WAVELENGTHS,
    pattern,
    profile,
    radiation_text,
    stick_height,
)
from crystal_core.files.dft_inputs import espresso_input, vasp_files
from crystal_core.files.parse import is_mixed, parse_text, with_shares
from crystal_core.files.records import space_group, zip_texts
from crystal_core.files.writers import structure_to_text
from pages._ui.crystal.infill import language_model, offer_infill
from pages._ui.crystal.shared import show_shared
from pages._ui.crystal.typeset import formula_text, group_text
from pages._ui.plain import plain
from pages._ui.run.badges import COLOURS, SIGNS, show_verdict
from pages._ui.run.verdicts import Tone, Verdict, charge_balance, newness
from pages._ui.viewer import crystal_viewer

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from streamlit.delta_generator import DeltaGenerator

    from crystal_core.records import CrystalRecord, Provenance

FILES = {
    "CIF": ("cif", "cif"),
    "POSCAR": ("poscar", "vasp"),
    "extxyz": ("extxyz", "extxyz"),
    "JSON": ("json", "json"),
}
MAX_NAMED = 4  # kinds of surroundings that a sentence can hold
MAX_TWO_THETA = 120  # degrees; beyond, large cells have too many reflections to wait for
CUSTOM, CU_K_ALPHA_1 = "custom", 1.5406  # Å
MAX_REFLECTIONS = 60_000  # of a wavelength of one's own; more take tens of seconds
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
) -> None:
    """The detail view; what is clicked inside reruns only this part of the page.

    Args:
        pale: drawn pale over the crystal as given: the same sites in the same order, in a cell of its own.
        occupancy: of a crystal with shared sites or heavy hydrogen, see
            :func:`crystal_core.files.parse.occupancy_of`.
        compare: say in the summary whether it is a known crystal.
    """
    try:
        if occupancy and is_mixed(occupancy):
            show_shared(structure, occupancy, key=key)
            return
        _show(structure, key, provenance, origin, pale, occupancy, compare)
    except CrystalCoreError as error:
        st.error(plain(error))


def _show(
    structure: Structure,
    key: str,
    provenance: Provenance | None,
    origin: str,
    pale: Structure | None,
    occupancy: Mapping[str, Any] | None,
    compare: bool,
) -> None:
    kind = (
        st.segmented_control(
            "Cell", CELL_KINDS, default=CELL_KINDS[0], key=f"{key}-cell", label_visibility="collapsed"
        )
        or CELL_KINDS[0]
    )
    given = structure_to_text(structure, "json")
    structure = cell_choice(structure, kind)
    text = (
        given if kind == CELL_KINDS[0] else structure_to_text(structure, "json")
    )  # names the structure for the caches below
    scene = _scene(text) | {"sentence": describe(structure, occupancy)}
    if pale is not None and kind == CELL_KINDS[0]:
        scene = overlay_scene(structure, pale)
    table = st.session_state.get(f"{key}-sites")
    rows = table.selection.rows if table else []
    picked = crystal_viewer(scene, key=f"{key}-viewer", selected=rows, report=True)
    if picked is not None and picked < len(structure):
        site = scene["sites"][picked]
        st.caption(
            f"{site['e']}{picked + 1}: ({', '.join(f'{x:.4f}' for x in site['f'])}) · {coordination(scene)[picked]}"
        )
    if len(structure) > MAX_ANALYSED:
        st.info(
            f"This cell has {len(structure)} sites; tables and patterns are made for up to {MAX_ANALYSED}."
        )
        return
    names = ["Summary", "Sites", "Symmetry", "Diffraction", "Distances", "Files", "Provenance"]
    summary, sites, symmetry, diffraction, distances, files, origin_tab = st.tabs(names)
    with summary:
        _summary(structure, text, origin, occupancy)
        known = st.container()
    with sites:
        ask = ", and to ask which elements fit there" if language_model() and not occupancy else ""
        st.caption(f"Select rows to mark their atoms above{ask}; click an atom to see its row here.")
        chosen = st.dataframe(
            _sites(text),
            hide_index=True,
            width="stretch",
            on_select="rerun",
            selection_mode="multi-row",
            key=f"{key}-sites",
        )
        if not occupancy:
            sites = [row for row in chosen.selection.rows if row < len(structure)]
            offer_infill(structure, sites, key=key)
    with symmetry:
        st.caption(
            "The space group depends on how much deviation is forgiven. Models place atoms inexactly, so a tight tolerance finds P1."
        )
        st.plotly_chart(symmetry_figure(_curve(text)), width="stretch", key=f"{key}-symmetry")
        st.dataframe(_curve(text), hide_index=True, width="stretch")
    with diffraction:
        left, middle, right = st.columns(3)
        radiation = _radiation(left, key)
        low, high = middle.slider("Range (° 2θ)", 2, MAX_TWO_THETA, (5, 90), key=f"{key}-range")
        window = (float(low), float(max(high, low + 1)))
        width = right.slider("Peak width (° 2θ), 0 for sticks", 0.0, 1.0, 0.2, 0.05, key=f"{key}-width")
        try:
            if not isinstance(radiation, str):
                _check_reflections(structure.volume, radiation, window[1])
            cell = _diffracting(given, kind, key) if provenance else kind
            found = _pattern(given, cell, (occupancy or {}).get("shares"), radiation, window)
            line = profile(found, fwhm=width, two_theta=window) if width else None
            strongest = stick_height(found, line, fwhm=width) if line else 100.0
            st.plotly_chart(
                xrd_figure(found, line, window, strongest=strongest), width="stretch", key=f"{key}-xrd"
            )
        except CrystalCoreError as error:  # the tabs after this one are still to be shown
            st.info(plain(error))
    with distances:
        st.plotly_chart(rdf_figure(_distances(text)), width="stretch", key=f"{key}-rdf")
    with files:
        _files(structure, text, key, provenance)
    with origin_tab:
        st.json(dict(provenance)) if provenance else st.caption("Read from a file; nothing was generated.")
    if (
        compare
    ):  # last, because the first comparison of an app reads the index of known crystals, which takes seconds
        with known:
            show_verdict(_newness(given))


def _radiation(place: DeltaGenerator, key: str) -> str | float:
    """A tabulated line, or a wavelength of the reader's own in Å."""
    chosen = place.selectbox(
        "Radiation",
        [*WAVELENGTHS, CUSTOM],
        key=f"{key}-radiation",
        format_func=lambda x: x if x == CUSTOM else radiation_text(x),
    )
    if chosen != CUSTOM:
        return chosen
    return place.number_input(
        "Wavelength (Å)", *WAVELENGTH_RANGE, CU_K_ALPHA_1, 0.0001, "%.4f", key=f"{key}-wavelength"
    )


def _check_reflections(volume: float, wavelength: float, highest: float) -> None:
    """Refuse more reflections than anybody waits for, of a cell (Å³) up to the 2θ ``highest`` (degrees).

    Raises:
        RequestError: there are too many.
    """
    reach = 2 * math.sin(math.radians(highest / 2)) / wavelength  # in reciprocal space, 1/Å
    if 4 / 3 * math.pi * reach**3 * volume > MAX_REFLECTIONS:
        raise RequestError(
            "No pattern: it has too many reflections to wait for. Take a longer wavelength, or end the range at a lower angle."
        )


def _diffracting(given: str, kind: str, key: str) -> str:
    """The cell of a model's crystal whose pattern is shown: idealised, unless it has no symmetry to find or is wanted as it is."""
    if not any(row["number"] for row in _curve(given) if row["tolerance (Å)"] == 0.1):
        return CELL_KINDS[0]
    if st.toggle(
        "Pattern of the cell as given",
        key=f"{key}-as-given",
        help="Models place atoms inexactly, which splits reflections that symmetry makes one. Off, the cell is idealised within 0.1 Å first.",
    ):
        return CELL_KINDS[0]
    st.caption(
        "Idealised within 0.1 Å."
        + (" Indices are those of the conventional cell." if kind == CELL_KINDS[0] else "")
    )
    return "conventional" if kind == CELL_KINDS[0] else kind


def _summary(structure: Structure, text: str, origin: str, occupancy: Mapping[str, Any] | None) -> None:
    validity = check_structure(structure)
    if origin:
        st.caption(f"Origin: {origin}")
    mixed = dict(occupancy or {})
    if mixed:
        rest = "Formula and density are those of the file; files and models have hydrogen there."
        st.caption(plain(f"The crystal has {mixed['sites']}. {rest}"))
    group = next(row for row in _curve(text) if row["tolerance (Å)"] == 0.1)
    a, b, c, alpha, beta, gamma = structure.lattice.parameters
    with st.container(
        horizontal=True, gap="medium"
    ):  # side by side as far as they fit, two by two on a phone
        st.metric(
            "Formula",
            plain(formula_text(mixed.get("formula") or formula_of(structure.composition))),
            width="content",
        )
        st.metric("Space group (0.1 Å)", group_text(group["space group"]), width="content")
        st.metric("Density", f"{mixed.get('density') or structure.density:.2f} g/cm³", width="content")
        st.metric("Volume", f"{structure.volume:.1f} Å³", width="content")
    st.dataframe(
        [
            {
                "a (Å)": round(a, 3),
                "b (Å)": round(b, 3),
                "c (Å)": round(c, 3),
                "α (°)": round(alpha, 2),
                "β (°)": round(beta, 2),
                "γ (°)": round(gamma, 2),
                "atoms": len(structure),
            }
        ],
        hide_index=True,
        width="stretch",
    )
    charges = charge_balance({"atomic_numbers": structure.atomic_numbers, "validity": asdict(validity)})
    tones: dict[str, Tone] = {
        "structure valid": "good" if validity.structure else "bad",
        charges.word: charges.tone,
        "distances plausible": "good" if validity.plausible else "bad",
    }
    reasons = [*(validity.reasons if validity.composition else validity.reasons[:-1]), charges.reason]
    st.markdown(" ".join(f":{COLOURS[tone]}-badge[{SIGNS[tone]} {name}]" for name, tone in tones.items()))
    for reason in reasons:
        st.text(reason)
    st.code(_sentence(text, describe(structure, mixed), group["space group"]), language=None, wrap_lines=True)


def _sentence(text: str, words: str, group: str) -> str:
    """The crystal in words, to copy: what the picture says to a screen reader, its space group, and who is bonded to whom."""
    scene = _scene(text)
    around = dict.fromkeys(
        f"{site['e']} to {near}"
        for site, near in zip(scene["sites"], coordination(scene), strict=True)
        if near != "–"
    )
    bonds = f" Bonded: {'; '.join(around)}." if 0 < len(around) <= MAX_NAMED else ""
    return f"{words} Space group {group} within 0.1 Å.{bonds}"


def _files(structure: Structure, text: str, key: str, provenance: Provenance | None) -> None:
    name = formula_of(structure.composition)
    st.caption(
        "All files hold the cell chosen above, with the same numbers. The web page opens without internet."
    )
    with st.container(horizontal=True):
        for label, (fmt, ending) in FILES.items():
            content = structure_to_text(structure, fmt, provenance=provenance)  # type: ignore[arg-type]
            st.download_button(label, content, f"{name}.{ending}", key=f"{key}-{fmt}")
        st.download_button(
            "Web page",
            lambda: to_html(parse_text(text, purpose="view")),
            f"{name}.html",
            "text/html",
            key=f"{key}-html",
        )
    symprec = st.select_slider(
        "Tolerance of the symmetrised CIF (Å)",
        TOLERANCES,
        0.1,
        key=f"{key}-symprec",
        help="The cell is idealised within it. A larger one finds more symmetry, and moves atoms farther.",
    )
    try:
        content = structure_to_text(structure, "cif-symmetrised", provenance=provenance, symprec=symprec)
        found = next((row["space group"] for row in _curve(text) if row["tolerance (Å)"] == symprec), "")
        st.download_button(
            f"CIF, symmetrised: {group_text(found)}" if found else "CIF, symmetrised",
            content,
            f"{name}.sym.cif",
            key=f"{key}-cif-symmetrised",
        )
    except CrystalCoreError as error:
        st.caption(plain(error))
    with st.container(horizontal=True):
        vasp, refusal = _vasp(text)
        if vasp:
            st.download_button(
                "VASP input",
                vasp,
                f"{name}-vasp.zip",
                "application/zip",
                key=f"{key}-vasp",
                help="POSCAR, INCAR, KPOINTS",
            )
        st.download_button(
            "Quantum ESPRESSO input",
            espresso_input(structure),
            f"{name}.pwi",
            key=f"{key}-espresso",
            help="For pw.x",
        )
    if refusal:
        st.caption(plain(refusal))
    st.caption(
        "Pseudopotentials are not inside: take the POTCAR or the .upf files you have a licence for, and check the cut-offs against them. "
        "Elements with an open d or f shell start ferromagnetic in the Quantum ESPRESSO input, which has no Hubbard U."
    )


@st.cache_data(max_entries=64, show_spinner="Comparing with known crystals …")
def _newness(text: str) -> Verdict:
    """Whether the crystal is a known one; large cells, which take long and which no known crystal has, are not compared."""
    from crystal_core.reference.known import novelty

    structure = parse_text(text, purpose="view")
    if len(structure) > MAX_COMPARED:
        with suppress(RequestError):
            structure = cell_choice(structure, "primitive")
    if len(structure) > MAX_COMPARED:
        return Verdict(
            tone="open",
            word="not compared",
            reason=f"Known crystals are compared with cells of up to {MAX_COMPARED} sites.",
        )
    return newness_of_own(
        {"novelty": novelty(structure), "space_group": space_group(structure), "provenance": {}}, structure
    )


def newness_of_own(record: CrystalRecord, structure: Structure) -> Verdict:
    """:func:`pages._ui.run.verdicts.newness` of a crystal of the reader's own: no fault if it is known, and never called new."""
    _, z = structure.composition.get_reduced_composition_and_factor()
    return replace(newness({**record, "z": int(z)}), tone="open")


@st.cache_data(max_entries=64, show_spinner=False)
def _vasp(text: str) -> tuple[bytes, str]:
    try:
        return zip_texts(vasp_files(parse_text(text, purpose="view"))), ""
    except CrystalCoreError as error:
        return b"", str(error)


@st.cache_data(max_entries=64, show_spinner=False)
def _scene(text: str) -> dict[str, Any]:
    return build_scene(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner=False)
def _sites(text: str) -> list[dict[str, Any]]:
    structure = parse_text(text, purpose="view")
    words = coordination(build_scene(structure))
    return [row | {"bonded to": bonded} for row, bonded in zip(site_table(structure), words, strict=True)]


@st.cache_data(max_entries=64, show_spinner=False)
def _curve(text: str) -> list[dict[str, Any]]:
    return space_group_curve(parse_text(text, purpose="view"))


@st.cache_data(max_entries=64, show_spinner=False)
def _pattern(
    text: str,
    kind: str,
    shares: Sequence[Mapping[str, float]] | None,
    radiation: str | float,
    two_theta: tuple[float, float],
) -> Any:
    structure = parse_text(text, purpose="view")
    return pattern(
        cell_choice(with_shares(structure, shares) if shares else structure, kind), radiation, two_theta
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _distances(text: str) -> Any:
    return radial_distribution(parse_text(text, purpose="view"))
