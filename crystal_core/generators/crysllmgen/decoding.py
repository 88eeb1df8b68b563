"""A grammar for the compact form: tokens that lead to no crystal get the probability zero.

Every token's kind follows from its place, so one mask per step serves a whole batch. Beyond the syntax the
grammar keeps cells that exist, the atoms or elements that the conditions name, and atoms apart. It knows one
rule of chemistry, which is off by default: a crystal ends only where its charges balance by SMACT's test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import torch

from crystal_core.chemistry.alternatives import Alternatives, still_needed
from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError
from crystal_core.evaluation.validity import is_balanced
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.tokenizer import ATOM, CELL, MAX_TENTHS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

MIN_TENTHS = 15  # 1.5 Å: no lattice vector of a solid is shorter
MIN_ANGLE, MAX_ANGLE = 30, 150
MIN_FLATNESS = 0.1  # volume / abc; flatter cells have more near images than the distances look at
MIN_DISTANCE = 0.5  # Å, what the structural validity of the benchmarks demands
ROWS = ("_most", "_required", "_sizes", "_least", "_balances")  # tensors with a row per crystal
ALL_ELEMENTS = range(1, vocabulary.MAX_Z + 1)
DIGITS = slice(vocabulary.DIGIT, vocabulary.DIGIT + 10)
ELEMENTS = slice(vocabulary.ELEMENT + 1, vocabulary.ELEMENT + vocabulary.MAX_Z + 1)


class CrystalGrammar:
    """A logits processor of transformers: tokens that lead to no crystal get the probability zero.

    A number is kept between bounds digit by digit. A coordinate triple that puts an atom within
    ``min_distance`` of an earlier one is excluded at its last two digits; where no third coordinate is free,
    the farthest one is taken.

    Args:
        prompt_length: tokens before the cell, padding included, the same for the whole batch.
        conditions: of each crystal; a composition is kept to the atom, elements all occur and no others
            do, ``contain`` beside others, and at least one of each list of ``any_of``. These two come first,
            so that the model writes the other atoms for them: a crystal is trained on in any order of its
            elements, and what is forced on its end stands in a cell that is filled up until then.
        max_atoms, min_atoms: of a crystal without a composition, one number for all or one of each.
        elements: those of a crystal without a composition or elements.
        min_distance: in Å; 0 leaves the distances alone.
        charge_balance: one for all or one of each: a crystal ends only where its composition passes SMACT's
            test, or at its most atoms, where nothing else can follow.

    Raises:
        RequestError: a condition names more elements than the crystal may have atoms.
    """

    def __init__(
        self,
        prompt_length: int,
        conditions: Sequence[Conditions],
        *,
        max_atoms: int | Sequence[int] = 20,
        min_atoms: int | Sequence[int] = 1,
        elements: Collection[int] = ALL_ELEMENTS,
        min_distance: float = MIN_DISTANCE,
        charge_balance: bool | Sequence[bool] = False,
        device: torch.device | str = "cpu",
    ) -> None:
        n, width = len(conditions), vocabulary.MAX_Z
        most = [max_atoms] * n if isinstance(max_atoms, int) else list(max_atoms)
        least = [min_atoms] * n if isinstance(min_atoms, int) else list(min_atoms)
        self.prompt_length, self.min_distance = prompt_length, min_distance
        self.removed_mass = self.charge_mass = self.tokens = 0.0
        # (crystals, elements) by atomic number - 1: most atoms, and whether an element must occur
        self._most = torch.zeros(n, width, dtype=torch.long)
        self._required = torch.zeros(n, width, dtype=torch.bool)
        self._sizes, self._least = torch.tensor(most), torch.tensor(least)
        balances = [charge_balance] * n if isinstance(charge_balance, bool) else list(charge_balance)
        self._balances = torch.tensor(balances, dtype=torch.bool)
        self._barred = torch.zeros(n, dtype=torch.bool)  # crystals whose end the charge mask took last
        self._lists: list[Alternatives] = []  # of each crystal: one element of each occurs
        self._first: list[bool] = []  # whether elements that it must hold come before others
        # crystals that still need elements: row, words of the last atom's element and of needed ones
        self._onward: list[tuple[int, Tensor, Tensor]] = []
        for i, condition in enumerate(conditions):
            required = condition.elements or condition.contain
            self._first.append(bool(condition.contain or condition.any_of))
            self._lists.append(tuple(frozenset(some) & frozenset(elements) for some in condition.any_of))
            least_elements, _ = still_needed(self._lists[i], frozenset(), frozenset(required))
            if least_elements > most[i]:
                raise RequestError(
                    f"A crystal of at most {most[i]} atoms cannot hold {least_elements} elements; "
                    "raise the number of atoms."
                )
            for z, count in condition.composition.items():
                self._most[i, z - 1] = count
            if condition.composition:
                self._sizes[i] = self._least[i] = condition.n_atoms
                self._required[i] = self._most[i] > 0
            else:
                for z in condition.elements or elements:
                    self._most[i, z - 1] = most[i]
                for z in required:
                    self._required[i, z - 1] = True
        for name in ROWS:
            setattr(self, name, getattr(self, name).to(device))

    def keep(self, rows: Int[Tensor, "kept"]) -> None:
        """Go on with these crystals alone."""
        for name in ROWS:
            setattr(self, name, getattr(self, name)[rows])
        self._lists = [self._lists[i] for i in rows.tolist()]
        self._first = [self._first[i] for i in rows.tolist()]

    def __call__(
        self, input_ids: Int[Tensor, "crystals length"], scores: Float[Tensor, "crystals words"]
    ) -> Tensor:
        """The scores, minus infinity where the grammar forbids; adds up the probability that this removes."""
        body = input_ids[:, self.prompt_length :]
        allowed = self.allowed(body)
        running = ~(body == vocabulary.EOS).any(1)
        removed = torch.where(allowed, 0.0, torch.softmax(scores.float(), -1)).sum(-1)
        self.removed_mass += float(removed[running].sum())
        self.tokens += float(running.sum())
        if bool(self._barred.any()):
            self.charge_mass += float(torch.softmax(scores.float(), -1)[self._barred, vocabulary.EOS].sum())
        limited = scores.masked_fill(~allowed, -torch.inf)
        for row, same, needed in self._onward:
            limited[row] = onward(scores[row], limited[row], same, needed)
        return limited

    @property
    def mean_removed_mass(self) -> float:
        """Probability that the grammar took from a token, on average."""
        return self.removed_mass / max(1.0, self.tokens)

    @property
    def mean_charge_mass(self) -> float:
        """The part of :attr:`mean_removed_mass` that charge balance alone took."""
        return self.charge_mass / max(1.0, self.tokens)

    def allowed(self, body: Int[Tensor, "crystals length"]) -> Bool[Tensor, "crystals words"]:
        """Which tokens may follow what each crystal holds so far; padding alone after its end."""
        mask = torch.zeros(len(body), vocabulary.SIZE, dtype=torch.bool, device=body.device)
        place = (body.shape[1] - CELL) % ATOM
        ended = (body == vocabulary.EOS).any(1)
        self._barred = torch.zeros_like(ended)
        self._onward = []
        if body.shape[1] < CELL:
            mask[:, DIGITS] = _cell_digits(body)
        elif place == 0:
            mask[:, ELEMENTS], ends = self._elements(body)
            self._barred = self._unbalanced(body, ends & ~ended & mask[:, ELEMENTS].any(1))
            mask[:, vocabulary.EOS] = ends & ~self._barred
        else:
            mask[:, DIGITS] = self._coordinate_digits(body, place - 1)
        mask[ended] = False
        mask[ended, vocabulary.PAD] = True
        return mask

    def _elements(self, body: Tensor) -> tuple[Tensor, Tensor]:
        """Which elements may begin an atom, and whether the crystal may end."""
        index = (body[:, CELL::ATOM] - vocabulary.ELEMENT - 1).clamp(0, vocabulary.MAX_Z - 1)
        counts = torch.zeros_like(self._most).scatter_add_(1, index, torch.ones_like(index))
        n_atoms = index.shape[1]
        missing = self._required & (counts == 0)
        # the places left are just enough for what is missing
        urgent = missing.sum(1) >= self._sizes - n_atoms
        open_ = torch.where(urgent[:, None], missing, True) & (counts < self._most)
        open_ &= (n_atoms < self._sizes)[:, None]
        ends = ~missing.any(1) & (n_atoms >= self._least)
        for row in (row for row, is_first in enumerate(self._first) if is_first):
            held, lacking = (_atomic_numbers(of[row]) for of in (counts > 0, missing))
            n, useful = still_needed(self._lists[row], held, lacking)
            ends[row] &= n == 0
            if not n:
                continue
            needed = torch.tensor(sorted(useful), device=open_.device) - 1
            open_[row] &= torch.zeros_like(open_[row]).index_fill_(0, needed, True)
            if n_atoms and n < int(self._sizes[row]) - n_atoms:
                same = index[row, -1:]  # atoms of an element stand together
                open_[row, same] = True
                self._onward.append((row, ELEMENTS.start + same, ELEMENTS.start + needed))
        return open_, ends

    def _unbalanced(self, body: Tensor, candidates: Tensor) -> Tensor:
        """Which of the candidates have to balance and do not, as they stand."""
        barred = torch.zeros_like(candidates)
        rows = torch.nonzero(candidates & self._balances).flatten()
        if len(rows):
            numbers = (body[rows, CELL::ATOM] - vocabulary.ELEMENT).tolist()
            counts = [Counter(vocabulary.SYMBOLS[z - 1] for z in row) for row in numbers]
            barred[rows] = torch.tensor([not is_balanced(one) for one in counts], device=barred.device)
        return barred

    def _coordinate_digits(self, body: Tensor, digit: int) -> Tensor:
        """Which of ten digits may come as the one numbered ``digit`` of an atom's six."""
        free = torch.ones(len(body), 10, dtype=torch.bool, device=body.device)
        n_before = (body.shape[1] - CELL) // ATOM
        if digit < 4 or not n_before or not self.min_distance:
            return free
        distances = squared_distances(body, n_before)
        if digit == 4:
            distances = distances.view(-1, 10, 10).amax(-1)
        else:
            tens = (body[:, -1] - vocabulary.DIGIT).clamp(0, 9)
            distances = distances.view(-1, 10, 10)[torch.arange(len(body), device=body.device), tens]
        free = distances >= self.min_distance**2
        farthest = distances == distances.amax(1, keepdim=True)
        return torch.where(free.any(1, keepdim=True), free, farthest)


def onward(
    scores: Float[Tensor, "words"],
    limited: Float[Tensor, "words"],
    same: Int[Tensor, "same"],
    needed: Int[Tensor, "needed"],
    ended: float = 0.0,
) -> Float[Tensor, "words"]:
    """Scores where the last element goes on as often as the model says, and all the rest is for needed ones.

    A mask alone would give the last element also what the model gives to the end and to other elements: a
    crystal of iron and a halogen would become iron with one atom of it.

    Args:
        scores: of the model. limited: under the grammar. same, needed: words of elements.
        ended: probability of an end that was not allowed one token before.
    """
    chances = scores.float().log_softmax(-1) + math.log1p(-min(ended, 1 - 1e-6))
    changed = limited.clone()
    rest = torch.log(-torch.expm1(chances[same].logsumexp(0).clamp(max=-1e-6)))
    changed[same] = chances[same].to(changed.dtype)
    changed[needed] = (chances[needed] - chances[needed].logsumexp(0) + rest).to(changed.dtype)
    return changed


def exchangeable_elements(symbol: str, tolerance: float = 0.1) -> tuple[int, ...]:
    """Atomic numbers of elements that may replace ``symbol``: a common oxidation state, similar radii.

    The ionic radii in that state differ by less than ``tolerance`` Å.
    """
    from pymatgen.core import Element

    own = Element(symbol).ionic_radii
    elements = []
    for z, other in enumerate(vocabulary.SYMBOLS, start=1):
        radii = Element(other).ionic_radii
        if other != symbol and any(abs(radii[q] - own[q]) < tolerance for q in own.keys() & radii.keys()):
            elements.append(z)
    return tuple(elements)


def _atomic_numbers(elements: Bool[Tensor, "elements"]) -> frozenset[int]:
    """The atomic numbers where a mask over the elements is true."""
    return frozenset((torch.nonzero(elements).flatten() + 1).tolist())


def _cell_digits(body: Tensor) -> Tensor:
    """Which of ten digits may come next in a cell, so that every number stays between its bounds."""
    number, digit = divmod(body.shape[1], 3)
    digits = (body - vocabulary.DIGIT).clamp(0, 9)
    if number < 3:
        low, high = digits.new_tensor(MIN_TENTHS), digits.new_tensor(MAX_TENTHS)
    elif number < 5:
        low, high = digits.new_tensor(MIN_ANGLE), digits.new_tensor(MAX_ANGLE)
    else:
        alpha, beta = _number(digits[:, 9:12]), _number(digits[:, 12:15])
        low, high = gamma_bounds().to(body.device)[alpha, beta].unbind(-1)
    begun = _number(digits[:, 3 * number :])
    unit = 10 ** (2 - digit)
    least = (10 * begun[:, None] + torch.arange(10, device=body.device)) * unit
    return (least <= high.view(-1, 1)) & (least + unit - 1 >= low.view(-1, 1))


def _number(digits: Tensor) -> Tensor:
    """The whole number that (crystals, width) digits write; 0 for no digit."""
    powers = 10 ** torch.arange(digits.shape[1] - 1, -1, -1, device=digits.device)
    return (digits * powers).sum(1)


@lru_cache(maxsize=1)
def gamma_bounds() -> Int[Tensor, "200 200 2"]:
    """Smallest and largest whole gamma of a cell that is not flat, by alpha and beta in degrees."""
    angles = torch.arange(MIN_ANGLE, MAX_ANGLE + 1)
    a, b, c = torch.meshgrid(*[torch.cos(torch.deg2rad(angles.double()))] * 3, indexing="ij")
    open_ = (1 + 2 * a * b * c - a**2 - b**2 - c**2) >= MIN_FLATNESS**2
    bounds = torch.zeros(200, 200, 2, dtype=torch.long)
    inside = bounds[MIN_ANGLE : MAX_ANGLE + 1, MIN_ANGLE : MAX_ANGLE + 1]
    inside[..., 0] = torch.where(open_, angles, MAX_ANGLE + 1).amin(-1)
    inside[..., 1] = torch.where(open_, angles, 0).amax(-1)
    return bounds


def squared_distances(body: Tensor, n_before: int) -> Float[Tensor, "crystals 100"]:
    """Squared distance (Å²) from the new atom to the nearest earlier atom or image, per third coordinate."""
    digits = (body - vocabulary.DIGIT).clamp(0, 9).float()
    lengths, angles = (digits[:, :CELL].view(-1, 6, 3) @ digits.new_tensor([100.0, 10.0, 1.0])).split(
        3, dim=1
    )
    lengths = lengths / 10
    cosines = torch.cos(torch.deg2rad(angles))
    atoms = digits[:, CELL : CELL + ATOM * n_before].view(-1, n_before, ATOM)[..., 1:]
    earlier = atoms.view(-1, n_before, 3, 2) @ digits.new_tensor([0.1, 0.01])
    begun = digits[:, CELL + ATOM * n_before + 1 :][:, :4].view(-1, 2, 2) @ digits.new_tensor([0.1, 0.01])
    images = digits.new_tensor(list(product((-1, 0, 1), repeat=2)))
    plane = begun[:, None] - earlier[..., :2]
    plane = plane - torch.round(plane)
    # both in Å, of shape (crystals, earlier, 9)
    x, y = ((plane[:, :, None] + images) * lengths[:, None, None, :2]).unbind(-1)
    z = torch.arange(100, device=body.device) / 100 - earlier[..., 2:]
    z = z - torch.round(z)
    z = (z[..., None] + digits.new_tensor([-1, 0, 1])).flatten(2) * lengths[:, 2, None, None]  # (…, 300)
    cos_alpha, cos_beta, cos_gamma = (cosine[:, None, None] for cosine in cosines.unbind(1))
    in_plane = x**2 + y**2 + 2 * x * y * cos_gamma
    along = 2 * (x * cos_beta + y * cos_alpha)
    squared = in_plane[..., None] + (along[..., None] + z[:, :, None]) * z[:, :, None]
    return squared.amin((1, 2)).view(-1, 100, 3).amin(-1)
