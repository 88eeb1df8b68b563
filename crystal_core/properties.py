"""The properties that models predict, and the type of a prediction. Plain values: no torch, no pymatgen."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from crystal_core.errors import RequestError

Domain = Literal["inside", "edge", "outside"]
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class PropertySpec:
    """One property of a crystal.

    Attributes:
        name: the data column's name, which is the key everywhere; it carries the unit.
        title: as a page shows it. unit: "" for a pure number.
        method: how the values were computed that the predictor learns, such as "PBE".
        logarithmic: whether the predictor learns the base-10 logarithm; then all values are positive.
        lowest: smallest possible value, or None; predictions below it become it.
        decimals: digits that are shown behind the point.
        shown_unit, shown_factor: unit that pages and tables for people use, and the factor from ``unit`` to
            it; data, requests and JSON keep ``unit``. The same unit where absent.
    """

    name: str
    title: str
    unit: str
    method: str
    _: KW_ONLY
    logarithmic: bool = False
    lowest: float | None = None
    decimals: int = 2
    shown_unit: str = ""
    shown_factor: float = 1.0

    def to_learned(self, value: float) -> float:
        """The number that a predictor learns; NaN where the value has no logarithm."""
        if not self.logarithmic:
            return value
        return math.log10(value) if value > 0 else math.nan

    def from_learned(self, value: float) -> float:
        """The physical value of a learned number, not below the lowest possible one."""
        physical = 10.0**value if self.logarithmic else value
        return physical if self.lowest is None else max(self.lowest, physical)


PROPERTIES: dict[str, PropertySpec] = {
    spec.name: spec
    for spec in (
        PropertySpec(
            "formation_energy_per_atom_ev", "Formation energy", "eV/atom", "PBE, MP 2018", decimals=3
        ),
        PropertySpec(
            "e_above_hull_ev", "Energy above hull", "eV/atom", "PBE, MP 2018", lowest=0.0, decimals=3
        ),
        PropertySpec("band_gap_ev", "Band gap (PBE)", "eV", "PBE, MP 2018", lowest=0.0),
        PropertySpec("band_gap_hse_ev", "Band gap (HSE)", "eV", "HSE", lowest=0.0),
        PropertySpec("band_gap_gllbsc_ev", "Band gap (GLLB-SC)", "eV", "GLLB-SC", lowest=0.0),
        PropertySpec("band_gap_scan_ev", "Band gap (SCAN)", "eV", "SCAN", lowest=0.0),
        PropertySpec("is_metal", "Probability of a metal", "", "PBE gap of 0, MP 2018", lowest=0.0),
        PropertySpec("bulk_modulus_gpa", "Bulk modulus", "GPa", "PBE, VRH", logarithmic=True, decimals=0),
        PropertySpec("shear_modulus_gpa", "Shear modulus", "GPa", "PBE, VRH", logarithmic=True, decimals=0),
        PropertySpec(
            "debye_temperature_k", "Debye temperature", "K", "PBE, AGL", logarithmic=True, decimals=0
        ),
        PropertySpec(
            "thermal_conductivity_w_per_mk",
            "Thermal conductivity (300 K)",
            "W/(m K)",
            "PBE, AGL",
            logarithmic=True,
            decimals=1,
            shown_unit="W m⁻¹ K⁻¹",
        ),
        PropertySpec(
            "thermal_expansion_per_k",
            "Thermal expansion (300 K)",
            "1/K",
            "PBE, AGL",
            logarithmic=True,
            decimals=1,
            shown_unit="10⁻⁶ K⁻¹",
            shown_factor=1e6,
        ),
        PropertySpec("refractive_index_n", "Refractive index", "", "PBE, DFPT", lowest=1.0, logarithmic=True),
        PropertySpec(
            "last_phdos_peak_per_cm",
            "Last phonon peak",
            "1/cm",
            "PBEsol, DFPT",
            logarithmic=True,
            decimals=0,
            shown_unit="cm⁻¹",
        ),
    )
}


def fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; what rounds to zero has no sign.

    >>> fixed(-1.256, 2), fixed(-0.001, 2), fixed(21.7, 0, signed=True)
    ('−1.26', '0.00', '+22')
    """
    text = f"{value:{'+' if signed else ''}.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def shortest(value: float, digits: int = 6) -> str:
    """A number with up to ``digits`` digits, a true minus sign and powers of ten as people write them.

    >>> shortest(-2.10), shortest(27.64, 3), shortest(2.448e-05, 3)
    ('−2.1', '27.6', '2.45 × 10⁻⁵')
    """
    mantissa, _, power = f"{value:.{digits}g}".replace("-", "−").partition("e")
    exponent = str(int(power.replace("−", "-"))).translate(_RAISED) if power else ""
    return f"{mantissa} × 10{exponent}" if power else mantissa


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One property of one crystal.

    Attributes:
        value: in the unit of the property.
        low, high: ends of the calibrated 90 % interval; None where there is none.
        std: half of what the 68 % interval spans; None where there is none.
    """

    value: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class KnownExample:
    """The training crystal closest to a crystal in the predictor's latent space.

    Attributes:
        distance: between the two, in units of the median distance between a held-out crystal
            and its closest one.
        values: property name → the example's true value, where it is known.
    """

    id: str
    formula: str
    distance: float
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CrystalPredictions:
    """All predictions for one crystal.

    Attributes:
        predictions: by property name.
        domain: "inside" as far from training crystals as nine of ten held-out crystals are; "edge" up to the
            farthest in a hundred; "outside" beyond.
        nearest: closest training crystals, closest first; among them, for every property, the closest
            whose value is known.
        place: of the crystal on the map of the training crystals, or None where there is no map.
    """

    predictions: dict[str, Prediction]
    domain: Domain
    nearest: tuple[KnownExample, ...] = ()
    place: tuple[float, float] | None = None


def shown_unit(column: Mapping[str, Any]) -> str:
    """The unit that people read, of a spec as a dictionary; runs of earlier versions name one unit alone."""
    return str(column.get("shown_unit") or column["unit"])


def shown_value(value: float, column: Mapping[str, Any]) -> float:
    """A physical value in the unit that people read.

    >>> shown_value(3.26e-05, {"unit": "1/K", "shown_factor": 1e6})
    32.6
    """
    return float(f"{value * float(column.get('shown_factor', 1.0)):.12g}")


def labelled(title: str, *notes: str) -> str:
    """A title with notes such as its unit, all in one pair of brackets.

    >>> labelled("Band gap (PBE)", "eV"), labelled("Bulk modulus", "GPa", "predicted")
    ('Band gap (PBE, eV)', 'Bulk modulus (GPa, predicted)')
    >>> labelled("Refractive index", "")
    'Refractive index'
    """
    words = ", ".join(filter(None, notes))
    if not words:
        return title
    return f"{title[:-1]}, {words})" if title.endswith(")") else f"{title} ({words})"


def property_key(column: str) -> str:
    """A property's name from a table's column: letters, digits, dots, dashes, underscores, at most 60.

    >>> property_key(" Hardness, GPa (exp.)"), property_key("../x"), property_key("?")
    ('Hardness_GPa_exp', 'x', 'property')
    """
    return re.sub(r"[^\w.-]+", "_", column).strip("_.-")[:60].rstrip("_.-") or "property"


def spec_of(name: str, described: Mapping[str, Any]) -> PropertySpec:
    """The property of that name: one of :data:`PROPERTIES`, or what a card tells of a user's own."""
    if name in PROPERTIES:
        return PROPERTIES[name]
    return PropertySpec(
        name,
        str(described.get("title") or name),
        str(described.get("unit", "")),
        "own data",
        logarithmic=bool(described.get("logarithmic", False)),
        decimals=3,
    )


def chosen_properties(names: tuple[str, ...], known: tuple[PropertySpec, ...]) -> tuple[PropertySpec, ...]:
    """The named ones of a predictor's properties, in its order; all where none is named.

    Raises:
        RequestError: there is no property of that name.
    """
    by_name = {spec.name: spec for spec in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise RequestError(
            f"There is no property {', '.join(unknown)} in this predictor. It has: {', '.join(by_name)}."
        )
    return tuple(spec for spec in known if not names or spec.name in names)
