"""Charge balance of a de novo model: where an exchange of one element can balance a crystal, it is
balanced; the rest stays.
"""

from collections import Counter

import pytest
import torch

from crystal_core.chemistry.metals import all_metals
from crystal_core.conditions import DraftOptions
from crystal_core.crystal import CrystalBatch
from crystal_core.errors import RequestError
from crystal_core.evaluation.validity import is_balanced
from crystal_core.geometry import lattice_from_parameters
from crystal_core.registry.store import load_generator
from crystal_core.requests import DeNovoRequest, KnownParts
from crystal_core.workflows.sampling_run import sampler_used

ELEMENTS = {3: "Li", 8: "O", 9: "F", 22: "Ti", 26: "Fe", 38: "Sr"}
BALANCED = DraftOptions(charge_balance=True)


def drawn(generator, counts, *, elements=tuple(ELEMENTS), **options):
    """The crystals at the end, symbol → atoms of each, and the network calls."""
    settings = {"n_atoms": counts, "elements": elements, "sampler": "pc", "steps": 6, "seed": 4} | options
    *_, frame = generator.sample(DeNovoRequest(**settings))
    return frame.crystals, [_symbols(one.atomic_numbers) for one in frame.crystals], generator.network_calls


def _symbols(numbers):
    return Counter(ELEMENTS[z] for z in numbers.tolist())


def neighbours(counts, elements=ELEMENTS.values()):
    """Compositions one exchange away: another element, which the crystal has not, in all places
    of one; no alloy.
    """
    for old in counts:
        for new in set(elements) - set(counts):
            other = {new if symbol == old else symbol: n for symbol, n in counts.items()}
            if not all_metals(other):
                yield other


def test_what_one_exchange_can_balance_is_balanced_and_the_number_of_elements_stays(tiny_de_novo):
    generator = load_generator(tiny_de_novo(elements=tuple(ELEMENTS)), "cpu")
    counts = (2, 3, 4, 5) * 12
    _, before, calls = drawn(generator, counts)
    crystals, after, more = drawn(generator, counts, draft=BALANCED)
    assert sum(map(is_balanced, before)) < sum(map(is_balanced, after))
    for counts_of in after:
        assert is_balanced(counts_of) or not any(map(is_balanced, neighbours(counts_of)))
    assert calls < more <= calls + 12  # twice, at most six elements each
    assert crystals.n_atoms.tolist() == list(counts) and not all_metals(sum(after, Counter()))
    again, *_ = drawn(generator, counts, draft=BALANCED)
    assert torch.equal(again.atomic_numbers, crystals.atomic_numbers)
    assert torch.equal(again.frac_coords, crystals.frac_coords)


def test_given_elements_stay_and_excluded_ones_do_not_come_in(tiny_de_novo):
    generator = load_generator(tiny_de_novo(elements=tuple(ELEMENTS)), "cpu")
    given = CrystalBatch(
        atomic_numbers=torch.tensor([26, 9, 3] * 8),
        frac_coords=torch.rand(24, 3, generator=torch.Generator().manual_seed(0)),
        lattice=lattice_from_parameters(torch.tensor([[4.0, 4.0, 4.0, 90.0, 90.0, 90.0]] * 8)),
        n_atoms=torch.tensor([3] * 8),
    )
    fixed = (True, True, False) * 8
    known = KnownParts(crystals=given, places=(False,) * 24, types=fixed)
    crystals, after, _ = drawn(generator, (3,) * 8, elements=(3, 8, 22), known=known, draft=BALANCED)
    keep = torch.tensor(fixed)
    assert torch.equal(crystals.atomic_numbers[keep], given.atomic_numbers[keep])
    assert set(crystals.atomic_numbers[~keep].tolist()) <= {3, 8, 22}
    # Fe F with one Li, O or Ti: all of them balance but for the states that SMACT does not list
    possible = [is_balanced({"Fe": 1, "F": 1, symbol: 1}) for symbol in ("Li", "O", "Ti")]
    assert any(possible) and all(map(is_balanced, after))


@pytest.mark.parametrize("species", ["one-hot", "analog-bits"])
def test_types_that_are_not_hidden_cannot_be_exchanged(tiny_de_novo, species):
    generator = load_generator(tiny_de_novo(species), "cpu")
    with pytest.raises(RequestError, match="cannot keep compositions charge-balanced; leave"):
        next(generator.sample(DeNovoRequest(n_atoms=(2,), draft=BALANCED)))


def test_the_table_of_oxidation_states_is_named_where_charges_are_balanced(tiny_de_novo):
    generator = load_generator(tiny_de_novo(), "cpu")
    settings = {"n_atoms": (2,), "sampler": "pc", "steps": 6}
    assert "charge_balance_used" not in sampler_used(generator, DeNovoRequest(**settings))
    used = sampler_used(generator, DeNovoRequest(**settings, draft=BALANCED))
    assert used["charge_balance_used"] == "smact14"
