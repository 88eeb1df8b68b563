"""Predicted against true values of crystals held out of a training."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from crystal_core.drawing.figures.colours import BEHIND, LINES
from crystal_core.drawing.figures.frame import MARGINS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from crystal_core.records import LearnedProperty

MARGIN = 0.05  # of the range of the axes, on each side


def parity_figure(learned: LearnedProperty) -> Figure:
    """One point per held-out crystal, named on hover, and the line on which a perfect prediction lies.

    The axes are alike, and logarithmic where the property is.
    """
    from plotly import graph_objects as go

    about = learned["property"]
    unit = f" ({html.escape(about['unit'])})" if about["unit"] else ""
    values = [*learned["true"], *learned["predicted"]]
    ends = (min(values), max(values))
    if about["logarithmic"]:
        ends = (math.log10(ends[0]), math.log10(ends[1]))
    pad = MARGIN * (ends[1] - ends[0]) or 1.0
    axis = [ends[0] - pad, ends[1] + pad]
    line = [10**end for end in axis] if about["logarithmic"] else axis
    figure = go.Figure()
    figure.add_scatter(x=line, y=line, mode="lines", line={"color": BEHIND, "dash": "dot"}, hoverinfo="skip")
    figure.add_scatter(
        x=learned["true"],
        y=learned["predicted"],
        mode="markers",
        marker={"color": LINES[0], "size": 7},
        # plotly reads tags and entities in what it shows
        customdata=[
            [html.escape(name), html.escape(formula)]
            for name, formula in zip(learned["ids"], learned["formulas"], strict=True)
        ],
        hovertemplate="%{customdata[0]} · %{customdata[1]}<br>true "
        "%{x:.4g}<br>predicted %{y:.4g}<extra></extra>",
    )
    kind = "log" if about["logarithmic"] else "linear"
    figure.update_xaxes(type=kind, range=axis, title=f"true{unit}")
    figure.update_yaxes(type=kind, range=axis, title=f"predicted{unit}")
    figure.update_layout(showlegend=False, height=380, margin=MARGINS)
    return figure
