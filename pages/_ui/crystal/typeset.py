"""Formulas and space groups as chemists print them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crystal_core.records import CrystalRecord

LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
COUNT = re.compile(r"(?<=[A-Za-z)\]])\d+(?:\.\d+)?")
RAISED = str.maketrans("0123456789+−-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
CHARGE = re.compile(r"(?<=[A-Za-z)])\d*[+−]")
ION = re.compile(r"\([A-Za-z]+\d+\)(?=\d*[+−])")
SCREW = re.compile(r"(?<=\d)_(\d)")


def formula_text(formula: object) -> str:
    """TiO2 → TiO₂, Fe0.6Ni0.4O → Fe₀.₆Ni₀.₄O; a leading number stays as it is."""
    return COUNT.sub(lambda count: count[0].translate(LOWERED), str(formula))


def charge_text(words: object) -> str:
    """Ti4+ → Ti⁴⁺ and (O2)− → (O₂)⁻, in any text."""
    lowered = ION.sub(lambda ion: ion[0].translate(LOWERED), str(words))
    return CHARGE.sub(lambda charge: charge[0].translate(RAISED), lowered)


def group_text(symbol: object) -> str:
    """P4_2/mnm → P4₂/mnm."""
    return SCREW.sub(lambda axis: axis[1].translate(LOWERED), str(symbol))


def group_of(record: CrystalRecord) -> str:
    """The space group of a record as printed, or "no symmetry"."""
    group = record["space_group"]
    return group_text(group["symbol"]) if group else "no symmetry"
