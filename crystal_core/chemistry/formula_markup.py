"""Formulas as journals, web pages and programs typeset them → plain symbols, numbers, dots and brackets."""

from __future__ import annotations

import re
import unicodedata

SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₓ", "0123456789+-()x")
DOTS = str.maketrans(dict.fromkeys("⋅×•∙*‧・･", "·"))  # of hydrates, as keyboards and programs write them
_FULL_WIDTH = str.maketrans("，、．", ",,.")  # of Chinese and Japanese keyboards
_QUOTES = "'\"`’‘“”„"
_TAG = re.compile(r"</?sub>", re.IGNORECASE)
_SUBSCRIPT = re.compile(r"(?<!\d)_(?:\{(\d+)\}|(\d+))")  # of LaTeX
_UPRIGHT = re.compile(r"\\(?:mathrm|mathsf|textrm|text|rm|ce)\s*\{([^{}]*)\}")
_WHOLE = re.compile(r"(?<=\d)[.,]0+(?![\d.,]|[HD]2O)")  # 3.00 is 3, but CaSO4.0H2O is a hydrate of nothing
_FRACTION_SIGN = re.compile(r"(\d*)([¼-¾⅐-⅞])")
_FRACTION = re.compile(r"(?<![\d./])(\d{1,2})/(\d{1,2})(?![\d./])")


def without_markup(text: str) -> str:
    r"""The typed text without quotes, LaTeX, tags and subscripts, with one kind of dot and decimal fractions.

    >>> without_markup(r"$\mathrm{Al_2O_3}$"), without_markup("CaSO₄•½H₂O"), without_markup("Na1.0Cl1.0")
    ('Al2O3', 'CaSO4·0.5H2O', 'Na1Cl1')
    """
    plain = _SUBSCRIPT.sub(r"\1\2", _TAG.sub("", text.strip().strip(_QUOTES).strip()).replace("$", ""))
    plain = _UPRIGHT.sub(r"\1", plain).translate(SUBSCRIPTS).translate(DOTS).translate(_FULL_WIDTH)
    plain = _FRACTION_SIGN.sub(_decimal, plain)
    return _WHOLE.sub("", _FRACTION.sub(_proper, plain))


def _decimal(match: re.Match[str]) -> str:
    return f"{int(match[1] or 0) + unicodedata.numeric(match[2]):.9g}"


def _proper(match: re.Match[str]) -> str:
    """A fraction below 1 as a decimal number; 3/3 in BaTiO3/3SrTiO3 is none."""
    above, below = int(match[1]), int(match[2])
    return f"{above / below:.9g}" if 0 < above < below else match[0]
