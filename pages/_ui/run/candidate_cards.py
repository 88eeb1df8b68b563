"""Cards of candidates: the arrangement, the energy above the best, and where each comes from, at a glance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from crystal_core.properties import fixed
from crystal_core.records import CrystalRecord
from crystal_core.reference.known_words import known_word
from pages._ui.crystal.cached import arrangement_of, card_scene
from pages._ui.crystal.typeset import group_of
from pages._ui.run.runs import ORIGINS
from pages._ui.run.verdicts import unmatched_word

AFLOW = re.compile(r", AFLOW (\S+)")  # of a prototype, see :class:`crystal_core.requests.Template`
FULL_BAR = 100.0  # meV/atom above the best candidate at which its bar is full
# of AFLOW names (Mehl et al. 2017)
ARRANGEMENTS = {
    "A_cF4_225_a": "face-centred cubic",
    "A_cI2_229_a": "body-centred cubic",
    "A_hP2_194_c": "hexagonal close-packed",
    "A_cF8_227_a": "diamond",
    "A_hP4_194_bc": "graphite",
    "AB_cF8_225_a_b": "rock salt",
    "AB_cP2_221_b_a": "caesium chloride",
    "AB_cF8_216_c_a": "zinc blende",
    "AB_hP4_186_b_b": "wurtzite",
    "AB_hP4_194_c_a": "nickel arsenide",
    "AB2_cF12_225_a_c": "fluorite",
    "A2B_tP6_136_f_a": "rutile",
    "A2B_tI12_141_e_a": "anatase",
    "A2B3_hR10_167_c_e": "corundum",
    "AB3C_cP5_221_a_c_b": "cubic perovskite",
    "AB3C_oP20_62_c_cd_a": "orthorhombic perovskite",
    "AB3C_hR10_148_c_f_c": "ilmenite",
    "A2BC4_cF56_227_d_a_e": "spinel",
    "AB2C_cF16_225_a_c_b": "Heusler",
}
# of origins, each with its word on hover
SIGNS = {
    "known": "⌂",
    "noise": "✶",
    "prototype": "◇",
    "prototype refined": "◆",
    "draft": "✎",
    "draft refined": "✎",
    "given refined": "◆",
}
KNOWN_SIGN = "⌂"


def arrangement_words(template: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> str:
    """The prototype that a candidate was laid out on: its name, and how many crystals have it.

    Empty where relaxing led elsewhere.
    """
    group, (theirs, *rest) = (record or {}).get("space_group"), template["label"].split(" ")
    ordered = template.get("ordered", ())  # which leaves less symmetry
    if group and rest and not ordered and theirs != group["symbol"]:  # the full index labels cells by ids
        return ""
    match = AFLOW.search(template["label"])
    name = f"the {ARRANGEMENTS.get(match[1], f'AFLOW {match[1]}')} arrangement" if match else "an arrangement"
    n = template["members"]
    words = f"{name} of {n:,} known crystal{'' if n == 1 else 's'}"
    return f"{words} with {ordered[1]} and {ordered[0]} in order on the same sites" if ordered else words


def arrangement_name(group: Sequence[CrystalRecord]) -> str:
    """The common name of the arrangement that like candidates have, e.g. rutile.

    Empty where none of them has one.
    """
    return next(filter(None, map(arrangement_of, group)), "")


def candidate_card(
    place: int, group: Sequence[CrystalRecord], *, provisional: bool = False
) -> dict[str, Any]:
    """The card of like candidates, the best of them first.

    Args:
        place: in the ranking, from 1. provisional: the order may still change, so no place is shown.
    """
    best = group[0]
    likeness = best.get("pattern", {}).get("similarity")
    caption = [f"Z = {shown_z(best)}", f"{best['density']:.2f} g/cm³"]
    caption += [f"pattern {likeness:.2f}"] if likeness is not None else []
    card: dict[str, Any] = {
        "id": best["id"],
        "scene": card_scene(best),
        "title": f"{'' if provisional else f'{place}. '}{group_of(best)}",
        "many": len(group),
        "name": arrangement_name(group),
        "caption": " · ".join(caption),
        "signs": _signs(group),
        "badges": _badges(best),
        "provisional": provisional,
    }
    above: Any = best.get("above_lowest_mev")
    if above is not None:
        # a bare 0 would contradict the card that has the lowest energy
        rounded = "under 1" if 0 < above < 0.5 else fixed(above, 0, signed=True)
        energy_text = f"{rounded} meV/atom" if above else "lowest energy"
        card["bar"] = {
            "share": min(1.0, max(0.0, above / FULL_BAR)),
            "text": energy_text,
            "title": _energy_words(best),
        }
    return card


def shown_z(record: CrystalRecord) -> int:
    """Formula units in the conventional cell, which is the one drawn; a model samples any cell."""
    units, rest = divmod(len(card_scene(record)["sites"]) * record["z"], len(record["atomic_numbers"]))
    return record["z"] if rest else units


def _signs(group: Sequence[CrystalRecord]) -> list[tuple[str, str]]:
    """The origins of the candidates, each once: a sign and its words."""
    novelty = group[0].get("novelty")
    signs = []
    if novelty and novelty["known"]:
        signs = [(KNOWN_SIGN, f"{known_word(novelty, 'known crystal')} {novelty['nearest_id']}")]
    origins = dict.fromkeys(record["origin"] or "noise" for record in group)
    if signs:
        origins.pop("known", None)  # its sign is there already
    return [*signs, *((SIGNS[origin], ORIGINS[origin]) for origin in origins)]


def _badges(best: CrystalRecord) -> list[tuple[str, str]]:
    """The badges above the best candidate's picture: tone and word."""
    relaxation = best.get("relaxation")
    badges = [] if best["validity"]["plausible"] else [("bad", "implausible")]
    if relaxation and not relaxation["converged"]:
        badges.append(("bad", "not relaxed" if "error" in relaxation else "not converged"))
    if novelty := best.get("novelty"):
        badges.append(("known", known_word(novelty)) if novelty["known"] else ("open", unmatched_word(best)))
    return badges


def _energy_words(best: CrystalRecord) -> str:
    words = "Above the best candidate of this run, by CHGNet (ML estimate)"
    energies = best.get("energies")
    above = energies["e_above_hull_ev"] if energies else None
    return words + ("" if above is None else f"; {fixed(above, 3, signed=True)} eV/atom from the hull")
