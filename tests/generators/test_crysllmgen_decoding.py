"""The grammar: whatever the logits, what comes out is a crystal with the atoms, elements and
distances that were demanded.
"""

import math
from collections import Counter

import pytest
import torch

from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError
from crystal_core.evaluation.validity import is_charge_balanced
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.conditions import prompt_tokens
from crystal_core.generators.crysllmgen.config import TinyConfig, build_network
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, spans_cell
from crystal_core.generators.crysllmgen.decoding import (
    MAX_ANGLE,
    MIN_ANGLE,
    CrystalGrammar,
    exchangeable_elements,
    gamma_bounds,
    squared_distances,
)
from crystal_core.generators.crysllmgen.tokenizer import ATOM, CELL, assemble, parse_tokens
from crystal_core.structures import to_structures


def random_drafts(conditions, seed=0, steps=200, longest=99, **options):
    """Bodies that random logits write under the grammar, with cells of at most ``longest`` Å and an
    end that none misses.
    """
    rng = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(conditions), 4, dtype=torch.long)
    grammar = CrystalGrammar(4, conditions, **options)
    for step in range(steps):
        scores = 3 * torch.randn(len(conditions), vocabulary.SIZE, generator=rng)
        scores[:, vocabulary.EOS] += 3
        if step in (0, 3, 6) and longest < 10:
            scores[:, vocabulary.DIGIT] += 100
        chances = torch.softmax(grammar(ids, scores), -1)
        ids = torch.cat([ids, torch.multinomial(chances, 1, generator=rng)], 1)
        if bool((ids == vocabulary.EOS).any(1).all()):
            break
    return ids[:, 4:].tolist(), grammar


def test_random_logits_always_write_crystals():
    bodies, grammar = random_drafts([Conditions()] * 200)
    crystals = [parse_tokens(body) for body in bodies]
    assert {1, 2, 5} <= {len(crystal.coords) for crystal in crystals}
    assert max(len(crystal.coords) for crystal in crystals) <= 20
    for crystal in crystals:
        assert crystal.lengths.min() >= 15
        assert crystal.angles.min() >= MIN_ANGLE and crystal.angles.max() <= MAX_ANGLE
        assert spans_cell(crystal.angles).all()
    assert 0.5 < grammar.mean_removed_mass < 1  # random logits know no grammar


def shortest_distance(body):
    distances = torch.tensor(to_structures(parse_tokens(body).to_crystals())[0].distance_matrix)
    return float((distances + 9 * torch.eye(len(distances))).min())


def test_atoms_stay_apart():
    wanted = [Conditions(composition={8: 8})] * 60
    bodies, _ = random_drafts(wanted, longest=9)
    # a line of a tiny cell may be full
    assert sum(shortest_distance(body) < 0.5 - 1e-3 for body in bodies) <= 1
    bodies, _ = random_drafts(wanted, longest=9, min_distance=0.0)
    assert sum(shortest_distance(body) < 0.5 for body in bodies) > 5


def test_squared_distances_are_those_of_the_nearest_image():
    rng = torch.Generator().manual_seed(0)
    bodies, _ = random_drafts([Conditions(composition={8: 5})] * 12, min_distance=0.0, seed=3)
    for body in bodies:
        # element and first two coordinates of the fifth atom
        begun = torch.tensor([body[: CELL + ATOM * 4 + 5]])
        squared = squared_distances(begun, 4)[0]
        crystal = parse_tokens(body)
        lattice = crystal.to_crystals().lattice[0].double()
        for z in torch.randint(0, 100, (5,), generator=rng).tolist():
            site = torch.tensor([*crystal.coords[4, :2].tolist(), z]) / 100
            offsets = site - crystal.coords[:4] / 100
            images = torch.cartesian_prod(*[torch.arange(-3.0, 4.0)] * 3)
            exact = ((offsets[:, None] + images).double() @ lattice).square().sum(-1).min()
            if exact < 1:  # beyond what the grammar forbids, a farther image may be nearer in a skewed cell
                assert float(squared[z]) == pytest.approx(float(exact), abs=1e-3)
            else:
                assert float(squared[z]) > 0.25


def test_compositions_and_elements_are_kept_exactly():
    wanted = [
        Conditions(composition={11: 4, 17: 4}),
        Conditions(composition={1: 1}),
        Conditions(composition={26: 2, 8: 21}),
        Conditions(elements=(3, 26, 15, 8)),
        Conditions(contain=(14,)),
        Conditions(),
    ] * 8
    bodies, _ = random_drafts(wanted, max_atoms=6, elements=(6, 14))
    for body, condition in zip(bodies, wanted, strict=True):
        counts = Counter(parse_tokens(body).atomic_numbers.tolist())
        if condition.composition:
            assert counts == condition.composition
        elif condition.elements:
            assert set(counts) == set(condition.elements) and counts.total() <= 6
        else:
            assert set(condition.contain) <= set(counts) <= {6, 14} and counts.total() <= 6
    with pytest.raises(RequestError, match="cannot hold 3 elements"):
        CrystalGrammar(0, [Conditions(elements=(1, 2, 3))], max_atoms=2)


def test_every_draft_has_at_least_one_of_each_list():
    halogens, metals = (9, 17, 35, 53), (26, 27)
    wanted = [
        Conditions(any_of=(halogens,)),
        Conditions(any_of=(halogens, metals)),
        Conditions(any_of=((9, 26), (26, 3)), contain=(8,)),
        Conditions(any_of=((94, 8),)),  # plutonium is not allowed
        Conditions(),
    ] * 30
    sizes = [1, 2, 2, 3, 1] * 30
    allowed = (3, 8, 9, 17, 26, 27, 35)
    bodies, grammar = random_drafts(wanted, max_atoms=sizes, elements=allowed)
    seen = [set(parse_tokens(body).atomic_numbers.tolist()) for body in bodies]
    for held, condition in zip(seen, wanted, strict=True):
        assert all(held & set(some) for some in condition.any_of)
        assert set(condition.contain) <= held <= set(allowed)
    assert len({z for held in seen[::5] for z in held}) == 3  # iodine is not allowed
    assert all(held == {8, 26} for held in seen[2::5])  # the one element that both lists have
    body = torch.tensor([bodies[1][: CELL + ATOM]])
    expected = grammar.allowed(body.expand(len(wanted), -1))[1:2]
    grammar.keep(torch.tensor([1]))
    assert torch.equal(grammar.allowed(body), expected)
    with pytest.raises(RequestError, match="at most 1 atoms cannot hold 2 elements"):
        CrystalGrammar(0, [wanted[1]], max_atoms=1)


def test_demanded_elements_come_first_and_go_on_as_the_model_says():
    wanted = [Conditions(contain=(8,), any_of=((26, 27), (9, 17)))] * 60
    bodies, _ = random_drafts(wanted, max_atoms=12)
    lengths = set()
    for body in bodies:
        numbers = parse_tokens(body).atomic_numbers.tolist()
        groups = [z for z, before in zip(numbers, [0, *numbers], strict=False) if z != before]
        first = set(groups[:3])
        assert 8 in first and first & {26, 27} and first & {9, 17}
        lengths.add(len(numbers))
    assert len(lengths) > 3  # and end where the logits say
    grammar = CrystalGrammar(0, [Conditions(any_of=((26, 27), (9, 17)))] * 2, max_atoms=[12, 2])
    iron = vocabulary.ELEMENT + 26
    body = torch.tensor([bodies[0][: CELL + ATOM]] * 2)
    body[:, CELL] = iron
    scores = torch.zeros(2, vocabulary.SIZE)
    scores[:, iron], scores[:, vocabulary.EOS], scores[:, vocabulary.ELEMENT + 17] = 3.0, 5.0, 1.0
    own = torch.softmax(scores[0], -1)
    chances, urgent = torch.softmax(grammar(body, scores), -1)
    fluorine, chlorine = vocabulary.ELEMENT + 9, vocabulary.ELEMENT + 17
    assert float(chances[iron]) == pytest.approx(float(own[iron]), rel=1e-4)
    assert float(chances[chlorine] / chances[fluorine]) == pytest.approx(math.e, rel=1e-4)
    assert float(chances[[iron, chlorine, fluorine]].sum()) == pytest.approx(1)
    assert float(urgent[iron]) == 0  # the last place is for a halogen


def test_a_crystal_ends_only_where_its_charges_balance():
    wanted = [Conditions()] * 240
    bodies, grammar = random_drafts(
        wanted, max_atoms=5, elements=(8, 11, 17), charge_balance=[True, False] * 120
    )
    cells = [parse_tokens(body) for body in bodies]
    symbols = [Counter(vocabulary.SYMBOLS[z - 1] for z in cell.atomic_numbers.tolist()) for cell in cells]
    below = [counts for counts in symbols[::2] if counts.total() < 5]
    assert {"ClNa", "O"} <= {"".join(sorted(counts)) for counts in below}  # compounds, and elements
    assert all(is_charge_balanced(tuple(sorted(counts.items()))) for counts in below)
    free = [is_charge_balanced(tuple(sorted(counts.items()))) for counts in symbols[1::2]]
    assert not all(free)
    assert 0 < grammar.mean_charge_mass < grammar.mean_removed_mass
    _, without = random_drafts(wanted[:40], max_atoms=5, elements=(8, 11, 17))
    assert without.mean_charge_mass == 0


def test_each_crystal_has_its_own_least_and_most_atoms_and_rows_can_be_let_go():
    wanted = [Conditions(), Conditions(elements=(8, 22)), Conditions()] * 10
    bodies, _ = random_drafts(wanted, max_atoms=[3, 9, 5] * 10, min_atoms=[3, 4, 1] * 10)
    sizes = [len(parse_tokens(body).coords) for body in bodies]
    assert set(sizes[::3]) == {3} and {4} <= set(sizes[1::3]) <= set(range(4, 10))
    assert set(sizes[2::3]) <= set(range(1, 6)) and 1 in sizes[2::3]
    grammar = CrystalGrammar(0, wanted[:3], max_atoms=[3, 9, 5], min_atoms=[3, 4, 1])
    body = torch.tensor([bodies[1][: CELL + ATOM]])
    expected = grammar.allowed(body.expand(3, -1))[1:2]
    grammar.keep(torch.tensor([1]))
    assert torch.equal(grammar.allowed(body), expected)


def test_every_pair_of_angles_leaves_a_third():
    bounds = gamma_bounds()[MIN_ANGLE : MAX_ANGLE + 1, MIN_ANGLE : MAX_ANGLE + 1]
    assert (bounds[..., 0] <= bounds[..., 1]).all()
    assert bounds[60, 60].tolist() == [30, 150] and bounds[30, 30].tolist() == [30, 119]


def test_every_real_crystal_is_allowed():
    crystals = GridCrystals.from_parameters(
        torch.tensor([[2.5, 2.5, 2.5, 60.0, 60.0, 60.0], [3.0, 4.0, 46.7, 70.0, 80.0, 119.0]]),
        torch.tensor([[0.0, 0.0, 0.0], [0.995, 0.5, 0.2], [0.5, 0.5, 0.7], [0.25, 0.0, 0.0]]),
        torch.tensor([29, 94, 1, 1]),
        torch.tensor([1, 3]),
    )
    conditions = [Conditions(), Conditions(composition={94: 1, 1: 2})]
    for batch, condition in zip((assemble([[]], one) for one in singles(crystals)), conditions, strict=True):
        grammar = CrystalGrammar(0, [condition])
        ids = batch.ids
        for i in range(ids.shape[1]):
            assert grammar.allowed(ids[:, :i])[0, ids[0, i]], i
        after = grammar.allowed(ids)[0]
        assert after[vocabulary.PAD] and after.sum() == 1


def singles(crystals):
    first = 0
    for i, n in enumerate(crystals.n_atoms.tolist()):
        yield GridCrystals(
            lengths=crystals.lengths[i : i + 1],
            angles=crystals.angles[i : i + 1],
            coords=crystals.coords[first : first + n],
            atomic_numbers=crystals.atomic_numbers[first : first + n],
            n_atoms=crystals.n_atoms[i : i + 1],
        )
        first += n


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(TinyConfig(hidden_dim=32, n_layers=2, n_heads=2, ffn_dim=64)).eval()


def test_prompts_of_other_lengths_in_the_batch_change_no_draft(network):
    wanted = [Conditions(), Conditions(composition={11: 1, 17: 1, 8: 3}, band_gap=1.0)]
    padded = [prompt_tokens(condition) for condition in wanted]
    longest = max(map(len, padded))
    ids = torch.tensor([[vocabulary.PAD] * (longest - len(prompt)) + prompt for prompt in padded])
    options = dict(
        max_new_tokens=26, do_sample=False, pad_token_id=vocabulary.PAD, eos_token_id=vocabulary.EOS
    )
    together = network.generate(
        ids,
        attention_mask=(ids != vocabulary.PAD).long(),
        logits_processor=[CrystalGrammar(longest, wanted, max_atoms=1)],
        **options,
    )
    for i, prompt in enumerate(padded):
        alone = network.generate(
            torch.tensor([prompt]),
            logits_processor=[CrystalGrammar(len(prompt), wanted[i : i + 1], max_atoms=1)],
            **options,
        )
        n = alone.shape[1] - len(prompt)
        assert torch.equal(together[i, longest : longest + n], alone[0, len(prompt) :])


def test_exchangeable_elements_share_a_charge_and_a_size():
    # Na+ and Ca2+ are nearly of one size, but share no charge
    similar = exchangeable_elements("Ca")
    assert {63, 70} & set(similar) and 11 not in similar and 20 not in similar
