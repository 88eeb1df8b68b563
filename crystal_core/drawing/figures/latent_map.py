"""The map of a predictor's training crystals, coloured by a property, with the user's own on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

MOST_POINTS = 3000  # points that a browser draws quickly as SVG; others are left out at random
COLOUR_QUANTILES = (0.02, 0.98)  # quantiles of the values at which the colours end
SCALE = "Viridis"


def shown_rows(values: NDArray[np.float32], most: int = MOST_POINTS) -> NDArray[np.int64]:
    """Rows with a known value, at most ``most``, always the same ones."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known) <= most:
        return known
    return np.sort(np.random.default_rng(0).choice(known, most, replace=False))


def map_figure(
    places: NDArray[np.float32],
    values: NDArray[np.float32],
    words: Sequence[str],
    *,
    label: str,
    logarithmic: bool,
    own: Sequence[tuple[float, float]],
    own_words: Sequence[str],
) -> Figure:
    """Training crystals as points and own crystals as rings.

    Args:
        places: (crystals, 2).
        values: (crystals,) of the property, all known.
        words: on hover.
        label: with the unit.
        logarithmic: colour by the logarithm. own: places of the own crystals.
    """
    from plotly import graph_objects as go

    colours = np.log10(values) if logarithmic else values
    low, high = np.quantile(colours, COLOUR_QUANTILES)
    ticks = np.linspace(low, high, 5)
    texts = [f"{10**tick if logarithmic else tick:.3g}" for tick in ticks]
    figure = go.Figure()
    # SVG: Plotly's WebGL traces build functions from text, which the served app's policy forbids
    figure.add_scatter(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers",
        marker={
            "size": 4,
            "color": colours,
            "colorscale": SCALE,
            "cmin": float(low),
            "cmax": float(high),
            "opacity": 0.75,
            "colorbar": {
                "title": {"text": label, "side": "right"},
                "tickvals": ticks.tolist(),
                "ticktext": texts,
                "thickness": 12,
            },
        },
        text=list(words),
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    if own:
        figure.add_scatter(
            x=[x for x, _ in own],
            y=[y for _, y in own],
            mode="markers",
            marker={"size": 13, "symbol": "circle-open", "color": "#d5464f", "line": {"width": 3}},
            text=list(own_words),
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )
    axis = {"showticklabels": False, "zeroline": False, "showgrid": False}
    figure.update_xaxes(title="principal component 1", **axis)
    figure.update_yaxes(title="principal component 2", **axis)
    figure.update_layout(height=460, margin={"l": 10, "r": 10, "t": 36, "b": 10})  # above: the tools
    return figure
