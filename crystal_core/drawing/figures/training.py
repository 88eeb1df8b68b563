"""Figures of a card: the validation curve of a training, and samplers at equal network calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.drawing.figures.frame import LEGEND_ABOVE, MARGINS
from crystal_core.properties import PROPERTIES

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000)  # network calls
CURVES: dict[str, Any] = {"height": 320, "margin": MARGINS, "legend": {"orientation": "h", "y": 1.12}}


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
        samples, losses = _curve(log, name)
        figure.add_scatter(x=samples, y=losses, name=label, mode="lines+markers")
    samples, rates = _curve(log, "match_rate")
    if samples:
        figure.add_scatter(x=samples, y=rates, name="match rate", mode="lines+markers", yaxis="y2")
        figure.update_layout(
            yaxis2={
                "overlaying": "y",
                "side": "right",
                "title": "match rate",
                "rangemode": "tozero",
                "showgrid": False,
            }
        )
    figure.update_layout(xaxis_title="crystals seen", yaxis_title="validation loss", **CURVES)
    return figure


def _curve(log: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Crystals seen and a validation value there, of the lines that have it."""
    rows = [row for row in log if name in row.get("validation", {})]
    return [row["samples"] for row in rows], [row["validation"][name] for row in rows]


def _error_figure(log: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Figure:
    from plotly import graph_objects as go

    figure = go.Figure()
    for name in names:
        samples, errors = _curve(log, name)
        first, title = errors[0] or 1.0, PROPERTIES[name].title
        figure.add_scatter(
            x=samples,
            y=[error / first for error in errors],
            customdata=errors,
            name=title,
            mode="lines+markers",
            hovertemplate="%{x:,} crystals<br>error %{customdata:.4g}<extra>" + title + "</extra>",
        )
    figure.update_layout(
        xaxis_title="crystals seen",
        yaxis_title="validation error / its first value",
        height=380,
        margin=MARGINS,
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
    figure.update_layout(xaxis_title="crystals seen", yaxis_title="validation loss (velocity)", **CURVES)
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
    figure.update_layout(yaxis_title="match rate (%)", height=360, margin=MARGINS, legend=LEGEND_ABOVE)
    return figure
