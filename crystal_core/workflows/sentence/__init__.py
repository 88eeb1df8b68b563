"""From an English sentence to the fields of a generation by rules; reports unused words."""

from __future__ import annotations

import re

from crystal_core.chemistry.formula_slips import open_composition
from crystal_core.errors import RequestError
from crystal_core.workflows.sentence.alternatives import alternatives
from crystal_core.workflows.sentence.counts import atoms, crystals
from crystal_core.workflows.sentence.elements import elements, formula, structure_types
from crystal_core.workflows.sentence.negations import negations
from crystal_core.workflows.sentence.properties import (
    band_gap,
    density,
    formation_energy,
    stability,
    surroundings,
)
from crystal_core.workflows.sentence.reader import Reader, Understood
from crystal_core.workflows.sentence.spelling import in_one_spelling
from crystal_core.workflows.sentence.symmetry import crystal_system, space_group
from crystal_core.workflows.sentence.vocabulary import SILENT

__all__ = ["Understood", "understand"]

RULES = (
    negations,
    surroundings,
    space_group,
    crystal_system,
    stability,
    formation_energy,
    density,
    atoms,
    band_gap,
    crystals,
    structure_types,
    alternatives,
    formula,
    elements,
)


def understand(sentence: str) -> Understood:
    """The fields that a sentence asks for.

    >>> meaning = understand("A stable oxide with a band gap near 2 eV, space group 225")
    >>> meaning.fields
    {'space_group': '225', 'e_above_hull': 0.0, 'band_gap': 2.0, 'contain': ('O',)}
    >>> "; ".join(meaning.words)
    'space group Fm-3m (225); energy above hull 0 eV/atom; band gap 2 eV; with O'
    >>> understand("cubic oxides, not metallic").ignored
    ('not metallic',)

    Raises:
        RequestError: nothing in it was understood, or two parts of it contradict each other.
    """
    _refuse_open_composition(sentence)
    text, notes = in_one_spelling(sentence)
    reader = Reader(text)
    for rule in RULES:
        rule(reader)
    left = [word for word in re.findall(r"[\w.-]*\w", reader.rest) if word.lower() not in SILENT]
    if not reader.fields:
        known = f", and no field can say: {', '.join(reader.ignored)}" if reader.ignored else ""
        raise RequestError(
            f"Nothing in this sentence was understood{known}. Write for instance: a stable oxide with a band "
            "gap near 2 eV, space group 225."
        )
    return Understood(fields=reader.fields, words=(*reader.words, *notes), ignored=(*reader.ignored, *left))


def _refuse_open_composition(sentence: str) -> None:
    """Raise a RequestError where a word is a formula with a variable, such as La2-xSrxCuO4."""
    for word in sentence.split():
        if open_composition(formula := word.strip(",;:.?!\"'")):
            raise RequestError(
                f"'{formula}' leaves its composition open: choose a value of its variable and write whole "
                "counts, as LiMnFeP2O8 for LiFe1-xMnxPO4 with x = 0.5."
            )
