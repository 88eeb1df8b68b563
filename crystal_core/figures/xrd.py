"""A powder pattern as sticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from crystal_core.evaluation.xrd import Pattern


def xrd_figure(pattern: Pattern) -> Figure:
    """Sticks at 2θ with Miller indices on hover."""
    from plotly import graph_objects as go

    figure = go.Figure(
        go.Bar(
            x=list(pattern.two_theta), y=list(pattern.intensity), width=0.25, customdata=list(pattern.hkl),
            hovertemplate="2θ %{x:.2f}°<br>%{y:.1f} %<br>%{customdata}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(
        xaxis_title=f"2θ (°), {pattern.radiation}", yaxis_title="intensity (%)", height=320, margin={"l": 10, "r": 10, "t": 20, "b": 10}
    )
    return figure
