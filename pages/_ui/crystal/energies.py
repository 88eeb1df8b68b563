"""The meaning of a relaxed crystal's energy, and its reliability.

Shared by predictions and generations.
"""

from __future__ import annotations

import streamlit as st

from crystal_core.properties import fixed
from crystal_core.records import CrystalRecord, EnergyRecord, published_above_hull
from crystal_core.reference.hull import measured_error
from pages._ui.crystal.typeset import formula_text
from pages._ui.text import escape_markdown


def error_words() -> str:
    """How far the estimates were off where that was measured; empty where it was not."""
    error = measured_error("chgnet")
    if not error:
        return ""
    return (
        f"On {error['n']} hypothetical crystals CHGNet was not trained on, its energy above the hull was off "
        f"by {error['mae_ev']:.2f} eV/atom on average (bias {fixed(error['bias_ev'], 2, signed=True)}, "
        f"spread {error['spread_ev']:.2f})."
    )


def show_energies(record: CrystalRecord) -> None:
    """Energy above the run's lowest and above the hull, a known crystal's published one, relaxation."""
    relaxation = record.get("relaxation", {})
    if "error" in relaxation:
        st.warning(escape_markdown(f"Not relaxed, shown as sampled. {relaxation['error']}"))
    energies, published = record.get("energies"), published_above_hull(record)
    if not energies and published is None:
        return
    with st.container(key="energies", gap=None):
        if energies:
            _show_estimates(record, energies)
        if published is not None:
            words = escape_markdown(
                f"Materials Project (DFT) value of {record['novelty']['nearest_id']}, the same crystal."
            )
            st.metric("Above the hull (eV/atom, published)", fixed(published, 3), help=words, width="stretch")
        if energies and relaxation and "error" not in relaxation:
            words = escape_markdown(f"{relaxation['status']} {relaxation['n_steps']} steps.")
            st.metric(
                "Atoms moved (Å)", f"{relaxation['displacement_angstrom']:.2f}", help=words, width="stretch"
            )
    if energies and energies["e_above_hull_ev"] is None:
        st.caption(escape_markdown(energies["note"]))
    if energies and relaxation and "error" not in relaxation and not relaxation["converged"]:
        st.caption(escape_markdown(relaxation["status"]))


def _show_estimates(record: CrystalRecord, energies: EnergyRecord) -> None:
    if "above_lowest_mev" in record:
        words = (
            "Against the candidate of lowest energy in this run; "
            "much of the potential's error cancels in the difference."
        )
        st.metric(
            "Above the lowest (meV/atom, ML estimate)",
            fixed(record["above_lowest_mev"], 0),
            help=words,
            width="stretch",
        )
    energy, above = energies["energy_per_atom_ev"], energies["e_above_hull_ev"]
    if energy is not None:
        st.metric("Energy (eV/atom, ML estimate)", fixed(energy, 3), width="stretch")
    if above is None:
        return
    products = " + ".join(
        f"{100 * share:.0f} % {formula_text(name)}" for name, share in energies["decomposition"].items()
    )
    words = escape_markdown(
        f"Against {products} (shares of the atoms), the best known. "
        f"It carries the full error of the potential. {error_words()}"
    )
    as_sampled = " as sampled" if "error" in record.get("relaxation", {}) else ""
    st.metric(
        f"Above the hull{as_sampled} (eV/atom, ML estimate)",
        _above_hull(above, energies["e_above_hull_error_ev"]),
        help=words,
        width="stretch",
    )


def _above_hull(value: float, error: float | None) -> str:
    return fixed(value, 3) + (f" ± {error:.3f}" if error is not None else "")
