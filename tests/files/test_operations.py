"""Symmetry operations from text."""

from __future__ import annotations

import pytest

from crystal_core.errors import StructureParseError
from crystal_core.files.operations import Operations


@pytest.mark.parametrize(
    ("text", "shift"),
    [("x+0.123,y,z", 0.123), ("0.376+x,y,z", 0.376), ("x+.375,y,z", 3 / 8), ("x+0.3333,y,z", 1 / 3)],
)
def test_a_decimal_translation_keeps_its_value(text: str, shift: float) -> None:
    assert Operations.from_xyz([text]).translations[0, 0] == pytest.approx(shift, abs=1e-12)


def test_a_translation_that_divides_no_cell_makes_no_group() -> None:
    with pytest.raises(StructureParseError, match="generate no space group"):
        Operations.from_xyz(["x,y,z", "x+0.123,y,z"]).closed()
