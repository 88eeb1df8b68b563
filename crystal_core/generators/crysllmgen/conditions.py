"""The prompt that states the conditions on a crystal, as compact tokens or in a template's words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter

from crystal_core.chemistry.formula_text import formula_of
from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.crystal_text import masked

# property → (its word in the vocabulary, label column of a prepared file), in the order of a prompt
PROPERTIES = {
    "space_group": ("<sg>", "spacegroup_number"),
    "formation_energy": ("<ef>", "formation_energy_per_atom_ev"),
    "band_gap": ("<gap>", "band_gap_ev"),
    "e_above_hull": ("<ehull>", "e_above_hull_ev"),
}
CLAUSES = ("formula", "elements", *PROPERTIES)
WORDING = Path(__file__).with_name("wording.json")


def prompt_tokens(conditions: Conditions) -> list[int]:
    """Ids of the prompt of the compact form, from the beginning to the word before the cell.

    It names the atoms of the whole cell, not the reduced formula: the cell's size is written before its
    atoms, so the number of formula units must be known first. Elements stand by atomic number.

    Raises:
        RequestError: an element beyond plutonium.
    """
    if any(z > vocabulary.MAX_Z for z in (*conditions.composition, *conditions.elements)):
        raise RequestError("The conditions hold an element beyond plutonium, which has no word.")
    ids = [vocabulary.BOS, vocabulary.GEN]
    if conditions.composition:
        ids.append(vocabulary.FORMULA)
        for z, n in sorted(conditions.composition.items()):
            ids += (vocabulary.ELEMENT + z, *_digits(str(n)))
    if conditions.elements:
        ids += (vocabulary.ELEMENTS, *(vocabulary.ELEMENT + z for z in sorted(conditions.elements)))
    for name, (word, _) in PROPERTIES.items():
        value = getattr(conditions, name)
        if value is not None:
            ids += (
                vocabulary.IDS[word],
                *_digits(str(value) if name == "space_group" else _decimal(value, 3)),
            )
    return [*ids, vocabulary.SEP]


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The sentences of a prompt for a model that knows words; an adapter needs those of its training.

    Attributes:
        opener, request: around the clauses of a generation prompt.
        clauses: condition (of :data:`CLAUSES`) → sentence with ``{value}``, or another name in braces.
        infill_opener, infill_request: around a text with a hidden element.
    """

    opener: str
    clauses: Mapping[str, str]
    request: str
    infill_opener: str
    infill_request: str


def read_wording(path: Path = WORDING) -> Wording:
    """The wording beside an adapter, or ours.

    Raises:
        RequestError: no JSON, its fields are not those of :class:`Wording`, or a clause has no place for its
            value.
    """
    names = {f.name for f in fields(Wording)}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"The wording {path.name} cannot be read: {error}.") from error
    if not isinstance(content, dict) or set(content) != names:
        raise RequestError(f"The wording {path.name} must have the fields {', '.join(sorted(names))} alone.")
    clauses = content.pop("clauses")
    if not (
        isinstance(clauses, dict) and all(isinstance(v, str) for v in (*content.values(), *clauses.values()))
    ):
        raise RequestError(f"The wording {path.name} must hold texts, and clauses by their names.")
    for name, clause in clauses.items():
        if name not in CLAUSES:
            raise RequestError(
                f"The wording {path.name} has a clause {name}; the clauses are {', '.join(CLAUSES)}."
            )
        if not _has_place(clause):
            raise RequestError(
                f"The clause {name} in {path.name} needs {{value}} once and no other braces: '{clause[:60]}'."
            )
    return Wording(clauses=clauses, **content)


def prompt_text(conditions: Conditions, wording: Wording) -> str:
    """The prompt in words: opener, one sentence per condition (the reduced formula first), request.

    Raises:
        RequestError: the wording has no sentence for a condition.
    """
    values: dict[str, str] = {}
    if conditions.composition:
        values["formula"] = _reduced_formula(conditions.composition)
    if conditions.elements:
        values["elements"] = ", ".join(vocabulary.SYMBOLS[z - 1] for z in sorted(conditions.elements))
    for name in PROPERTIES:
        value = getattr(conditions, name)
        if value is not None:
            values[name] = str(value) if name == "space_group" else _decimal(value, 4)
    missing = [name for name in values if name not in wording.clauses]
    if missing:
        raise RequestError(f"This model was trained without a sentence for: {', '.join(missing)}.")
    clauses = (_filled(wording.clauses[name], value) for name, value in values.items())
    return "".join([wording.opener, *clauses, wording.request])


def infill_prompt(text: str, symbol: str, wording: Wording) -> str:
    """The prompt that asks which element fits where ``symbol`` was; raises as :func:`masked`."""
    return question(masked(text, symbol), wording)


def question(text: str, wording: Wording) -> str:
    """The prompt that asks for the element that a text hides."""
    return f"{wording.infill_opener}{text}{wording.infill_request}"


def _has_place(clause: str) -> bool:
    try:
        return len([name for _, name, *_ in Formatter().parse(clause) if name is not None]) == 1
    except ValueError:  # a brace that is not closed
        return False


def _filled(clause: str, value: str) -> str:
    """The clause with the value in place of its braces, whatever the name in them."""
    return "".join(text if name is None else f"{text}{value}" for text, name, *_ in Formatter().parse(clause))


def _digits(number: str) -> list[int]:
    return [vocabulary.IDS[character] for character in number]


def _decimal(value: float, places: int) -> str:
    # + 0.0: the text of -0.0004 is 0.000, without a minus sign
    return f"{round(value, places) + 0.0:.{places}f}"


def _reduced_formula(composition: Mapping[int, int]) -> str:
    from pymatgen.core import Composition

    return formula_of(Composition({vocabulary.SYMBOLS[z - 1]: n for z, n in composition.items()}))
