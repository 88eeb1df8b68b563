"""Radial distribution functions as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crystal_core.drawing.figures.colours import LINES
from crystal_core.drawing.figures.frame import MARGINS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from crystal_core.evaluation.rdf import RadialDistribution


def rdf_figure(distribution: RadialDistribution) -> Figure:
    """One line per pair of elements; the total is hidden until its legend entry is clicked."""
    from plotly import graph_objects as go

    figure = go.Figure()
    for k, (name, values) in enumerate(distribution.curves.items()):
        hidden = name == "all" and len(distribution.curves) > 2
        figure.add_scatter(
            x=distribution.r,
            y=values.round(4),
            name=name,
            mode="lines",
            line={"color": LINES[k % len(LINES)]},
            visible="legendonly" if hidden else True,
            hovertemplate="%{x:.2f} Å<br>g %{y:.2f}<extra>" + name + "</extra>",
        )
    figure.update_layout(xaxis_title="distance (Å)", yaxis_title="g(r)", height=340, margin=MARGINS)
    return figure
