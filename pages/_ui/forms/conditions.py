"""Conditions on new crystals: a sentence that fills the form, the model's fields, both in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from crystal_core.cards import ModelCard
from crystal_core.conditions import SPACE_GROUPS
from crystal_core.errors import CrystalCoreError
from crystal_core.evaluation.symmetry import space_group_number, space_group_symbol
from crystal_core.properties import shortest
from crystal_core.requests import CrystalGenerationRequest
from crystal_core.workflows.generation_conditions import possible_conditions
from crystal_core.workflows.sentence import Understood, understand
from pages._ui.crystal.typeset import formula_text, group_text
from pages._ui.link.session import field, fill, get_state, set_state
from pages._ui.text import escape_markdown

USUAL, FIXED, RANGE = "As trained", "Number", "Range"  # of the atoms per cell
ANY = "any"
EXAMPLE = "A stable oxide with a band gap near 2 eV"
SENTENCE = "make-wish"
TAKEN, FILLED = "wish-taken", "wish-filled"  # the sentence that is in the fields, and the keys of those
# field of the request → key of its field in the form
KEYS = {
    "formula": "make-formula",
    "space_group": "make-group",
    "crystal_system": "make-system",
    "band_gap": "make-gap",
    "formation_energy": "make-formation",
    "e_above_hull": "make-hull",
    "density": "make-density",
}
NUMBERS = ("band_gap", "formation_energy", "e_above_hull", "density")  # blank where there is no target
UNITS = {"band_gap": "eV", "formation_energy": "eV/atom", "e_above_hull": "eV/atom", "density": "g/cm³"}
NAMES = {
    "formula": "formula",
    "space_group": "space group",
    "crystal_system": "crystal system",
    "band_gap": "band gap",
    "formation_energy": "formation energy",
    "e_above_hull": "energy above hull",
    "density": "density",
}
BLANK: dict[str, Any] = {
    "make-formula": "",
    "make-group": "",
    "make-system": ANY,
    "elements": "",
    "contain": "",
    "any-of": "",
    "exclude": "",
    "require-all": False,
    "counts": USUAL,
}


def ask_sentence(card: ModelCard, cards: Mapping[str, ModelCard]) -> bool:
    """A sentence whose meaning goes into the fields of the form; whether it can be meant."""
    text = field(
        st.text_input,
        "Describe the crystals",
        key=SENTENCE,
        placeholder=example_of(card),
        help=f"Fills the fields below. For example: {example_of(card)}.",
    )
    meaning, error = Understood(), ""
    try:
        meaning = understand(text) if text.strip() else meaning
    except CrystalCoreError as refused:
        error = str(refused)
    if text != (get_state(TAKEN) or ""):
        _fill_form(meaning)
        set_state(TAKEN, text)
    if error:
        st.error(escape_markdown(error))
    elif meaning.ignored:
        st.caption(escape_markdown(f"Not understood: {', '.join(meaning.ignored)}."))
    if lacking := _left_out(card):
        st.warning(escape_markdown(_left_out_words(lacking, card, cards)))
    return not error


def example_of(card: ModelCard) -> str:
    """A sentence that the model can take."""
    return f"{EXAMPLE}, space group 225" if "space_group" in card.conditions else EXAMPLE


def sentence_field(text: str) -> dict[str, str]:
    """The field of the sentence as a link fills it.

    What it means goes into the form in the run that follows.
    """
    set_state(TAKEN, "")
    set_state(FILLED, ())
    return {SENTENCE: text}


def condition_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the form with the conditions of a request.

    Numbers, which may be blank, are filled at once.
    """
    for name in NUMBERS:
        fill(KEYS[name], request.get(name))
    return {
        "make-formula": request.get("formula") or "",
        "make-group": request.get("space_group") or "",
        "make-system": request.get("crystal_system") or ANY,
        "contain": "-".join(request.get("contain", ())),
        "any-of": _lists(request.get("any_of", ())),
    }


def ask_conditions(card: ModelCard) -> dict[str, Any]:
    """The fields of the request that the model understands or can be guided by.

    None where there is no target.
    """
    possible = possible_conditions(card)
    conditions: dict[str, Any] = {}
    with field(st.expander, "Composition, symmetry, properties", key="make-wishes", on_change="rerun"):
        st.caption(escape_markdown(_how_words(card, possible)))
        # a row of its own for each pair: a label of two lines moves both fields down
        places = [place for _ in range(4) for place in st.columns(2, vertical_alignment="bottom")]
        for name, place in zip(possible, places, strict=False):
            conditions[name] = _ask_condition(name, place, is_kept=possible[name] == "kept")
        strong = [name for name, how in possible.items() if how != "kept" and conditions[name] is not None]
        if "guided" in possible.values():
            strength = field(
                places[len(possible)].number_input,
                "Strength",
                step=1.0,
                key="make-guidance",
                disabled=not strong,
                help="Strength of the guidance: 1 is gentle, 5 is firm. Strong guidance lowers validity.",
            )
            conditions["guidance"] = strength if strong else None
    return conditions


def condition_words(request: CrystalGenerationRequest) -> list[str]:
    """The conditions on the crystals, a few words each."""
    words = [formula_text(request.formula)] if request.formula else []
    if request.space_group:
        number = space_group_number(request.space_group)
        words.append(f"{group_text(space_group_symbol(number))} ({number})")
    words += [request.crystal_system] if request.crystal_system else []
    for name in NUMBERS:
        value = getattr(request, name)
        words += [] if value is None else [f"{NAMES[name]} {shortest(value)} {UNITS[name]}"]
    every = "all of" if request.require_all else "of"
    words += [f"{every} {', '.join(request.elements)}"] if request.elements else []
    words += [f"with {', '.join(request.contain)}"] if request.contain else []
    words += [f"with at least one of {', '.join(some)}" for some in request.any_of]
    words += [f"without {', '.join(request.exclude_elements)}"] if request.exclude_elements else []
    if request.n_atoms:
        low, high = request.n_atoms
        words.append(f"{low} atoms" if low == high else f"{low} to {high} atoms")
    return words


def show_conditions(request: CrystalGenerationRequest) -> None:
    """The run's conditions as badges; nothing where any crystal will do."""
    if words := condition_words(request):
        st.markdown(" ".join(f":blue-badge[{escape_markdown(word)}]" for word in words))


def _ask_condition(name: str, place: Any, *, is_kept: bool) -> Any:
    label, key = NAMES[name].capitalize(), KEYS[name]
    if name in NUMBERS:
        label = f"{label} ({UNITS[name]})"
        step = 0.5 if name == "density" else 0.1
        return field(place.number_input, label, value=None, step=step, key=key, placeholder=ANY)
    if name == "crystal_system":
        system = field(place.selectbox, label, [ANY, *SPACE_GROUPS], key=key)
        return None if system == ANY else system
    if is_kept:
        label = f"{label} (experimental)"
    help_text = {
        "formula": "For example SrTiO3; the cell holds one or more formula units.",
        "space_group": "A number or a symbol, such as 225 or Fm-3m."
        + (" Kept while sampling, on sites of known prototypes." if is_kept else ""),
    }[name]
    return field(place.text_input, label, key=key, placeholder=ANY, help=help_text).strip() or None


def _how_words(card: ModelCard, possible: Mapping[str, str]) -> str:
    if "guided" not in possible.values():
        return f"{card.name} reads these in its prompt; it may miss them."
    guided = _listed([name for name, how in possible.items() if how == "guided"], "and")
    learned = [name for name, how in possible.items() if how == "prompt"]
    also = f"was trained with {_listed(learned, 'and')} and " if learned else ""
    return f"{card.name} {also}is guided towards {guided}; it may miss them."


def _fill_form(meaning: Understood) -> None:
    """Put a sentence into the fields, and empty those that the sentence before it had filled."""
    fields = meaning.fields
    values: dict[str, Any] = {KEYS[name]: value for name, value in fields.items() if name in KEYS}
    if "n" in fields:
        values["make-n"] = fields["n"]
    if "n_atoms" in fields:
        low, high = fields["n_atoms"]
        values |= {"counts": FIXED if low == high else RANGE, "atoms": low}
        values |= {"atoms-range": (low, high)} if low < high else {}
    if "elements" in fields:
        every = fields.get("contain") == fields["elements"]
        values |= {"elements": "-".join(fields["elements"]), "require-all": every}
    if "contain" in fields and not values.get("require-all"):
        values["contain"] = "-".join(fields["contain"])
    if "any_of" in fields and not values.get("require-all"):  # where all are held, one of each list is
        values["any-of"] = _lists(fields["any_of"])
    if "exclude_elements" in fields:
        values["exclude"] = ", ".join(fields["exclude_elements"])
    for key in get_state(FILLED) or ():
        if key not in values and (key in BLANK or key in (KEYS[name] for name in NUMBERS)):
            fill(key, BLANK.get(key))
    for key, value in values.items():
        fill(key, value)
    set_state(FILLED, tuple(values))


def _lists(any_of: Sequence[Sequence[str]]) -> str:
    """Lists of alternatives as the form takes them."""
    return "; ".join(", ".join(symbols) for symbols in any_of)


def _left_out(card: ModelCard) -> list[str]:
    """Conditions of the sentence that the model cannot take."""
    possible, filled = possible_conditions(card), get_state(FILLED) or ()
    return [name for name, key in KEYS.items() if key in filled and name not in possible]


def _left_out_words(lacking: list[str], card: ModelCard, cards: Mapping[str, ModelCard]) -> str:
    able = [name for name, other in cards.items() if set(lacking) <= set(possible_conditions(other))]
    instead = f" {able[0]} does." if able else ""
    return f"Left out: {card.name} takes no {_listed(lacking, 'or')}.{instead}"


def _listed(names: Sequence[str], word: str) -> str:
    words = [NAMES[name] for name in names]
    return f"{', '.join(words[:-1])} {word} {words[-1]}" if len(words) > 1 else words[0]
