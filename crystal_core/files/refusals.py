"""What a reader puts in the place of a crystal that a file of several announces but does not hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from crystal_core.errors import StructureParseError

if TYPE_CHECKING:
    from pymatgen.core import Structure


def refusal(sentence: str) -> Callable[[], Structure]:
    """A call in place of a crystal's, which raises StructureParseError with this sentence."""
    return partial(_refuse, sentence)


def _refuse(sentence: str) -> Structure:
    raise StructureParseError(sentence)
