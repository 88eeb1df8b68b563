"""The phase diagram of two or three elements at 0 K: a hull over composition, or a triangle of tie lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.drawing.figures.colours import BEHIND, LINES

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from crystal_core.reference.chemical_system import ChemicalSystem, Phase

STABLE, CRYSTAL = LINES[0], LINES[1]
FARTHEST = 0.3  # eV/atom above the hull: known compounds beyond would flatten the picture
NAME_WIDTH = 0.06  # of the composition axis
MOST_NAMED = 14  # stable phases of a triangle whose names fit


def phase_diagram_figure(system: ChemicalSystem, name: str = "this crystal") -> Figure:
    """Binary: formation energy over the composition; ternary: the triangle of tie lines seen from above.

    Args:
        name: of the crystal that is placed in the system.
    """
    figure = _binary(system, name) if len(system.elements) == 2 else _ternary(system, name)
    figure.update_layout(
        height=440 if len(system.elements) == 3 else 380,
        margin={"l": 10, "r": 10, "t": 60, "b": 40},
        legend={"orientation": "h", "y": 1.2, "x": 0},
    )
    return figure


def _binary(system: ChemicalSystem, name: str) -> Figure:
    from plotly import graph_objects as go

    stable = sorted((p for p in system.phases if p.is_stable), key=lambda p: p.fractions[1])
    others = [p for p in system.phases if not p.is_stable and p.e_above_hull <= FARTHEST]
    figure = go.Figure()
    for phases, label, look in (
        (others, "known, above the hull", _faint()),
        (
            stable,
            "stable",
            {"mode": "lines+markers+text", "marker": _dot(STABLE, 9), "line": {"color": STABLE}},
        ),
        ([system.crystal] if system.crystal else [], name, {"mode": "markers", "marker": _diamond()}),
    ):
        if phases:
            figure.add_scatter(
                x=[p.fractions[1] for p in phases],
                y=[p.formation_energy for p in phases],
                text=_names_apart(phases),
                hovertext=[_lowered(p.formula) for p in phases],
                textposition="bottom center",
                name=label,
                customdata=[p.e_above_hull for p in phases],
                hovertemplate="%{hovertext}<br>%{y:.3f} eV/atom, "
                "%{customdata:.3f} above the hull<extra></extra>",
                cliponaxis=False,
                **look,
            )
    first, second = system.elements
    figure.update_xaxes(title=f"atomic fraction of {second} in {first}–{second}", range=[-0.03, 1.03])
    figure.update_yaxes(title="formation energy (eV/atom)")
    return figure


def _ternary(system: ChemicalSystem, name: str) -> Figure:
    from plotly import graph_objects as go

    stable = [p for p in system.phases if p.is_stable]
    others = [p for p in system.phases if not p.is_stable and p.e_above_hull <= FARTHEST]
    # one line with gaps: a trace for each tie line would be hundreds
    ends = [
        end
        for i, j in system.tie_lines
        for end in (system.phases[i].fractions, system.phases[j].fractions, (None, None, None))
    ]
    figure = go.Figure(
        go.Scatterternary(
            **dict(zip("abc", zip(*ends, strict=True), strict=True)),
            mode="lines",
            line={"color": STABLE, "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    named = "markers+text" if len(stable) <= MOST_NAMED else "markers"
    for phases, label, look in (
        (others, "known, above the hull", _faint()),
        (stable, "stable", {"mode": named, "marker": _dot(STABLE, 9)}),
        ([system.crystal] if system.crystal else [], name, {"mode": "markers", "marker": _diamond()}),
    ):
        if phases:
            figure.add_scatterternary(
                **dict(zip("abc", zip(*(p.fractions for p in phases), strict=True), strict=True)),
                text=[_lowered(p.formula) for p in phases],
                textposition="top center",
                name=label,
                customdata=[(p.formation_energy, p.e_above_hull) for p in phases],
                hovertemplate="%{text}<br>%{customdata[0]:.3f} eV/atom, "
                "%{customdata[1]:.3f} above the hull<extra></extra>",
                cliponaxis=False,
                **look,
            )
    corners = {
        f"{axis}axis": {"title": {"text": symbol}, "showticklabels": False, "showgrid": False, "ticks": ""}
        for axis, symbol in zip("abc", system.elements, strict=True)
    }
    figure.update_layout(ternary={"sum": 1, "bgcolor": "rgba(0,0,0,0)", **corners})
    return figure


def _names_apart(phases: Sequence[Phase]) -> list[str]:
    """Names that do not overlap along the composition, lowest energies first; the others are empty."""
    named: list[float] = []
    names = [""] * len(phases)
    for k in sorted(range(len(phases)), key=lambda k: phases[k].formation_energy):
        if all(abs(phases[k].fractions[1] - x) >= NAME_WIDTH for x in named):
            names[k] = _lowered(phases[k].formula)
            named.append(phases[k].fractions[1])
    return names


def _faint() -> dict[str, Any]:
    return {"mode": "markers", "marker": _dot(BEHIND, 6)}


def _dot(colour: str, size: int) -> dict[str, Any]:
    return {"color": colour, "size": size}


def _diamond() -> dict[str, Any]:
    return {"color": CRYSTAL, "size": 14, "symbol": "diamond"}


def _lowered(formula: str) -> str:
    """A formula with its numbers below the line."""
    return "".join(f"<sub>{ch}</sub>" if ch.isdigit() or ch == "." else ch for ch in formula)
