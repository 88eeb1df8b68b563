"""The language model as a generator: the contract, conditions in prompt and grammar, drafts that
travel or are counted.
"""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.evaluation.validity import check_structure
from crystal_core.generators.crysllmgen.backends.protocol import Progress, Wanted, Written
from crystal_core.generators.crysllmgen.backends.tiny import TinyBackEnd
from crystal_core.generators.crysllmgen.conditions import prompt_tokens
from crystal_core.generators.crysllmgen.config import TinyConfig, build_network
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, from_lines, to_lines
from crystal_core.generators.crysllmgen.drafting import (
    OFF_TARGET,
    OTHER_ATOMS,
    OTHER_COUNT,
    OTHER_GROUP,
    UNBALANCED,
    Slots,
    write_crystals,
)
from crystal_core.generators.crysllmgen.token_stream import sample_tokens
from crystal_core.generators.crysllmgen.tokenizer import assemble, crystal_tokens, partial_lines
from crystal_core.registry.store import load_generator
from crystal_core.requests import DeNovoRequest, GenerationRequest
from crystal_core.structures import to_structures
from crystal_core.testing import check_generator, toy_crystals
from crystal_core.workflows.sampling_run import sampler_used

ALL = tuple(range(1, 95))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def back_end():
    torch.manual_seed(0)
    return TinyBackEnd(build_network(TinyConfig(hidden_dim=32, n_layers=2, n_heads=2, ffn_dim=64)), CPU)


def one(least=1, most=5, elements=ALL, **conditions):
    return Wanted(conditions=Conditions(**conditions), least=least, most=most, elements=elements)


def written(back_end, wanted, seed=5, **options):
    options = {"temperature": 1.0, "top_p": 1.0} | options
    *_, last = back_end.write(wanted, generator=torch.Generator().manual_seed(seed), **options)
    return last.drafts


def test_the_generator_keeps_the_contract(tiny_writer):
    name = tiny_writer()
    check_generator(lambda: load_generator(name, "cpu"), steps=None)


def test_drafts_repeat_with_their_seed_and_leave_the_global_generator_alone(back_end):
    wanted = [one(composition={11: 1, 17: 1}), one(elements=(8, 22)), one()] * 4
    wanted = [Wanted(conditions=w.conditions, least=1, most=4, elements=ALL) for w in wanted]
    state = torch.get_rng_state()
    drafts = written(back_end, wanted)
    assert torch.equal(torch.get_rng_state(), state)
    for draft, want in zip(drafts, wanted, strict=True):
        numbers = draft.crystal.atomic_numbers.tolist()
        assert sorted(numbers) == [11, 17] or not want.conditions.composition
        assert set(numbers) == {8, 22} or not want.conditions.elements
        assert torch.equal(from_lines(draft.text).atomic_numbers, draft.crystal.atomic_numbers)
        torch.testing.assert_close(from_lines(draft.text).frac_coords, draft.crystal.frac_coords)
    assert 0.5 < back_end.removed_mass < 1
    assert [d.text for d in written(back_end, wanted)] == [d.text for d in drafts]
    assert [d.text for d in written(back_end, wanted, seed=6)] != [d.text for d in drafts]


def test_without_the_grammar_drafts_may_be_no_crystals_and_say_why(back_end):
    drafts = written(back_end, [one(most=2)] * 6, constrained=False)
    assert len(drafts) == 6 and all(draft.crystal is None and draft.problem.endswith(".") for draft in drafts)


def test_rows_that_end_early_are_left_out_and_change_no_other(back_end):
    """Greedy decoding under the grammar: each draft alone is what it is in a batch that shrinks."""
    wanted = [one(composition={11: n}) for n in (1, 5, 1, 2, 1)]
    cold = {"temperature": 0.05, "top_p": 0.01}  # the likeliest token alone
    together = written(back_end, wanted, **cold)
    for draft, want in zip(together, wanted, strict=True):
        assert written(back_end, [want], **cold)[0].text == draft.text


def test_the_stream_of_tokens_is_padded_behind_an_end_and_stops(back_end):
    class OnlyTheEnd:
        def __call__(self, ids, scores):
            scores = torch.full_like(scores, -torch.inf)
            scores[:, 2] = 0.0
            return scores

        def keep(self, rows):
            pass

    steps = list(
        sample_tokens(
            back_end.network,
            [[1, 5], [1]],
            pad=0,
            end=2,
            most=9,
            generator=torch.Generator().manual_seed(0),
            constraint=OnlyTheEnd(),
        )
    )
    assert [step.tolist() for step in steps] == [[[2], [2]]]


def test_words_of_a_large_vocabulary_are_drawn_with_their_probability_and_by_their_own_id():
    odds = torch.full((5000,), -4.0)
    odds[[4100, 4999]] = torch.tensor([3.0, 1.0]).log()

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, **_):
            return SimpleNamespace(logits=odds.expand(len(input_ids), 1, -1))

    class LateWords:
        def __call__(self, ids, scores):
            return scores.masked_fill(torch.arange(5000) < 4100, -torch.inf).masked_fill(
                (torch.arange(5000) > 4100) & (torch.arange(5000) < 4999), -torch.inf
            )

    (drawn,) = sample_tokens(
        Network(),
        [[1]] * 2000,
        pad=0,
        end=2,
        most=1,
        generator=torch.Generator().manual_seed(0),
        constraint=LateWords(),
    )
    assert set(drawn.flatten().tolist()) == {4100, 4999}
    assert 0.70 < (drawn == 4100).float().mean() < 0.80


def test_text_that_is_being_written_is_what_stands_in_the_finished_text():
    grid = GridCrystals.from_crystals(toy_crystals()["triclinic"])
    cells, atoms = crystal_tokens(grid)
    body = [*cells[0].tolist(), *atoms.flatten().tolist()]
    whole = to_lines(grid)[0]
    assert partial_lines([*body, 2, 0, 0]) == whole
    for n in range(18, len(body) + 1, 7):
        assert whole.startswith(partial_lines(body[:n]))
    assert partial_lines(body[:4]) == "4.1 0" and partial_lines([]) == ""


def test_a_crystal_is_the_likelier_the_more_its_tokens_are(back_end):
    toys = [GridCrystals.from_crystals(toy) for toy in toy_crystals().values()]
    chances = [back_end.log_chances(toy)[0] for toy in toys]
    batch = assemble([prompt_tokens(Conditions())], toys[1])
    logits = back_end.network(input_ids=batch.ids).logits[0].log_softmax(-1)
    expected = sum(float(logits[i, batch.ids[0, i + 1]]) for i in range(2, batch.ids.shape[1] - 1))
    assert chances[1] == pytest.approx(expected, rel=1e-4)
    both = GridCrystals(
        **{
            name: torch.cat([getattr(toys[1], name), getattr(toys[3], name)])
            for name in ("lengths", "angles", "coords", "atomic_numbers", "n_atoms")
        }
    )
    assert back_end.log_chances(both) == pytest.approx([chances[1], chances[3]], rel=1e-4)


class Scripted:
    """A back end that writes what a script says, one text per draft in turn."""

    name, device, max_atoms, batch, removed_mass, charge_mass = "scripted", CPU, 20, 4, 0.0, 0.0

    def __init__(self, *texts):
        self.texts, self.calls, self.wanted = list(texts), 0, []

    def write(self, wanted, **options):
        self.calls += 1
        self.wanted.append([(w.least, w.most) for w in wanted])
        drafts = []
        for _ in wanted:
            text = self.texts.pop(0) if self.texts else "nonsense"
            crystal = None if text == "nonsense" else from_lines(text)
            drafts.append(
                Written(text=text, prompt="p", crystal=crystal, problem="" if crystal else "no crystal")
            )
        yield Progress(done=1, of=1, drafts=tuple(drafts))


def text_of(*symbols):
    return "\n".join(["4.0 5.0 6.0", "90 90 90", *(f"{s}\n0.{i}0 0.00 0.00" for i, s in enumerate(symbols))])


def drafted(back_end, *wanted, rewrites=0, judge=None):
    slots = Slots(wanted=wanted, rewrites=rewrites)
    parts = [
        part
        for part, _ in write_crystals(
            back_end,
            slots,
            generator=torch.Generator(),
            temperature=1.0,
            top_p=1.0,
            trained_atoms=20,
            judge=judge,
        )
    ]
    assert parts == sorted(parts) and 0 < parts[-1] <= 1
    return slots


def test_a_number_of_atoms_is_awaited_and_forced_only_in_the_last_round():
    writer = Scripted(text_of("Na"), text_of("Na", "Cl"), *["nonsense"] * 2, *[text_of("Fe")] * 8)
    slots = drafted(writer, one(least=2, most=2), one(least=3, most=3))
    assert writer.wanted == [[(1, 20)] * 4] * 3 + [[(3, 3)]]
    assert slots.crystals[0].atomic_numbers.tolist() == [11, 17] and slots.crystals[1] is None
    assert slots.drafts[1].problem == "no crystal"
    assert slots.rejected == {OTHER_COUNT: 9, "no crystal": 3}
    assert [draft.problem for draft in slots.left_out].count(OTHER_COUNT) == 3  # a few of each, to read
    assert all(draft.text for draft in slots.left_out if draft.problem == OTHER_COUNT)


def test_drafts_with_other_atoms_are_written_again():
    writer = Scripted(
        *(text_of(*atoms) for atoms in (["Na"], ["Na", "Cl"], ["K"], ["Cl", "Na"], ["Na"], ["Fe"]))
    )
    slots = drafted(
        writer,
        one(composition={11: 1, 17: 1}),
        one(most=20, elements=(11,)),
        one(most=20, elements=(26,), band_gap=1.0),
    )
    assert [c.atomic_numbers.tolist() for c in slots.crystals] == [[17, 11], [11], [26]]
    assert slots.rejected == {OTHER_ATOMS: 3}
    either = one(most=20, any_of=((17, 35),), contain=(11,))
    slots = drafted(Scripted(*(text_of(*atoms) for atoms in (["Na"], ["Cl"], ["Br", "Na"]))), either)
    assert slots.crystals[0].atomic_numbers.tolist() == [35, 11] and slots.rejected == {OTHER_ATOMS: 2}


def test_a_draft_that_does_not_balance_is_written_again():
    writer = Scripted(*(text_of(*atoms) for atoms in (["Na", "Cl", "Cl"], ["Na", "Cl"], ["Na", "Cl", "Cl"])))
    want = {"conditions": Conditions(), "least": 1, "most": 20, "elements": ALL}
    slots = drafted(writer, Wanted(**want, charge_balance=True))
    assert slots.crystals[0].atomic_numbers.tolist() == [11, 17] and writer.calls == 2
    assert slots.rejected == {UNBALANCED: 1} and slots.left_out[0].problem == UNBALANCED
    assert drafted(Scripted(text_of("Na", "Cl", "Cl")), Wanted(**want)).rejected == {}


CSCL = "4.1 4.1 4.1\n90 90 90\nCs\n0.00 0.00 0.00\nCl\n0.50 0.50 0.50"  # Pm-3m, 221
NEARLY = CSCL.replace("0.50 0.50 0.50", "0.55 0.50 0.50")  # 0.2 Å from it
FAR = CSCL.replace("0.50 0.50 0.50", "0.30 0.20 0.40")  # P1


def test_a_draft_without_the_space_group_is_written_again():
    want = one(composition={55: 1, 17: 1}, space_group=221)
    writer = Scripted(FAR, FAR, NEARLY, CSCL)
    slots = drafted(writer, want, rewrites=3)
    assert slots.drafts[0].text == NEARLY and writer.calls == 3
    assert slots.rejected == {OTHER_GROUP: 2} and slots.left_out[0].problem == OTHER_GROUP
    assert drafted(Scripted(FAR, CSCL), want).drafts[0].text == FAR, "0 rewrites take any group"
    other = one(composition={55: 1, 17: 1})
    assert drafted(Scripted(FAR, CSCL), other, rewrites=3).drafts[0].text == FAR, "no group is requested"


def test_the_first_draft_stands_in_where_all_lack_the_space_group():
    want = one(composition={55: 1, 17: 1}, space_group=221)
    other = FAR.replace("0.40", "0.15")
    writer = Scripted("nonsense", FAR, *[other] * 9)
    slots = drafted(writer, want, rewrites=5)
    assert slots.drafts[0].text == FAR and slots.drafts[0].problem == "" and writer.calls == 6
    assert slots.rejected == {"no crystal": 1, OTHER_GROUP: 4}
    assert FAR not in [draft.text for draft in slots.left_out]
    slots = drafted(Scripted(FAR, CSCL, FAR), want, want, rewrites=1)
    assert sorted(draft.text for draft in slots.drafts) == sorted([FAR, CSCL])
    assert slots.rejected == {OTHER_GROUP: 1}


class Ruler:
    """A judge that measures a distance by the first length of the cell."""

    def distances(self, crystals, conditions):
        lengths = crystals.lattice[:, 0].norm(dim=-1).tolist()
        return [abs(length - one.band_gap) / 0.5 for length, one in zip(lengths, conditions, strict=True)]


def test_a_draft_far_from_its_target_is_written_again_and_the_nearest_stands_in():
    def sized(length):
        return CSCL.replace("4.1 4.1 4.1", f"{length} {length} {length}")

    want = one(composition={55: 1, 17: 1}, band_gap=4.0)
    slots = drafted(Scripted(sized("6.0"), sized("4.4")), want, rewrites=3, judge=Ruler())
    assert slots.drafts[0].text == sized("4.4") and slots.rejected == {OFF_TARGET: 1}
    tried = [sized(length) for length in ("6.0", "5.0", "7.0", "4.0")]
    slots = drafted(Scripted(*tried), want, rewrites=2, judge=Ruler())
    assert slots.drafts[0].text == sized("5.0") and slots.rejected == {OFF_TARGET: 2}
    assert drafted(Scripted(*tried), want, rewrites=2).rejected == {}, "nobody judges"
    both = one(composition={55: 1, 17: 1}, band_gap=4.0, space_group=221)
    tried = [FAR.replace("4.1 4.1 4.1", "4.0 4.0 4.0"), sized("6.0"), sized("5.0")]
    slots = drafted(Scripted(*tried), both, rewrites=2, judge=Ruler())
    assert slots.drafts[0].text == sized("5.0"), "the space group counts before the distance"


def test_a_cell_is_chosen_for_the_elements_that_are_demanded(back_end):
    from crystal_core.generators.crysllmgen.backends.tiny import CELLS, FirstElement

    tried = FirstElement(None, 2)
    tried.chances = torch.tensor([0.0, 0.7, 0.0, 0.0, 0.0, 0.3, *[0.0] * 6])
    cells = torch.arange(24).view(12, 2)
    chosen = torch.stack([tried.choose(cells, torch.Generator().manual_seed(k)) for k in range(200)])
    # the first draft has the cells 0 to 5, the second one those of which none suits
    first = chosen[:, 0, 0]
    assert set(first.tolist()) == {2, 10} and 0.6 < float((first == 2).float().mean()) < 0.8
    assert set(chosen[:, 1, 0].tolist()) <= set(range(12, 24, 2))
    calls = back_end.calls
    drafts = written(back_end, [one(contain=(8,), most=3)] * 3)
    numbers = [draft.crystal.atomic_numbers.tolist() for draft in drafts]
    assert all(n[0] == 8 for n in numbers) and back_end.calls - calls > 18 + CELLS
    assert [d.text for d in written(back_end, [one(contain=(8,), most=3)] * 3)] == [d.text for d in drafts]


def finished(model, request):
    *_, last = model.sample(request)
    return last


def test_conditions_reach_the_prompt_and_the_crystals(tiny_writer):
    model = load_generator(tiny_writer(), "cpu")
    prompts = (
        Conditions(elements=(3, 8), space_group=225, band_gap=2.0),
        Conditions(composition={22: 1, 8: 2}, formation_energy=-2.5, e_above_hull=0.0),
        Conditions(),
    )
    frame = finished(model, DeNovoRequest(n_atoms=(5, 3, 4), at_least=(2, 3, 1), conditions=prompts, seed=1))
    counts = [Counter(crystal.atomic_numbers.tolist()) for crystal in frame.crystals]
    assert set(counts[0]) == {3, 8} and counts[1] == {22: 1, 8: 2} and counts[2].total() <= 4
    prompts = [draft.prompt for draft in frame.drafts]
    assert prompts[0] == "<bos> <gen> <elements> Li O <sg> 2 2 5 <gap> 2 . 0 0 0 <sep>"
    assert "<formula> O 2 Ti 1 <ef> - 2 . 5 0 0 <ehull> 0 . 0 0 0 <sep>" in prompts[1]
    for crystal, draft in zip(frame.crystals, frame.drafts, strict=True):
        assert from_lines(draft.text).atomic_numbers.tolist() == crystal.atomic_numbers.tolist()
    allowed = finished(model, DeNovoRequest(n_atoms=(5,) * 6, at_least=(1,) * 6, elements=(6, 14)))
    assert set(allowed.crystals.atomic_numbers.tolist()) <= {6, 14}


def test_a_card_may_draw_open_compositions_from_more_tokens_than_the_crystals_of_a_formula(tiny_writer):
    model = load_generator(
        tiny_writer(
            draft={"temperature": 1.0, "top_p": 0.7},
            draft_open_composition={"top_p": 0.9},
        ),
        "cpu",
    )
    water = Conditions(composition={1: 2, 8: 1})
    requests = {
        "open": DeNovoRequest(n_atoms=(3,), conditions=(Conditions(elements=(3, 8)),), seed=1),
        "target": DeNovoRequest(n_atoms=(3,), conditions=(Conditions(band_gap=2.0),), seed=1),
        "none": DeNovoRequest(n_atoms=(3,), seed=1),
        "given": DeNovoRequest(n_atoms=(3,), conditions=(water,), seed=1),
        "cell": GenerationRequest(compositions=((1, 1, 8),), seed=1),
        "asked for": DeNovoRequest(n_atoms=(3,), draft=DraftOptions(top_p=0.5), seed=1),
    }
    used = {name: model.settings_used(request)["top_p_used"] for name, request in requests.items()}
    assert used == {"open": 0.9, "target": 0.7, "none": 0.9, "given": 0.7, "cell": 0.7, "asked for": 0.5}
    drafts = {
        top_p: finished(model, DeNovoRequest(n_atoms=(3,), draft=DraftOptions(top_p=top_p), seed=1)).drafts
        for top_p in (0.7, 0.9)
    }
    assert drafts[0.7] != drafts[0.9] == finished(model, requests["none"]).drafts


def test_charge_balance_gives_balanced_compositions_alone(tiny_writer):
    model = load_generator(tiny_writer(), "cpu")
    options = {"n_atoms": (4,) * 24, "at_least": (1,) * 24, "elements": (8, 11, 17)}
    free = finished(model, DeNovoRequest(**options))
    assert not all(check_structure(structures).composition for structures in to_structures(free.crystals))
    request = DeNovoRequest(**options, draft=DraftOptions(charge_balance=True))
    frame = finished(model, request)
    structures = [structure for structure in to_structures(frame.crystals) if structure is not None]
    assert len(structures) > 20 and all(check_structure(structure).composition for structure in structures)
    assert frame.rejected[UNBALANCED] > 0
    assert sampler_used(model, request)["charge_balance_used"] == "smact14"


def test_atoms_come_in_the_order_asked_for_and_belong_to_the_draft(tiny_writer):
    model = load_generator(tiny_writer(), "cpu")
    cell = (8, 22, 8, 3)
    frame = finished(model, GenerationRequest(compositions=(cell, (11,)), seed=2))
    assert frame.crystals.atomic_numbers.tolist() == [*cell, 11]
    of_text = from_lines(frame.drafts[0].text)
    sites = {(z, *xyz) for z, xyz in zip(cell, frame.crystals[0].frac_coords.tolist(), strict=True)}
    assert sites == {
        (int(z), *xyz) for z, xyz in zip(of_text.atomic_numbers, of_text.frac_coords.tolist(), strict=True)
    }


def test_what_cannot_be_written_keeps_its_place(tiny_writer, monkeypatch):
    model = load_generator(tiny_writer(), "cpu")
    monkeypatch.setattr(model, "back_end", Scripted())
    frame = finished(model, DeNovoRequest(n_atoms=(2, 3), at_least=(1, 1)))
    assert to_structures(frame.crystals) == [None, None]
    assert "no crystal" in {draft.problem for draft in frame.left_out}
    assert frame.rejected["no crystal"] >= 2 and frame.drafts[0].problem == "no crystal"


def test_what_would_change_nothing_is_refused(tiny_writer):
    model = load_generator(tiny_writer(conditions=["composition", "band_gap"]), "cpu")
    cells = ((11, 17),)
    for options, reason in (
        ({"steps": 5}, "no sampler and no steps"),
        ({"sampler": "pc"}, "no sampler and no steps"),
        ({"sampler": "fast", "tau": 0.5}, "no sampler to tune"),
        ({"draft": DraftOptions(refiner="diffcsp")}, "no refiner"),
        ({"draft": DraftOptions(start_draft="inject")}, "Without a refiner"),
        ({"draft": DraftOptions(refine_from=800)}, "Without a refiner"),
        ({"draft": DraftOptions(charge_balance=True)}, "already fixes the composition"),
    ):
        with pytest.raises((IncompatibleSampler, RequestError), match=reason):
            next(model.sample(GenerationRequest(compositions=cells, **options)))
    with pytest.raises(RequestError, match="does not take a space group"):
        next(model.sample(DeNovoRequest(n_atoms=(2,), conditions=(Conditions(space_group=1),))))
    with pytest.raises(RequestError, match="not trained on Og"):
        next(model.sample(GenerationRequest(compositions=((118, 11),))))
    with pytest.raises(RequestError, match="up to 59 atoms"):
        next(model.sample(GenerationRequest(compositions=((11,) * 60,))))
    conditions_of_oxygen = Conditions(composition={8: 1})
    with pytest.raises(RequestError, match="O must not appear, but the crystal must hold it"):
        next(model.sample(DeNovoRequest(n_atoms=(1,), elements=(11,), conditions=(conditions_of_oxygen,))))
