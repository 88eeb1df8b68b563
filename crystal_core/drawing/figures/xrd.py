"""A powder pattern as sticks or as a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crystal_core.drawing.figures.colours import BEHIND, LINES
from crystal_core.drawing.figures.frame import MARGINS

MOST_NAMED = 4  # families of reflections on hover

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

    from crystal_core.evaluation.xrd import Pattern


def xrd_figure(
    pattern: Pattern,
    line: tuple[np.ndarray, np.ndarray] | None = None,
    two_theta: tuple[float, float] | None = None,
    *,
    strongest: float = 100.0,
) -> Figure:
    """Sticks at 2θ with Miller indices on hover; with ``line`` (2θ, intensity) also the profile through them.

    Args:
        two_theta: first and last angle of the axis in degrees; None shows what there are peaks for.
        strongest: height of the strongest stick, see :func:`crystal_core.evaluation.xrd.stick_height`; on
            hover it is 100 %.
    """
    from plotly import graph_objects as go

    from crystal_core.evaluation.xrd import radiation_text

    figure = go.Figure(
        go.Bar(
            x=list(pattern.two_theta),
            y=[height * strongest / 100 for height in pattern.intensity],
            width=0.25,
            marker={"color": LINES[0], "line": {"width": 0}},
            customdata=[
                [height, _shortened(hkl)] for height, hkl in zip(pattern.intensity, pattern.hkl, strict=True)
            ],
            hovertemplate="2θ %{x:.2f}°<br>%{customdata[0]:.1f} %<br>%{customdata[1]}<extra></extra>",
        )
    )
    if line is not None:
        figure.data[0].marker.color = BEHIND
        figure.add_scatter(
            x=line[0].round(3),
            y=line[1].round(3),
            mode="lines",
            line={"color": LINES[0], "width": 1.8},
            hoverinfo="skip",
        )
    figure.update_layout(
        showlegend=False,
        xaxis_title=f"2θ (°), {radiation_text(pattern.radiation)}",
        yaxis_title="intensity (%)",
        height=320,
        margin=MARGINS,
    )
    if two_theta:
        figure.update_xaxes(range=list(two_theta))
    return figure


def _shortened(hkl: str) -> str:
    families = hkl.split(", ")
    return ", ".join(families[:MOST_NAMED]) + (
        f" and {len(families) - MOST_NAMED} more" if len(families) > MOST_NAMED else ""
    )
