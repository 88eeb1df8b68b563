"""The powder pattern of one crystal: radiation, range and width of the reader's choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from crystal_core.drawing.figures.xrd import xrd_figure
from crystal_core.drawing.scene import CELL_KINDS, cell_choice
from crystal_core.errors import CrystalCoreError, RequestError
from crystal_core.evaluation.xrd import (
    WAVELENGTH_RANGE,
    WAVELENGTHS,
    pattern,
    profile,
    radiation_text,
    stick_height,
)
from crystal_core.files.parse import parse_text, with_shares
from pages._ui.crystal.cached import curve_of
from pages._ui.text import escape_markdown

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

MAX_TWO_THETA = 120  # degrees; beyond, large cells have too many reflections to wait for
CUSTOM, CU_K_ALPHA_1 = "custom", 1.5406  # Å
MAX_REFLECTIONS = 60_000  # of a wavelength of one's own; more take tens of seconds


def show_diffraction(
    given: str,
    kind: str,
    volume: float,
    *,
    key: str,
    is_generated: bool,
    shares: Sequence[Mapping[str, float]] | None,
) -> None:
    """Pattern and controls; why there is no pattern is said in its place.

    Args:
        given: the crystal as JSON, in the cell it came in.
        kind: of the cell that is shown.
        volume: of that cell, Å³.
        shares: element → occupancy of every site, where not all are one element's.
    """
    left, middle, right = st.columns([5, 3, 3])
    radiation = _radiation(left, key)
    low, high = middle.slider("Range (° 2θ)", 2, MAX_TWO_THETA, (5, 90), key=f"{key}-range")
    window = (float(low), float(max(high, low + 1)))
    width = right.slider(
        "Width (° 2θ)",
        0.0,
        1.0,
        0.2,
        0.05,
        key=f"{key}-width",
        help="Full width at half maximum of the peaks. At 0 they are sticks.",
    )
    try:
        if not isinstance(radiation, str):
            _check_reflections(volume, radiation, window[1])
        cell = _diffracting(given, kind, key) if is_generated else kind
        _draw(given, cell, shares, radiation, window, width, key)
    except CrystalCoreError as error:  # the tabs after this one are still to be shown
        st.info(escape_markdown(error))


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
            "No pattern: too many reflections. Take a longer wavelength or end the range at a lower angle."
        )


def _diffracting(given: str, kind: str, key: str) -> str:
    """The cell whose pattern is shown: idealised, or as it is if without symmetry or on request."""
    if not any(row["number"] for row in curve_of(given) if row["tolerance (Å)"] == 0.1):
        return CELL_KINDS[0]
    if st.toggle(
        "Pattern of the cell as given",
        key=f"{key}-as-given",
        help="Models place atoms inexactly, which splits equivalent reflections. Off: "
        "the cell is idealised within 0.1 Å first.",
    ):
        return CELL_KINDS[0]
    st.caption(
        "Idealised within 0.1 Å."
        + (" Indices are those of the conventional cell." if kind == CELL_KINDS[0] else "")
    )
    return "conventional" if kind == CELL_KINDS[0] else kind


@st.cache_data(max_entries=64, show_spinner=False)
def _draw(
    text: str,
    kind: str,
    shares: Sequence[Mapping[str, float]] | None,
    radiation: str | float,
    window: tuple[float, float],
    width: float,
    key: str,
) -> None:
    reflections = _pattern(text, kind, shares, radiation, window)
    line = profile(reflections, fwhm=width, two_theta=window) if width else None
    strongest = stick_height(reflections, line, fwhm=width) if line else 100.0
    st.plotly_chart(
        xrd_figure(reflections, line, window, strongest=strongest), width="stretch", key=f"{key}-xrd"
    )


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
