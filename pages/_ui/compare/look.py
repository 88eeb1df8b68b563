"""How the crystals of a comparison are shown, as its link keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import streamlit as st

from crystal_core.workflows.compare.request import LETTERS

USUAL: dict[str, Any] = {
    "at": 1.0,
    "linked": True,
    "style": "ball",
    "polyhedra": True,
    "cameras": {},
    "hidden": {},
}
STYLES = ("ball", "stick", "space", "poly")
# numbers of a camera: the point that it looks at, distance and quaternion; in older links without the point
CAMERA_SIZES = (8, 5)
LONGEST_SYMBOL = 3


def look_of_link() -> dict[str, Any]:
    """The view that the link names; what is no such value is left out.

    Returns:
        at: share of the paths, 0 to 1. linked: whether all crystals turn together. style, polyhedra.
        cameras: letter of the column → numbers; under "" those of all columns. hidden: letter → elements.
    """
    query, look = st.query_params, dict(USUAL)
    with suppress(ValueError):
        look["at"] = min(1.0, max(0.0, float(query.get("at", "1"))))
    look["linked"], look["polyhedra"] = query.get("linked") != "0", query.get("polyhedra") != "0"
    if query.get("style") in STYLES:
        look["style"] = query["style"]
    look["cameras"] = {
        letter: camera
        for letter, words in _columns(query.get("camera", ""))
        if letter in ("", *LETTERS) and (camera := _camera(words))
    }
    look["hidden"] = {
        letter: symbols
        for letter, words in _columns(query.get("hidden", ""))
        if letter in tuple(LETTERS)
        and (symbols := [word for word in words if word.isalpha() and len(word) <= LONGEST_SYMBOL])
    }
    return look


def keep_look(look: Mapping[str, Any]) -> None:
    """Write the reader's view, as :func:`look_of_link` reads it, into the link."""
    if not set(look) >= set(USUAL) or look == look_of_link():
        return
    set_param("at", "" if look["at"] == 1 else f"{look['at']:g}")
    set_param("linked", "" if look["linked"] else "0")
    set_param("polyhedra", "" if look["polyhedra"] else "0")
    set_param("style", "" if look["style"] == "ball" else str(look["style"]))
    set_param("camera", _joined((c, (f"{x:g}" for x in view)) for c, view in look["cameras"].items()))
    set_param("hidden", _joined(look["hidden"].items()))


def set_param(name: str, value: str) -> None:
    """Give the link this value; "" takes the name out of it."""
    if value and st.query_params.get(name) != value:
        st.query_params[name] = value
    elif not value and name in st.query_params:
        del st.query_params[name]


def _joined(columns: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Words of columns as the link holds them: ``A:1,2~B:3``; without a letter what is for all."""
    return "~".join(f"{letter}:{','.join(words)}".removeprefix(":") for letter, words in columns)


def _columns(text: str) -> list[tuple[str, list[str]]]:
    """The inverse of :func:`_joined`."""
    parts = [part.rpartition(":") for part in text.split("~")]
    return [(letter, words.split(",")) for letter, _, words in parts]


def _camera(words: list[str]) -> list[float] | None:
    """The numbers of a camera; None where they are none."""
    with suppress(ValueError):
        camera = [float(word) for word in words]
        if len(camera) in CAMERA_SIZES and all(abs(x) < 1e4 for x in camera):
            return camera
    return None
