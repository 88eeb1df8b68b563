"""Search for crystals at any depth of a JSON document, which also names the items that hold none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crystal_core.files import ase_json
from crystal_core.files.json_contradictions import COMPOSITIONS, FORMULAS
from crystal_core.structures import printable

MAX_DEPTH = 12
OPTIMADE = ("lattice_vectors", "cartesian_site_positions", "species_at_sites")
JARVIS = ("lattice_mat", "coords", "elements")
AFLOW = ("geometry", "positions_fractional", "species", "composition")
# keys that hold a document's crystal; its other crystals are intermediate steps or relatives
_MAIN = ("structure", "final_structure", "output", "crystals", "results", "candidates", "entries", "data")
# keys whose crystal is the one that the document describes, and what documents say of it
_OWN = ("structure", "final_structure", "atoms")
STATEMENTS = (
    *FORMULAS,
    *COMPOSITIONS,
    *("chemsys", "nelements", "nsites", "n_atoms", "density", "volume"),
)
_ERRORS = ("error", "message", "detail")
MOST_KEYS = 4  # named of an item without a crystal


@dataclass(frozen=True)
class Missing:
    """Where a crystal was expected and why there is none; ``where`` is empty for the whole document."""

    where: str
    why: str

    @property
    def sentence(self) -> str:
        """What holds no crystal, and why."""
        return f"{self.where or 'This JSON'} holds no crystal: {self.why}."


def crystals_in(data: Any, depth: int = 0) -> list[Mapping[str, Any] | Missing]:
    """Every crystal in order, and in its place each item that has none although its neighbours have one."""
    if depth > MAX_DEPTH:
        return []
    if isinstance(data, list):
        return _in_list(data, depth + 1)
    if not isinstance(data, dict):
        return []
    if _is_crystal(data):
        return [data]
    beside = {key: data[key] for key in STATEMENTS if key in data}
    own = {key: data[key] for key in _OWN if isinstance(data.get(key), dict) and _is_crystal(data[key])}
    data = data | {key: beside | crystal for key, crystal in own.items()}
    main = {key: data[key] for key in _MAIN if isinstance(data.get(key), dict | list)}
    found = _in_values(main, depth + 1)
    if not has_crystal(found):
        found = _in_values(data, depth + 1)
    if not has_crystal(found) and (why := _half(data)):
        return [Missing("", why)]
    return found


def has_crystal(found: Sequence[Mapping[str, Any] | Missing]) -> bool:
    """Whether at least one of them is a crystal."""
    return any(not isinstance(one, Missing) for one in found)


def _in_list(items: list[Any], depth: int) -> list[Mapping[str, Any] | Missing]:
    if not any(isinstance(item, dict | list) for item in items):
        return []
    each = [crystals_in(item, depth) for item in items]
    # a list of documents; a pair of a name and a crystal is none
    kinds = {type(item) for item in items if item is not None}
    documents = len(kinds) == 1 and any(map(has_crystal, each))
    found: list[Mapping[str, Any] | Missing] = []
    for k, (item, inside) in enumerate(zip(items, each, strict=True), start=1):
        if has_crystal(inside):
            found += inside
        elif inside or documents:
            found.append(Missing(f"Item {k} of the list", why_missing(item, inside)))
    return found


def _in_values(data: Mapping[str, Any], depth: int) -> list[Mapping[str, Any] | Missing]:
    each = {key: crystals_in(value, depth) for key, value in data.items() if isinstance(value, dict | list)}
    full = [data[key] for key, inside in each.items() if has_crystal(inside) and isinstance(data[key], dict)]
    # documents by name have keys in common
    usual = {key for one in full for key in one if not key.startswith("@")} if len(full) > 1 else set()
    found: list[Mapping[str, Any] | Missing] = []
    for key, inside in each.items():
        where = f"The entry '{printable(str(key))[:40]}'"
        if not inside and isinstance(data[key], dict) and usual.intersection(data[key]):
            found.append(Missing(where, why_missing(data[key], inside)))
        found += [
            replace(one, where=one.where or where) if isinstance(one, Missing) else one for one in inside
        ]
    return found


def _is_crystal(data: Mapping[str, Any]) -> bool:
    if any(_has(data, *needed) for needed in (OPTIMADE, ase_json.NEEDED, JARVIS, AFLOW)):
        return True
    return _has(data, "lattice") and (_has(data, "sites") or _has(data, "atomic_numbers"))


def _half(data: Mapping[str, Any]) -> str:
    """What a crystal that begins well lacks; empty for any other object."""
    lattice, sites = data.get("lattice"), data.get("sites")
    if (isinstance(lattice, dict) and ("matrix" in lattice or "a" in lattice)) or _is_rows(lattice):
        return "it has a lattice but no sites"
    if isinstance(sites, list) and sites and isinstance(sites[0], dict) and "species" in sites[0]:
        return "it has sites but no lattice, so it is a molecule"
    if any(key in data for key in OPTIMADE):
        return f"it lacks {_list([key for key in OPTIMADE if not _has(data, key)])}"
    if isinstance(data.get("cif"), str):
        return "its crystal is a CIF as text (cif), which is read as a file of its own"
    if _has(data, "numbers", "positions"):
        return "it has positions but no cell"
    return ""


def why_missing(item: Any, inside: Sequence[Mapping[str, Any] | Missing]) -> str:
    """Why an item has no crystal, given what was found inside."""
    if inside and isinstance(inside[0], Missing):
        return inside[0].why
    if not item:
        return "it is empty"
    if not isinstance(item, dict):
        return "it has no lattice with sites"
    error = next((item[key] for key in _ERRORS if isinstance(item.get(key), str) and item[key]), "")
    if error:
        return printable(error).strip().rstrip(".")[:120]
    names = [printable(str(key))[:30] for key in item]
    shown = ", ".join(names[:MOST_KEYS]) + (" …" if len(names) > MOST_KEYS else "")
    return f"it has no lattice with sites (keys: {shown})"


def _has(data: Mapping[str, Any], *keys: str) -> bool:
    return all(data.get(key) is not None for key in keys)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(row, list) for row in value)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
