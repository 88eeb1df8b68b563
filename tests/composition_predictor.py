"""A property predictor without training: mixes tabulated data of the elements. Fast,
deterministic, of physical size.
"""

import math
import warnings
from collections import Counter

from pymatgen.core import Composition, Element

from crystal_core.errors import RequestError
from crystal_core.properties import (
    PROPERTIES,
    CrystalPredictions,
    KnownExample,
    Prediction,
    chosen_properties,
)

NAMES = (
    "formation_energy_per_atom_ev",
    "e_above_hull_ev",
    "band_gap_ev",
    "is_metal",
    "bulk_modulus_gpa",
    "shear_modulus_gpa",
)
# id, formula, volume per atom in Å3; the last one has no known moduli
KNOWN = (
    ("mp-22862", "NaCl", 22.4),
    ("mp-2657", "TiO2", 10.4),
    ("mp-149", "Si", 20.4),
    ("mp-23", "Ni", 10.9),
    ("mp-1265", "MgO", 9.3),
    ("mp-2998", "BaTiO3", 12.9),
)
WITHOUT_MODULI = "mp-2998"
FAR, FARTHER = 0.6, 1.2  # distances at which the domain ends


def properties_of(composition, volume):
    """Values by property, from electronegativities, bulk moduli and atomic volumes of the elements; volume
    in Å3 per atom.
    """
    parts = composition.fractional_composition.as_dict()
    shares = {Element(symbol): share for symbol, share in parts.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an element without a bulk modulus gets a usual one
        return _mixed(shares, volume)


def _mixed(shares, volume):
    if any(element.Z > 94 for element in shares):
        raise RequestError("The table has no element beyond plutonium.")
    if Element("Po") in shares:
        raise ZeroDivisionError("as if")
    mean = sum(x * element.X for element, x in shares.items())
    contrast = sum(x * (element.X - mean) ** 2 for element, x in shares.items())
    dense = sum(x * float(element.atomic_radius or 1.5) ** 3 * 4.2 for element, x in shares.items()) / volume
    modulus = math.exp(sum(x * math.log(float(element.bulk_modulus or 40)) for element, x in shares.items()))
    gap = max(0.0, 4 * contrast + 0.8 * (mean - 2))
    return {
        "formation_energy_per_atom_ev": -contrast,
        "e_above_hull_ev": 0.05 * abs(1 - dense),
        "band_gap_ev": gap,
        "is_metal": 1 / (1 + math.exp(8 * (gap - 0.3))),
        "bulk_modulus_gpa": modulus * (1 + contrast),
        "shear_modulus_gpa": 0.55 * modulus * (1 + contrast),
    }


class CompositionPredictor:
    """Keeps the protocol of :class:`crystal_core.protocols.PropertyPredictor`."""

    def __init__(self, card):
        self.card = card
        self.properties = tuple(PROPERTIES[name] for name in NAMES)
        self.calls = []

    def predict(self, crystals, properties=(), on_progress=None):
        chosen = [spec.name for spec in chosen_properties(properties, self.properties)]
        self.calls.append(len(crystals))
        return [self._one(crystal, chosen) for crystal in crystals]

    def values(self, crystals, name):
        return [one.predictions[name].value for one in self.predict(crystals, (name,))]

    def _one(self, crystal, names):
        counts = Counter(crystal.atomic_numbers.tolist())
        composition = Composition({Element.from_Z(z): n for z, n in counts.items()})
        volume = abs(float(crystal.lattice[0].double().det())) / len(crystal.atomic_numbers)
        values = properties_of(composition, volume)
        nearest = sorted((known(*example, composition, names) for example in KNOWN), key=lambda e: e.distance)
        far = nearest[0].distance
        return CrystalPredictions(
            predictions={name: _spread(name, values[name]) for name in names},
            domain="inside" if far < FAR else "edge" if far < FARTHER else "outside",
            nearest=tuple(nearest[:3]),
        )


def known(id, formula, volume, composition, names):
    other = Composition(formula)
    one, two = composition.fractional_composition, other.fractional_composition
    values = properties_of(other, volume)
    hidden = ("bulk_modulus_gpa", "shear_modulus_gpa") if id == WITHOUT_MODULI else ()
    return KnownExample(
        id=id,
        formula=formula,
        distance=sum(abs(one[e] - two[e]) for e in {*one, *two}),
        values={name: round(values[name], 3) for name in names if name not in hidden},
    )


def _spread(name, value):
    if name == "is_metal":
        return Prediction(value=value)
    if PROPERTIES[name].logarithmic:
        return Prediction(value=value, std=0.1 * value, low=value / 1.2, high=value * 1.2)
    return Prediction(value=value, std=0.1, low=value - 0.165, high=value + 0.165)


def load_composition(card, device):
    """What the table of predictors calls."""
    return CompositionPredictor(card)
