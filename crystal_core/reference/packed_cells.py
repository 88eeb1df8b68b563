"""Many asymmetric units in few bytes: columns of small integers, coordinates in steps of 1/10,080.

10,080 is divisible by 2, 3, 5, 7, 8 and 9, so that special positions are exact. A coordinate that follows
from the symmetry of its site (a constant of n/24, or n/24 plus or minus an earlier coordinate or its double)
is a code in a column of its own, which packs to little; the others are free and stand as numbers. Lengths are
stored as logarithms (relative error below 5e-5) and angles in steps of 1/300 degree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from crystal_core.reference.asymmetric_unit import AsymmetricUnit, space_group_of_hall

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

STEPS = 10_080  # of a fractional coordinate
FRACTION = STEPS // 24  # constants of special positions are multiples of 1/24
LENGTH_STEPS = 10_000  # per unit of ln(length in Å)
ANGLE_STEPS = 300  # per degree
FREE = 255
FACTORS = (1, -1, 2, -2)  # of an earlier coordinate
FIRST_RELATION = 24  # codes below are constants; then 24 constants for each earlier coordinate and factor
FREE_LENGTHS = {  # by the highest space group number of a crystal system: which lengths and angles are free
    2: ((0, 1, 2), (0, 1, 2)),
    15: ((0, 1, 2), (1,)),
    74: ((0, 1, 2), ()),
    142: ((0, 2), ()),
    194: ((0, 2), ()),
    230: ((0,), ()),
}
COLUMNS = ("hall", "orbits", "elements", "code_x", "code_y", "code_z", "lengths", "angles", "free")


def pack_units(units: Sequence[AsymmetricUnit], elements: Sequence[Sequence[int]]) -> dict[str, NDArray[Any]]:
    """The columns of :data:`COLUMNS`, of several crystals one after the other.

    Args:
        elements: per crystal, its atomic numbers in the order that the index numbers them in.

    Raises:
        ValueError: a cell has a length outside 1 to 700 Å or more than 255 orbits.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for unit, own in zip(units, elements, strict=True):
        coded = [_codes(point) for point in unit.points]
        places = [list(own).index(z) for z in unit.numbers.tolist()]
        # orbits in a fixed order: alike crystals then have alike columns
        order = sorted(range(len(coded)), key=lambda i: (places[i], coded[i]))
        if len(order) > FREE:
            raise ValueError(f"A cell of {len(order)} orbits is too large for the index.")
        columns["hall"].append(unit.hall_number)
        columns["orbits"].append(len(order))
        columns["elements"] += [places[i] for i in order]
        for axis, name in enumerate(("code_x", "code_y", "code_z")):
            columns[name] += [coded[i][0][axis] for i in order]
        columns["free"] += [value for i in order for value in coded[i][1]]
        lengths, angles = _free_parameters(unit.hall_number)
        columns["lengths"] += [_stored_length(unit.lengths[i]) for i in lengths]
        columns["angles"] += [round(float(unit.angles[i]) * ANGLE_STEPS) for i in angles]
    wide = ("hall", "lengths", "angles", "free")
    return {
        name: np.array(values, dtype=np.uint16 if name in wide else np.uint8)
        for name, values in columns.items()
    }


class PackedCells:
    """Reads single asymmetric units out of the columns of :func:`pack_units`.

    Args:
        columns: by the names of :data:`COLUMNS`.
    """

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self.columns = columns
        counts = [_free_parameters(h) for h in columns["hall"].tolist()]
        codes = np.stack([columns[name] for name in ("code_x", "code_y", "code_z")], axis=1)
        self.codes = codes.astype(np.int64)
        free_of_orbit = np.concatenate([[0], np.cumsum((codes == FREE).sum(axis=1))])
        self.orbit_start = np.concatenate([[0], np.cumsum(columns["orbits"], dtype=np.int64)])
        self.free_start = free_of_orbit[self.orbit_start]
        self.length_start = np.concatenate([[0], np.cumsum([len(lengths) for lengths, _ in counts])])
        self.angle_start = np.concatenate([[0], np.cumsum([len(angles) for _, angles in counts])])

    def __len__(self) -> int:
        return len(self.columns["hall"])

    def unit(self, row: int, elements: Sequence[int]) -> AsymmetricUnit:
        """The asymmetric unit of a row; ``elements`` as they were given to :func:`pack_units`."""
        hall_number = int(self.columns["hall"][row])
        orbits = slice(int(self.orbit_start[row]), int(self.orbit_start[row + 1]))
        free = iter(self.columns["free"][self.free_start[row] : self.free_start[row + 1]].tolist())
        points = [_point(code, free) for code in self.codes[orbits].tolist()]
        stored = self.columns["lengths"][self.length_start[row] : self.length_start[row + 1]]
        angles = self.columns["angles"][self.angle_start[row] : self.angle_start[row + 1]]
        return AsymmetricUnit(
            hall_number=hall_number,
            lengths=_all_lengths(hall_number, np.exp(stored / LENGTH_STEPS)),
            angles=_all_angles(hall_number, angles / ANGLE_STEPS),
            points=np.array(points) / STEPS,
            numbers=np.array(elements)[self.columns["elements"][orbits]],
        )


def _codes(point: NDArray[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The code of each coordinate, and the numbers of the free ones."""
    exact = [float(x) * STEPS % STEPS for x in point]
    codes: list[int] = []
    numbers: list[int] = []
    free: list[int] = []
    for value in exact:
        number = round(value) % STEPS
        code = _code(number, numbers, codes)
        if code == FREE:
            free.append(number)
        codes.append(code)
        numbers.append(_value(code, numbers, iter(free[-1:])))
    return tuple(codes), tuple(free)


def _code(number: int, earlier: Sequence[int], codes: Sequence[int]) -> int:
    constant, rest = divmod(number, FRACTION)
    if rest == 0:
        return constant
    for place, other in enumerate(earlier):
        if codes[place] != FREE:
            continue
        for k, factor in enumerate(FACTORS):
            constant, rest = divmod((number - factor * other + 1) % STEPS, FRACTION)
            if rest <= 2:  # the two numbers were rounded each by itself
                return FIRST_RELATION + (place * len(FACTORS) + k) * 24 + constant
    return FREE


def _value(code: int, earlier: Sequence[int], free: Iterator[int]) -> int:
    if code == FREE:
        return next(free)
    if code < FIRST_RELATION:
        return code * FRACTION
    relation, constant = divmod(code - FIRST_RELATION, 24)
    place, k = divmod(relation, len(FACTORS))
    return (FACTORS[k] * earlier[place] + constant * FRACTION) % STEPS


def _point(codes: Sequence[int], free: Iterator[int]) -> list[int]:
    numbers: list[int] = []
    for code in codes:
        numbers.append(_value(code, numbers, free))
    return numbers


def _stored_length(length: float) -> int:
    stored = round(float(np.log(length)) * LENGTH_STEPS)
    if not 0 <= stored < 2**16:
        raise ValueError(f"A cell length of {length:.3g} Å is outside 1 to 700 Å.")
    return stored


def _free_parameters(hall_number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    number = space_group_of_hall(hall_number)
    return next(free for highest, free in FREE_LENGTHS.items() if number <= highest)


def _all_lengths(hall_number: int, free: NDArray[Any]) -> NDArray[np.float64]:
    places, _ = _free_parameters(hall_number)
    if len(places) == 1:
        return np.repeat(free, 3)
    return free[[0, 0, 1]] if len(places) == 2 else np.asarray(free)


def _all_angles(hall_number: int, free: NDArray[Any]) -> NDArray[np.float64]:
    angles = np.full(3, 90.0)
    _, places = _free_parameters(hall_number)
    angles[list(places)] = free
    if 143 <= space_group_of_hall(hall_number) <= 194:
        angles[2] = 120.0
    return angles
