"""The space group over the tolerance of its search, as steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.drawing.figures.frame import MARGINS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def symmetry_figure(curve: Sequence[dict[str, Any]]) -> Figure:
    """Space-group number against the tolerance (Å, logarithmic), each step named.

    Args:
        curve: rows of :func:`crystal_core.evaluation.symmetry.space_group_curve`.
    """
    from plotly import graph_objects as go

    rows = [row for row in curve if row["number"]]
    names, last = [], None
    for row in rows:
        names.append(row["space group"] if row["space group"] != last else "")
        last = row["space group"]
    figure = go.Figure(
        go.Scatter(
            x=[row["tolerance (Å)"] for row in rows],
            y=[row["number"] for row in rows],
            text=names,
            mode="lines+markers+text",
            line={"shape": "hv"},
            textposition="top center",
            cliponaxis=False,
            hovertemplate="%{x} Å<br>number %{y}<extra></extra>",
        )
    )
    figure.update_xaxes(type="log", title="tolerance (Å)", dtick=1)
    figure.update_yaxes(range=[0, 245], title="space-group number")
    figure.update_layout(height=300, margin=MARGINS)
    return figure
