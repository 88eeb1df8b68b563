"""What a pretraining is worth: errors against the number of labels, a plot for each encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import TYPE_CHECKING, Any

from crystal_core.drawing.figures.colours import LINES
from crystal_core.drawing.figures.frame import LEGEND_BELOW, MARGINS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

ROW, SPACING, BELOW = 210, 40, 180  # pixels: of one plot, between two, and of the axis and legend below


def pretraining_figure(studies: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Figure:
    """Validation error against the number of labels (logarithmic); bars are standard deviations over seeds.

    A click on an entry of the legend hides its line in every plot.

    Args:
        studies: the tables of ``crystal-core evaluate pretraining --write-card``, one for each encoder.
        titles: pretraining → words for the legend.
    """
    from plotly.subplots import make_subplots

    # one below another: side by side they have no room on a phone
    figure = make_subplots(
        rows=len(studies),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=SPACING / (ROW * len(studies)),
        subplot_titles=[study["encoder"].split(", ")[0] + _weights(study["encoder"]) for study in studies],
    )
    kinds = list(dict.fromkeys(kind for study in studies for kind in study["pretraining"]))
    named: set[str] = set()
    for place, study in enumerate(studies, start=1):
        columns = (study[name] for name in ("pretraining", "labels", "mae", "std"))
        points = list(zip(*columns, strict=True))
        for kind in dict.fromkeys(study["pretraining"]):
            chosen = sorted(point[1:] for point in points if point[0] == kind)
            title, colour = titles.get(kind, kind), LINES[kinds.index(kind) % len(LINES)]
            figure.add_scatter(
                x=[n for n, _, _ in chosen],
                y=[mae for _, mae, _ in chosen],
                error_y={"array": [std or 0.0 for _, _, std in chosen], "thickness": 1.2, "width": 3},
                mode="lines+markers",
                line={"color": colour, "width": 1.8},
                marker={"size": 7},
                name=title,
                legendgroup=title,
                showlegend=title not in named,
                hovertemplate="%{x:,} labels: %{y:.4f} ± %{error_y.array:.4f}<extra>" + title + "</extra>",
                row=place,
                col=1,
            )
            named.add(title)
    ticks = sorted({n for study in studies for n in study["labels"]})
    figure.update_xaxes(
        type="log",
        tickvals=ticks,
        ticktext=[f"{n:,}" for n in ticks],
        range=[
            log10(0.85 * ticks[0]),
            log10(1.18 * ticks[-1]),
        ],  # the same in all plots
    )
    figure.update_xaxes(title="labels", row=len(studies), col=1)
    errors = [
        (mae, std or 0.0) for study in studies for mae, std in zip(study["mae"], study["std"], strict=True)
    ]
    low, high = min(mae - std for mae, std in errors), max(mae + std for mae, std in errors)
    margin = 0.06 * (high - low)
    figure.update_yaxes(range=[low - margin, high + margin])
    figure.update_yaxes(title=studies[0]["metric"], row=(len(studies) + 1) // 2, col=1)
    height = ROW * len(studies) + BELOW
    figure.update_layout(height=height, margin=MARGINS | {"t": 40}, legend=LEGEND_BELOW)
    return figure


def _weights(encoder: str) -> str:
    """What tells two encoders of one kind apart: ", share weights"."""
    return "".join(f", {words}" for words in encoder.split(", ")[1:] if "parameters" not in words)
