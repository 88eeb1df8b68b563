"""Figures of a trajectory: the energy of every frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crystal_core.drawing.figures.frame import MARGINS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def energy_figure(numbers: Sequence[int], energies: Sequence[float]) -> Figure:
    """Energies (eV) against the numbers of their frames.

    The axis spans the energies and not zero, from which the total energy of a cell is far.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=list(numbers),
        y=list(energies),
        mode="lines+markers" if len(numbers) <= 50 else "lines",
        hovertemplate="frame %{x}<br>%{y:.4f} eV<extra></extra>",
    )
    figure.update_layout(
        xaxis_title="frame",
        yaxis_title="energy (eV)",
        height=220,
        margin=MARGINS,
    )
    return figure
