"""What stands above the numbers of a measured powder pattern: its axis and its wavelength."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crystal_core.errors import RequestError
from crystal_core.evaluation.xrd import WAVELENGTHS, wavelength_in_angstroms

SAME = 0.005  # relative; the mean of a tube's two lines and the stronger one differ by less
MARKS = "#!%;/\"'*_< \t"
# "Q (1/Å)  I" and "d,I", but not "D8 Advance" or "Q 25"
_AXIS = re.compile(r"([qQd]|TOF|tof|[Ee]nergy|[dD][- _]?spacing)(?:$|\s*[\[({/,;:|\t]|\s+(?!\d))")
_NUMBER = re.compile(r"(?:wave\s*_?length|\blambda|λ)\D{0,25}?(\d*[.,]\d+)", re.IGNORECASE)
_LINE = re.compile(r"\b([A-Z][a-z])[\s_-]*K[\s_-]*(?:a(?:lpha)?|α)(?![a-z])")


def check_headings(lines: Sequence[str], name: str, wavelength: str | float) -> None:
    """Compare the lines above the first number with the axis that is read and the wavelength that is used.

    Raises:
        RequestError: the first column is headed by another axis than 2θ, or they name another wavelength.
    """
    plain = [line.strip(MARKS) for line in lines]
    heading = next((line for line in reversed(plain) if line), "")
    if axis := _AXIS.match(heading):
        raise RequestError(
            f"The first column of {name} is headed '{axis[1]}', but 2θ in degrees is needed: convert it."
        )
    used = wavelength_in_angstroms(wavelength)
    for line in plain:
        stated = _stated(line) or used
        # a number of nm is the same wavelength
        if min(abs(stated - used), abs(10 * stated - used)) > SAME * used:
            raise RequestError(
                f"{name} names a wavelength of {stated:.4f} Å, but {used:.4f} Å is used: give its "
                "own, or correct the line."
            )


def _stated(line: str) -> float | None:
    """The wavelength that a line names, in Å, as a number or as the line of a tube."""
    if number := _NUMBER.search(line):
        return float(number[1].replace(",", "."))
    if (tube := _LINE.search(line)) and f"{tube[1]}Ka" in WAVELENGTHS:
        return wavelength_in_angstroms(f"{tube[1]}Ka")
    return None
