"""Figures of a card: the validation curve of a training, and samplers at equal network calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.properties import PROPERTIES

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000)  # network calls


def training_figure(log: Sequence[Mapping[str, Any]]) -> Figure:
    """Validation losses against the crystals seen; a match rate, where it was measured, on its own axis.

    Of a property predictor: the mean absolute error of every property, as a share of its first one.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    errors = [name for name in PROPERTIES if any(name in row.get("validation", {}) for row in log)]
    if errors:
        return _error_figure(log, errors)
    for name, label in (("loss_v", "velocity loss"), ("loss_l", "lattice loss")):
        points = [
            (row["samples"], row["validation"][name]) for row in log if name in row.get("validation", {})
        ]
        figure.add_scatter(
            x=[x for x, _ in points], y=[y for _, y in points], name=label, mode="lines+markers"
        )
    matched = [
        (row["samples"], row["validation"]["match_rate"])
        for row in log
        if "match_rate" in row.get("validation", {})
    ]
    if matched:
        figure.add_scatter(
            x=[x for x, _ in matched],
            y=[y for _, y in matched],
            name="match rate",
            mode="lines+markers",
            yaxis="y2",
        )
        figure.update_layout(
            yaxis2={
                "overlaying": "y",
                "side": "right",
                "title": "match rate",
                "rangemode": "tozero",
                "showgrid": False,
            }
        )
    figure.update_layout(
        xaxis_title="crystals seen",
        yaxis_title="validation loss",
        height=320,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": 1.12},
    )
    return figure


def _error_figure(log: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    from plotly import graph_objects as go

    figure = go.Figure()
    for name in names:
        points = [
            (row["samples"], row["validation"][name]) for row in log if name in row.get("validation", {})
        ]
        first = points[0][1] or 1.0
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y / first for _, y in points],
            customdata=[y for _, y in points],
            name=PROPERTIES[name].title,
            mode="lines+markers",
            hovertemplate="%{x:,} crystals<br>error %{customdata:.4g}<extra>"
            + PROPERTIES[name].title
            + "</extra>",
        )
    figure.update_layout(
        xaxis_title="crystals seen",
        yaxis_title="validation error / its first value",
        height=380,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
    )
    return figure


def comparison_figure(table: Mapping[str, Sequence[Any]]) -> Figure:
    """Validation loss of the velocities against the crystals seen, of trainings that differ in one thing.

    Args:
        table: columns training (its name), samples and loss_v, as on the card.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    rows = list(zip(table["training"], table["samples"], table["loss_v"], strict=True))
    for training in dict.fromkeys(table["training"]):
        chosen = [row for row in rows if row[0] == training]
        figure.add_scatter(
            x=[row[1] for row in chosen], y=[row[2] for row in chosen], name=training, mode="lines+markers"
        )
    figure.update_layout(
        xaxis_title="crystals seen",
        yaxis_title="validation loss (velocity)",
        height=320,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": 1.12},
    )
    return figure


def sampler_figure(table: Mapping[str, Sequence[Any]]) -> Figure:
    """Match rate of each sampler against network calls per crystal (logarithmic); RMSE on hover.

    Args:
        table: columns sampler, network_calls, match_rate (0 to 1) and rmse, as on the card.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    rows = list(
        zip(table["sampler"], table["network_calls"], table["match_rate"], table["rmse"], strict=True)
    )
    for sampler in dict.fromkeys(table["sampler"]):
        chosen = [row for row in rows if row[0] == sampler]
        figure.add_scatter(
            x=[row[1] for row in chosen],
            y=[100 * row[2] for row in chosen],
            customdata=[row[3] for row in chosen],
            name=sampler,
            mode="lines+markers",
            hovertemplate="%{x} calls<br>%{y:.1f} %<br>RMSE %{customdata}<extra>" + str(sampler) + "</extra>",
        )
    figure.update_xaxes(
        type="log", title="network calls per crystal", tickvals=TICKS, ticktext=[f"{n:,}" for n in TICKS]
    )
    figure.update_layout(
        yaxis_title="match rate (%)",
        height=360,
        margin={"l": 10, "r": 10, "t": 20, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return figure
