"""What the energy of a relaxed crystal means, and how far it can be trusted; shared by predictions and generations."""

from __future__ import annotations

import streamlit as st

from crystal_core.records import CrystalRecord, EnergyRecord, published_above_hull
from crystal_core.reference.hull import measured_error
from pages._ui.crystal.typeset import formula_text
from pages._ui.plain import plain


def error_words() -> str:
    """How far the estimates were off where that was measured; empty where it was not."""
    error = measured_error("chgnet")
    if not error:
        return ""
    return (
        f"On {error['n']} hypothetical crystals CHGNet was not trained on, its energy above the hull was off by {error['mae_ev']:.2f} eV/atom on "
        f"average (bias {error['bias_ev']:+.2f}, spread {error['spread_ev']:.2f})."
    )


def show_energies(record: CrystalRecord) -> None:
    """Energy of one crystal, above the lowest of its run where that is told, its hull and products, the published value of a known crystal, and what relaxing did."""
    told = record.get("relaxation", {})
    if "error" in told:
        st.warning(plain(f"Not relaxed, shown as sampled. {told['error']}"))
    energies, published = record.get("energies"), published_above_hull(record)
    if not energies and published is None:
        return
    with st.container(key="energies", gap=None):
        if energies:
            _show_estimates(record, energies)
        if published is not None:
            words = plain(
                f"Of {record['novelty']['nearest_id']}, which this crystal is: Materials Project, DFT."
            )
            st.metric("Above the hull (eV/atom, published)", f"{published:.3f}", help=words, width="stretch")
        if energies and told and "error" not in told:
            words = plain(f"{told['status']} {told['n_steps']} steps.")
            st.metric("Atoms moved (Å)", f"{told['displacement_angstrom']:.2f}", help=words, width="stretch")
    if energies and energies["e_above_hull_ev"] is None:
        st.caption(plain(energies["note"]))
    if energies and told and "error" not in told and not told["converged"]:
        st.caption(plain(told["status"]))


def _show_estimates(record: CrystalRecord, energies: EnergyRecord) -> None:
    if "above_lowest_mev" in record:
        words = "Against the candidate of lowest energy in this run; much of the potential's error cancels in the difference."
        st.metric(
            "Above the lowest (meV/atom, ML estimate)",
            f"{record['above_lowest_mev']:.0f}",
            help=words,
            width="stretch",
        )
    st.metric("Energy (eV/atom, ML estimate)", f"{energies['energy_per_atom_ev']:.3f}", width="stretch")
    if energies["e_above_hull_ev"] is None:
        return
    products = " + ".join(
        f"{100 * share:.0f} % {formula_text(name)}" for name, share in energies["decomposition"].items()
    )
    words = plain(
        f"Against {products} (shares of the atoms), the best known. It carries the full error of the potential."
    )
    as_sampled = " as sampled" if "error" in record.get("relaxation", {}) else ""
    st.metric(
        f"Above the hull{as_sampled} (eV/atom, ML estimate)",
        _above_hull(energies),
        help=words,
        width="stretch",
    )


def _above_hull(energies: EnergyRecord) -> str:
    error = energies["e_above_hull_error_ev"]
    return f"{energies['e_above_hull_ev']:.3f}" + (f" ± {error:.2f}" if error is not None else "")
