"""Two models as one generator: the contract, what a draft keeps and what the refiner may
change, both stages told.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.crystal import CrystalBatch
from crystal_core.errors import CheckpointMissing, IncompatibleSampler, RequestError
from crystal_core.evaluation.validity import is_charge_balanced
from crystal_core.frames import Draft, Frame
from crystal_core.generators.crysllmgen.crystal_text import from_lines
from crystal_core.generators.crysllmgen.drafting import UNBALANCED
from crystal_core.registry.store import find_card, list_cards, load_generator
from crystal_core.requests import DeNovoRequest, GenerationRequest
from crystal_core.structures import niggli_reduced, to_structures
from crystal_core.testing import check_generator, toy_crystals
from tests.generators.test_diffcsp import toy_generator

ALONE = DraftOptions(refiner="none")


def frames_of(model, request):
    return list(model.sample(request))


def last(model, request):
    return frames_of(model, request)[-1]


def test_the_generator_keeps_the_contract(tiny_pair):
    name = tiny_pair()
    check_generator(lambda: load_generator(name, "cpu"), sampler="em")


def test_its_card_tells_what_its_parts_tell(tiny_pair, tmp_path):
    card = find_card(tiny_pair(conditions=["band_gap"]))
    assert card.conditions == ("band_gap",) and card.writes_drafts
    assert card.elements == tuple(range(1, 93))  # the drafter writes 94, the refiner places 92
    assert set(card.parts) == {"tiny-writer", "tiny-refiner"}
    assert card.parameters == find_card("tiny-writer").parameters + 1
    before = card.weights_sha256
    weights = next((tmp_path / "checkpoints" / "tiny-refiner").glob("*.safetensors"))
    text = (weights.parent / "card.toml").read_text()
    digest = find_card("tiny-refiner").files[weights.name]
    (weights.parent / "card.toml").write_text(text.replace(digest, "0" * 64))
    assert find_card("tiny-pair").weights_sha256 != before


def test_a_part_that_is_missing_is_named_and_the_other_models_are_still_listed(tiny_pair, tmp_path):
    name = tiny_pair()
    (tmp_path / "checkpoints" / "tiny-writer" / "card.toml").unlink()
    with pytest.raises(CheckpointMissing, match="'tiny-writer'"):
        load_generator(name, "cpu")
    assert {card.name for card in list_cards()} == {"tiny-refiner"}


def test_the_composition_of_a_draft_is_kept_and_both_stages_are_told(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    conditions = (Conditions(elements=(3, 8)), Conditions(composition={22: 1, 8: 2}), Conditions())
    request = DeNovoRequest(
        n_atoms=(5, 3, 4), at_least=(2, 3, 1), conditions=conditions, seed=1, frame_every=1
    )
    frames = frames_of(model, request)
    steps = [frame.step for frame in frames]
    assert steps == sorted(steps) and steps[-1] == frames[-1].n_steps
    assert [f.finished for f in frames] == [False] * (len(frames) - 1) + [True]
    assert {f.stage for f in frames} == {"draft", "refine"}
    end = frames[-1]
    for crystal, draft in zip(end.crystals, end.drafts, strict=True):
        of_text = Counter(from_lines(draft.text).atomic_numbers.tolist())
        assert Counter(crystal.atomic_numbers.tolist()) == of_text
        assert Counter(draft.cell["atomic_numbers"]) == of_text
    # the path begins with the draft itself
    first_cell = next(f.crystals for f in frames if f.crystals is not None)[0]
    torch.testing.assert_close(
        first_cell.frac_coords, torch.tensor(end.drafts[0].cell["frac_coords"]), rtol=0, atol=1e-4
    )
    draft, refine = end.stages
    assert (draft.stage, draft.model, refine.stage, refine.model) == (
        "draft",
        "tiny-writer",
        "refine",
        "tiny-refiner",
    )
    assert refine.network_calls == 4 and draft.network_calls > 4
    assert model.network_calls == draft.network_calls + refine.network_calls
    assert refine.settings == {
        "start_draft_used": "renoise",
        "refine_from_used": 200,
        "sampler_used": "em",
        "steps_used": 4,
    }


def test_balanced_drafts_stay_balanced_when_they_are_refined(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    balanced = DraftOptions(charge_balance=True)
    end = last(model, DeNovoRequest(n_atoms=(4,) * 8, at_least=(1,) * 8, elements=(11, 17), draft=balanced))
    cells = [crystal for crystal, draft in zip(end.crystals, end.drafts, strict=True) if draft.text]
    symbols = [Counter("Na" if z == 11 else "Cl" for z in cell.atomic_numbers.tolist()) for cell in cells]
    assert len(cells) > 4 and all(is_charge_balanced(tuple(sorted(counts.items()))) for counts in symbols)
    assert {2} <= set(map(len, symbols)) and end.rejected[UNBALANCED] > 0
    assert end.stages[0].settings["charge_balance"] is True


def writing(*crystals):
    """A stand-in for the drafter's ``sample`` that writes these crystals."""

    def sample(request):
        del request
        drafts = tuple(
            Draft(text="", prompt="", problem="" if bool(c.lattice.isfinite().all()) else "none")
            for c in crystals
        )
        batch = CrystalBatch.concat(list(crystals))
        yield Frame(stage="draft", step=1, n_steps=1, time=0, crystals=batch, finished=True, drafts=drafts)

    return sample


@pytest.mark.parametrize("start", ["inject", "renoise"])
def test_a_refinement_that_begins_at_the_end_keeps_the_draft(tiny_pair, monkeypatch, start):
    model = load_generator(tiny_pair(), "cpu")
    toys = [toy_crystals()[name] for name in ("rock salt", "triclinic")]
    monkeypatch.setattr(model.drafter, "sample", writing(*toys))
    options = DraftOptions(start_draft=start, refine_from=2)
    cells = tuple(tuple(toy.atomic_numbers.tolist()) for toy in toys)
    end = last(model, GenerationRequest(compositions=cells, sampler="ode", steps=2, draft=options))
    for toy, refined in zip(toys, to_structures(end.crystals), strict=True):
        reduced = niggli_reduced(to_structures(toy)[0])
        moved = (refined.frac_coords - reduced.frac_coords + 0.5) % 1.0 - 0.5
        assert abs(moved).max() < 0.02
        # the untrained network pulls the cell towards the mean of its statistics
        assert refined.lattice.abc == pytest.approx(reduced.lattice.abc, rel=0.2)


@pytest.mark.parametrize("start", ["inject", "renoise", "none"])
def test_any_structure_generator_refines(tiny_pair, start):
    model = load_generator(tiny_pair(), "cpu")
    model._refiners["tiny-refiner"] = toy_generator()
    end = last(
        model,
        GenerationRequest(
            compositions=((22, 8, 8), (11, 17)), sampler="pc", steps=3, draft=DraftOptions(start_draft=start)
        ),
    )
    assert end.crystals.atomic_numbers.tolist() == [22, 8, 8, 11, 17]
    draft, refine = end.stages
    assert refine.model == "tiny-refiner" and refine.settings["start_draft_used"] == start
    assert refine.network_calls == 6 and model.network_calls == draft.network_calls + 6


def test_without_a_refiner_it_is_its_drafter(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    cells = ((22, 8, 8), (11, 17))
    alone = last(load_generator("tiny-writer", "cpu"), GenerationRequest(compositions=cells, seed=2))
    same = last(model, GenerationRequest(compositions=cells, seed=2, draft=ALONE))
    assert [d.text for d in same.drafts] == [d.text for d in alone.drafts]
    assert torch.equal(same.crystals.lattice, alone.crystals.lattice)
    assert [stage.stage for stage in same.stages] == ["draft"]


def test_a_draft_that_is_no_crystal_keeps_its_place_and_the_others_are_refined(tiny_pair, monkeypatch):
    model = load_generator(tiny_pair(), "cpu")
    good, iron = toy_crystals()["rock salt"], toy_crystals()["iron"]
    broken = replace(iron, lattice=torch.full((1, 3, 3), torch.nan))
    monkeypatch.setattr(model.drafter, "sample", writing(broken, good))
    end = last(model, DeNovoRequest(n_atoms=(1, 2), at_least=(1, 1)))
    none, whole = to_structures(end.crystals)
    assert none is None and whole.composition.reduced_formula == "NaCl"
    assert end.drafts[0].cell is None and end.drafts[1].cell["atomic_numbers"] == [11, 17]


def test_a_refined_cell_whose_atoms_overlap_is_refined_once_more(tiny_pair, monkeypatch):
    model = load_generator(tiny_pair(), "cpu")
    salt, iron = toy_crystals()["rock salt"], toy_crystals()["iron"]
    monkeypatch.setattr(model.drafter, "sample", writing(iron, salt, salt))
    flat = replace(salt, frac_coords=torch.zeros(2, 3))
    refiner, requests = model.refiner("tiny-refiner"), []

    def sample(request):
        requests.append(request)
        cells = [salt if len(requests) > 1 else flat for _ in request.compositions]
        cells = [
            iron if cell == (26,) else one for one, cell in zip(cells, request.compositions, strict=True)
        ]
        refiner.network_calls = 4
        yield Frame(
            stage="denoise", step=1, n_steps=1, time=0, crystals=CrystalBatch.concat(cells), finished=True
        )

    monkeypatch.setattr(refiner, "sample", sample)
    end = last(model, DeNovoRequest(n_atoms=(1, 2, 2), at_least=(1, 1, 1)))
    assert [r.compositions for r in requests] == [((26,), (11, 17), (11, 17)), ((11, 17), (11, 17))]
    assert requests[0].seed != requests[1].seed
    assert torch.equal(end.crystals.frac_coords[1:3], salt.frac_coords)
    assert end.stages[1].network_calls == 8 and end.stages[1].settings["refined_again"] == 2


def rough_rutile():
    """TiO2 in rutile's cell with every coordinate off by up to 0.02 Å."""
    from crystal_core.geometry import lattice_from_parameters

    x = 0.305
    places = [[0, 0, 0], [0.5] * 3, [x, x, 0], [-x, -x, 0], [0.5 - x, 0.5 + x, 0.5], [0.5 + x, 0.5 - x, 0.5]]
    noise = torch.rand((6, 3), generator=torch.Generator().manual_seed(3)) - 0.5
    return CrystalBatch(
        atomic_numbers=torch.tensor([22, 22, 8, 8, 8, 8]),
        frac_coords=(torch.tensor(places) + 0.008 * noise) % 1,
        lattice=lattice_from_parameters(torch.tensor([[4.6, 4.61, 2.96, 90.0, 90.3, 90.0]])),
        n_atoms=torch.tensor([6]),
    )


def rutile_requests(model, monkeypatch, group, **options):
    """The last frame for a draft of rough rutile of which a space group may be requested."""
    monkeypatch.setattr(model.drafter, "sample", writing(rough_rutile()))
    conditions = (Conditions(space_group=group),)
    request = DeNovoRequest(n_atoms=(6,), conditions=conditions, draft=DraftOptions(**options))
    return last(model, request)


@pytest.mark.parametrize("requested_group", [136, None])
def test_a_refined_cell_is_symmetrised_in_the_requested_space_group(tiny_pair, monkeypatch, requested_group):
    model = load_generator(tiny_pair(), "cpu")
    larger = replace(rough_rutile(), lattice=1.05 * rough_rutile().lattice)
    monkeypatch.setattr(model.refiner("tiny-refiner"), "sample", writing(larger))
    end = rutile_requests(model, monkeypatch, requested_group)
    (refined,) = to_structures(end.crystals)
    assert refined.volume == pytest.approx(to_structures(larger)[0].volume, rel=0.01)
    asked = requested_group is not None
    assert (refined.get_space_group_info(symprec=1e-3)[1] == 136) is asked
    assert end.stages[1].settings.get("symmetrised", 0) == asked
    assert "drafts_kept" not in end.stages[1].settings
    assert end.drafts[0].group_from == ("refined" if asked else "")


def test_the_symmetric_draft_stands_in_for_a_cell_that_lost_the_requested_space_group(tiny_pair, monkeypatch):
    model = load_generator(tiny_pair(), "cpu")
    # an untrained network and much noise leave nothing of rutile
    end = rutile_requests(model, monkeypatch, 136, refine_from=900)
    (kept,), (rough,) = to_structures(end.crystals), to_structures(rough_rutile())
    assert kept.get_space_group_info(symprec=1e-3)[1] == 136
    assert kept.volume == pytest.approx(rough.volume, rel=0.01)
    settings = end.stages[1].settings
    assert settings["refined_again"] == 2 and settings["drafts_kept"] == 1 and "symmetrised" not in settings
    assert end.drafts[0].group_from == "draft"
    # a refinement from noise knows nothing of the draft
    end = rutile_requests(model, monkeypatch, 136, start_draft="none")
    assert end.drafts[0].group_from == "" and "drafts_kept" not in end.stages[1].settings


def test_a_space_group_that_neither_draft_nor_refined_cell_has_changes_nothing(tiny_pair, monkeypatch):
    model = load_generator(tiny_pair(), "cpu")
    plain, asked = (rutile_requests(model, monkeypatch, group, refine_from=600) for group in (None, 225))
    assert torch.equal(plain.crystals.frac_coords, asked.crystals.frac_coords)
    assert asked.drafts[0].group_from == ""


def test_a_known_crystal_is_only_refined(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    start = toy_crystals()["rock salt"]
    request = GenerationRequest(
        compositions=((11, 17),), start=start, start_time=0.05, start_kind="inject", sampler="ode", steps=3
    )
    end = last(model, request)
    assert end.drafts == () and model.network_calls == 3
    (stage,) = end.stages
    assert stage.settings == {
        "start_draft_used": "inject",
        "refine_from_used": 50,
        "sampler_used": "ode",
        "steps_used": 3,
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"draft": DraftOptions(refiner="none", start_draft="inject")}, "Without a refiner, start"),
        ({"draft": DraftOptions(refiner="none", refine_from=5)}, "Without a refiner, tau"),
        ({"draft": DraftOptions(start_draft="none", refine_from=5)}, "starts from noise"),
        ({"draft": ALONE, "steps": 5}, "Without a refiner there is no sampler"),
        ({"draft": ALONE, "noise_scale": 0.5}, "refines no drafts here"),
        ({"draft": DraftOptions(refiner="tiny-writer")}, "cannot refine a draft"),
        ({"sampler": "em", "noise_scale": 0.5}, "noise_scale"),
        ({"draft": DraftOptions(refine_from=1)}, "later than"),
    ],
)
def test_what_would_change_nothing_is_refused(tiny_pair, options, reason):
    model = load_generator(tiny_pair(), "cpu")
    with pytest.raises((RequestError, IncompatibleSampler), match=reason):
        frames_of(model, GenerationRequest(compositions=((11, 17),), **options))


def test_elements_that_only_the_drafter_knows_do_not_appear(tiny_pair):
    model = load_generator(tiny_pair(), "cpu")
    with pytest.raises(RequestError, match="tiny-refiner was not trained on Pu"):
        next(model.sample(GenerationRequest(compositions=((94,),))))
    end = last(model, DeNovoRequest(n_atoms=(5,) * 12, at_least=(1,) * 12, seed=3))
    assert max(end.crystals.atomic_numbers.tolist()) <= 92
