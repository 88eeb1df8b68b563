"""The look of elements: colours, radii, and the largest lengths of bonds."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np

BOND_FACTOR = 1.15  # of the sum of the covalent radii
# relative (WCAG 2.2), of a colour on a dark ground: 3.3:1 against #171614, the dark page, and 3.4:1 against
# #0e1117
LEAST_LUMINANCE = 0.14
# Okabe and Ito's colours, distinguishable with every common colour blindness; given out in the
# order of the legend
SAFE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999", "#000000")


def symbol_of(atomic_number: int) -> str:
    """Element symbol of a proton number."""
    return _symbols()[atomic_number]


def palettes(symbols: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Colours of these elements: VESTA and Jmol as in pymatgen, and one safe for colour-blind readers."""
    return {
        "VESTA": {s: _table("VESTA")[s] for s in symbols},
        "Jmol": {s: _table("Jmol")[s] for s in symbols},
        "Colour-blind safe": {s: SAFE[k % len(SAFE)] for k, s in enumerate(symbols)},
    }


def dark_palettes(symbols: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The same colours for a dark ground; too dark ones (cobalt, carbon, lead) are lightened, hue kept."""
    return {
        name: {s: lightened(colour) for s, colour in colours.items()}
        for name, colours in palettes(symbols).items()
    }


@lru_cache(maxsize=512)
def lightened(colour: str, least: float = LEAST_LUMINANCE) -> str:
    """``#rrggbb`` raised to a relative luminance.

    OKLab lightness (Ottosson 2020) is raised, the hue kept, the chroma as sRGB allows.
    """
    if luminance(colour) >= least:
        return colour
    lightness, a, b = _OKLAB_2 @ np.cbrt(_OKLAB_1 @ _linear(colour))
    for step in np.arange(lightness, 1.0, 0.01):
        for chroma in np.arange(1.0, -0.01, -0.05):
            rgb = _OKLAB_1_BACK @ (_OKLAB_2_BACK @ np.array([step, chroma * a, chroma * b])) ** 3
            if rgb.min() >= -1e-4 and rgb.max() <= 1.0001:
                break
        candidate = _hex(rgb)
        if luminance(candidate) >= least:
            return candidate
    return "#ffffff"


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of ``#rrggbb``, 0 to 1."""
    return float(np.array([0.2126, 0.7152, 0.0722]) @ _linear(colour))


def bond_lengths(symbols: tuple[str, ...]) -> np.ndarray:
    """(sites, sites) longest bond in Å: 1.15 × the sum of the covalent radii."""
    radius = np.array([_covalent()[s] for s in symbols])
    return BOND_FACTOR * (radius[:, None] + radius[None, :])


@lru_cache(maxsize=1)
def radii() -> dict[str, float]:
    """Drawn radii in Å, flatter than the atomic radii: big cations must not hide their neighbours."""
    from pymatgen.core.periodic_table import Element

    return {s: round(0.22 * float(Element(s).atomic_radius or 1.4) + 0.14, 3) for s in _symbols().values()}


@lru_cache(maxsize=1)
def electronegativity() -> dict[str, float]:
    """Pauling's scale; elements without a value get 2, in the middle."""
    from pymatgen.core.periodic_table import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases and the heaviest elements have no value
        values = {s: float(Element(s).X) for s in _symbols().values()}
    return {s: 2.0 if math.isnan(x) else x for s, x in values.items()}


@lru_cache(maxsize=1)
def _symbols() -> dict[int, str]:
    from pymatgen.core.periodic_table import Element

    return {e.Z: e.symbol for e in Element if e.symbol not in ("D", "T")}


@lru_cache(maxsize=2)
def _table(name: str) -> dict[str, str]:
    from pymatgen.vis.structure_vtk import EL_COLORS

    table = EL_COLORS[name]
    return {
        s: "#" + "".join(f"{int(x):02x}" for x in table.get(s, (150, 150, 150))) for s in _symbols().values()
    }


@lru_cache(maxsize=1)
def _covalent() -> dict[str, float]:
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    return {s: float(CovalentRadius.radius.get(s, 1.5)) for s in _symbols().values()}


def _linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _hex(linear: np.ndarray) -> str:
    linear = linear.clip(0.0, 1.0)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(255 * float(x)):02x}" for x in values)


# linear sRGB to cone responses, and their cube roots to L, a, b
_OKLAB_1 = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OKLAB_2 = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_OKLAB_1_BACK, _OKLAB_2_BACK = np.linalg.inv(_OKLAB_1), np.linalg.inv(_OKLAB_2)

# every element left of the staircase, with Ge, As, Sb and Te counted as non-metals, as pymatgen does
METALS = frozenset(
    "Li Be Na Mg Al K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn "
    "Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po "
    "Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr".split()
)
