"""Crystals in notebooks and as standalone pages: py3Dmol with the local script inside, no CDN."""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.drawing.scene import build_scene, describe, expand
from crystal_core.errors import MissingExtra

if TYPE_CHECKING:
    from pymatgen.core import Structure

SCRIPT = Path(__file__).parents[2] / "static" / "3Dmol-2.5.5-min.js"
# a quaternion: c up, b to the right, a towards the reader
VIEW = [
    0,
    0,
    0,
    0,
    -0.355,
    -0.4864,
    -0.6448,
    0.4707,
]
AXES = ("#e5484d", "#2e9e5b", "#3b82f6")


def view(
    structure: Structure,
    *,
    supercell: tuple[int, int, int] = (1, 1, 1),
    palette: str = "VESTA",
    width: int | str = 640,
    height: int | str = 480,
) -> Any:
    """A py3Dmol view of a crystal for a notebook cell; works without internet.

    Args:
        supercell: cells along a, b and c. palette: "VESTA", "Jmol" or "Colour-blind safe".
        width, height: pixels, or a CSS length.

    Returns:
        A ``py3Dmol.view``: as the last expression of a cell it draws itself, and its
            methods (``spin``, ``png``) work.
    """
    import py3Dmol

    class OfflineView(py3Dmol.view):
        """Writes the script into the page; py3Dmol's own loader needs a CDN and draws nothing without one."""

        def _make_html(self) -> str:
            return f"<script>{_script()}</script>{super()._make_html()}"

    drawing = OfflineView(width=width, height=height, js="data:text/javascript,")
    scene = build_scene(structure)
    _draw(drawing, scene, expand(scene, supercell), supercell, palette)
    return drawing


def to_html(
    structure: Structure, *, supercell: tuple[int, int, int] = (1, 1, 1), palette: str = "VESTA"
) -> str:
    """A whole HTML page with one crystal to turn; opens from a file, without internet.

    Only numbers, colours and element symbols reach the script; the sentence for screen readers is escaped.
    """
    drawing = view(structure, supercell=supercell, palette=palette, width="100%", height="100vh")
    title, sentence = html.escape(formula_of(structure.composition)), html.escape(describe(structure))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        "<style>body{margin:0}</style></head>"
        f'<body role="img" aria-label="{sentence}">{drawing._make_html()}</body></html>'
    )


def _draw(
    target: Any, scene: dict[str, Any], block: dict[str, Any], supercell: tuple[int, int, int], palette: str
) -> None:
    import numpy as np

    colours = scene["palettes"][palette]
    lattice = np.array(scene["lattice"])
    for corner in np.ndindex(*(k + 1 for k in supercell)):
        for axis in range(3):
            if corner[axis] < supercell[axis]:
                start = np.array(corner) @ lattice
                _cylinder(target, start, start + lattice[axis], 0.025, "#444444")
    for atom in block["atoms"]:
        target.addSphere({"center": _point(atom["p"]), "radius": atom["r"], "color": colours[atom["e"]]})
    for i, j in block["bonds"]:
        a, b = block["atoms"][i], block["atoms"][j]
        middle = np.add(a["p"], b["p"]) / 2
        _cylinder(target, a["p"], middle, 0.1, colours[a["e"]])
        _cylinder(target, middle, b["p"], 0.1, colours[b["e"]])
    for body in block["polyhedra"]:
        _body(target, body, colours[body["e"]])
    for axis, colour in enumerate(AXES):
        direction = lattice[axis] / np.linalg.norm(lattice[axis])
        end = lattice[axis] * supercell[axis]
        target.addArrow(
            {"start": _point(end), "end": _point(end + 1.15 * direction), "radius": 0.05, "color": colour}
        )
        target.addLabel(
            "abc"[axis],
            {"position": _point(end + 1.55 * direction), "fontColor": colour, "backgroundOpacity": 0},
        )
    target.setView(VIEW)
    target.zoomTo()
    target.render()


def _body(target: Any, body: dict[str, Any], colour: str) -> None:
    import numpy as np

    points = np.array(body["points"])
    centre = points.mean(axis=0)
    vertices: list[dict[str, float]] = []
    normals: list[dict[str, float]] = []
    for face in body["faces"]:
        p, q, r = points[face]
        normal = np.cross(q - p, r - p)
        if normal @ (p - centre) < 0:
            q, r, normal = r, q, -normal
        vertices += [_point(p), _point(q), _point(r)]
        normals += [_point(normal / (np.linalg.norm(normal) or 1.0))] * 3
    target.addCustom(
        {
            "vertexArr": vertices,
            "normalArr": normals,
            "faceArr": list(range(len(vertices))),
            "color": colour,
            "opacity": 0.5,
        }
    )


def _cylinder(target: Any, start: Any, end: Any, radius: float, colour: str) -> None:
    target.addCylinder(
        {
            "start": _point(start),
            "end": _point(end),
            "radius": radius,
            "color": colour,
            "fromCap": 1,
            "toCap": 1,
        }
    )


def _point(p: Any) -> dict[str, float]:
    return {axis: round(float(x), 4) for axis, x in zip("xyz", p, strict=True)}


@lru_cache(maxsize=1)
def _script() -> str:
    if not SCRIPT.is_file():
        raise MissingExtra(
            "The 3D script static/3Dmol-2.5.5-min.js is not beside the installed package; "
            "run from a clone of the repository."
        )
    return SCRIPT.read_text(encoding="utf-8").replace("</script", "<\\/script")
