"""Overlaid columns of a comparison: distributions, powder patterns, and the samplers of all models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.drawing.figures.colours import COLUMNS, LINES
from crystal_core.drawing.figures.frame import LEGEND_ABOVE, LEGEND_BELOW, MARGINS
from crystal_core.drawing.figures.training import TICKS

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
SHIFT = 105.0  # percent by which each powder pattern stands above the one before


def distribution_figure(columns: Sequence[tuple[str, int, Sequence[float]]], label: str) -> Figure:
    """Every value as a dot beside a box of its column; with few values the dots are what counts.

    Args:
        columns: name, place (for the colour) and values of each. label: quantity and unit.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    for name, place, values in columns:
        figure.add_box(
            x=list(values),
            name=name,
            boxpoints="all",
            jitter=0.5,
            pointpos=0,
            marker={"color": COLUMNS[place], "size": 7, "opacity": 0.75},
            line={"color": COLUMNS[place], "width": 1.5},
            fillcolor="rgba(0,0,0,0)",
            hovertemplate="%{x:.4g}<extra>" + name + "</extra>",
        )
    figure.update_layout(
        showlegend=False,
        xaxis_title=label,
        height=90 + 75 * max(1, len(columns)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def counts_figure(columns: Sequence[tuple[str, int, Sequence[str]]], label: str) -> Figure:
    """How often each category comes in each column, in percent of its crystals, the most frequent first."""
    from plotly import graph_objects as go

    counted = [(name, place, Counter(values), max(1, len(values))) for name, place, values in columns]
    total = sum((counts for _, _, counts, _ in counted), Counter[str]())
    order = [category for category, _ in total.most_common(12)]
    figure = go.Figure()
    for name, place, counts, n in counted:
        figure.add_bar(
            x=order,
            y=[100 * counts[category] / n for category in order],
            name=name,
            marker={"color": COLUMNS[place]},
            customdata=[counts[category] for category in order],
            hovertemplate="%{x}: %{customdata} crystals, %{y:.0f} %<extra>" + name + "</extra>",
        )
    figure.update_layout(
        barmode="group",
        xaxis_title=label,
        yaxis_title="share (%)",
        height=320,
        margin=MARGINS,
        legend=LEGEND_ABOVE,
    )
    figure.update_xaxes(type="category")
    return figure


def powder_figure(
    patterns: Sequence[tuple[str, int, tuple[np.ndarray, np.ndarray]]], radiation: str, *, apart: bool
) -> Figure:
    """Powder patterns over each other, each in percent of its highest point.

    Args:
        patterns: name, place (for the colour) and (2θ in degrees, intensity). apart: one above the other.
    """
    from plotly import graph_objects as go

    figure = go.Figure()
    for row, (name, place, (x, y)) in enumerate(patterns):
        shift = SHIFT * (len(patterns) - 1 - row) if apart else 0.0
        figure.add_scatter(
            x=x.round(3),
            y=(y + shift).round(2),
            mode="lines",
            name=name,
            line={"color": COLUMNS[place], "width": 1.6},
            hovertemplate="2θ %{x:.2f}°<extra>" + name + "</extra>",
        )
    figure.update_layout(
        xaxis_title=f"2θ (°), {radiation}",
        yaxis_title="intensity (%)",
        height=360 if apart else 320,
        margin=MARGINS,
        legend=LEGEND_ABOVE,
    )
    if apart:
        figure.update_yaxes(showticklabels=False, title="intensity")
    return figure


def sampler_lab_figure(tables: Mapping[str, Mapping[str, Sequence[Any]]]) -> Figure:
    """Match rate above RMSE of every model and sampler against network calls (logarithmic).

    A click on an entry of the legend hides its line, a double click leaves it alone.

    Args:
        tables: model → columns sampler, network_calls, match_rate (0 to 1) and rmse, as on its card.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    samplers = list(dict.fromkeys(s for table in tables.values() for s in table["sampler"]))
    for k, (model, table) in enumerate(tables.items()):
        rows = list(
            zip(table["sampler"], table["network_calls"], table["match_rate"], table["rmse"], strict=True)
        )
        for sampler in dict.fromkeys(table["sampler"]):
            chosen = sorted(row for row in rows if row[0] == sampler)
            look = {
                "mode": "lines+markers",
                "line": {
                    "color": LINES[samplers.index(sampler) % len(LINES)],
                    "dash": DASHES[k % len(DASHES)],
                    "width": 1.8,
                },
                "marker": {"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 7},
                "legendgroup": f"{model} {sampler}",
                "legendgrouptitle": None,
                "name": f"{sampler} · {model}",
            }
            calls = [row[1] for row in chosen]
            tail = f"<extra>{sampler} · {model}</extra>"
            figure.add_scatter(
                x=calls,
                y=[100 * row[2] for row in chosen],
                customdata=[row[3] for row in chosen],
                hovertemplate="%{x:,} calls: %{y:.1f} % matched, RMSE %{customdata:.3f}" + tail,
                row=1,
                col=1,
                **look,
            )
            figure.add_scatter(
                x=calls,
                y=[row[3] for row in chosen],
                hovertemplate="%{x:,} calls: RMSE %{y:.3f}" + tail,
                showlegend=False,
                row=2,
                col=1,
                **look,
            )
    figure.update_xaxes(type="log", tickvals=TICKS, ticktext=[f"{n:,}" for n in TICKS])
    figure.update_xaxes(title="network calls per crystal", row=2, col=1)
    figure.update_yaxes(title="match rate (%)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="RMSE of the matched", rangemode="tozero", row=2, col=1)
    figure.update_layout(
        height=680,
        margin=MARGINS,
        legend=LEGEND_BELOW,
    )
    return figure
