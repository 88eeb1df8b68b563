"""A powder pattern as sticks or as a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

    from crystal_core.evaluation.xrd import Pattern


def xrd_figure(pattern: Pattern, line: tuple[np.ndarray, np.ndarray] | None = None) -> Figure:
    """Sticks at 2θ with Miller indices on hover; with ``line`` (2θ, intensity) also the profile through them."""
    from plotly import graph_objects as go

    figure = go.Figure(
        go.Bar(
            x=list(pattern.two_theta), y=list(pattern.intensity), width=0.25, customdata=list(pattern.hkl),
            hovertemplate="2θ %{x:.2f}°<br>%{y:.1f} %<br>%{customdata}<extra></extra>",
        )
    )  # fmt: skip
    if line is not None:
        figure.data[0].opacity = 0.35
        figure.add_scatter(x=line[0].round(3), y=line[1].round(3), mode="lines", hoverinfo="skip")
    figure.update_layout(
        showlegend=False,
        xaxis_title=f"2θ (°), {pattern.radiation}",
        yaxis_title="intensity (%)",
        height=320,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
    )
    return figure
