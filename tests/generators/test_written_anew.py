"""Crystals that miss their space group or a target after refinement are drafted and refined anew."""

from dataclasses import replace

import pytest
import torch

from crystal_core.conditions import Conditions, DraftOptions
from crystal_core.crystal import CrystalBatch
from crystal_core.frames import Draft, Frame
from crystal_core.generators.written_anew import LOST_GROUP, OFF_TARGET, REPEATED
from crystal_core.registry.store import load_generator
from crystal_core.requests import DeNovoRequest
from crystal_core.testing import toy_crystals

SALT = toy_crystals()["rock salt"]


def sized(factor):
    """Rock salt with a larger or smaller cell."""
    return replace(SALT, lattice=factor * SALT.lattice)


def skewed(factor):
    """The same without its space group."""
    shear = torch.eye(3)
    shear[0, 1], shear[1, 2] = 0.4, -0.3
    return replace(SALT, lattice=factor * SALT.lattice @ shear)


def made_of(cation, crystal):
    """The same with another cation."""
    return replace(crystal, atomic_numbers=torch.tensor([cation, 17]))


def whole(crystal):
    return bool(crystal.lattice.isfinite().all())


def volume(crystals):
    """In units of the cell of rock salt."""
    return float((torch.linalg.det(crystals.lattice) / torch.linalg.det(SALT.lattice)).abs())


class Ruler:
    """Judges by the volume of the cell, in units of that of rock salt; 1 is the target."""

    def distances(self, crystals, conditions):
        del conditions
        volumes = torch.linalg.det(crystals.lattice).abs() / torch.linalg.det(SALT.lattice).abs()
        return ((volumes - 1.0).abs() / 0.1).tolist()


@pytest.fixture
def scripted(tiny_pair, monkeypatch):
    """A model whose drafts are given, pass by pass, and whose refiner leaves them as they are."""

    def load(*passes):
        model = load_generator(tiny_pair(conditions=["space_group", "band_gap"]), "cpu")
        written, asked = iter(passes), []

        def draft(request):
            asked.append(request)
            crystals = next(written)
            assert len(crystals) == len(request.n_atoms)
            drafts = tuple(
                Draft(text=f"draft {len(asked)}.{i}", prompt="", problem="" if whole(one) else "no crystal")
                for i, one in enumerate(crystals)
            )
            model.drafter.network_calls = 10
            yield Frame(stage="draft", step=500, n_steps=1000, time=0.5)
            batch = CrystalBatch.concat(list(crystals))
            yield Frame(
                stage="draft", step=1, n_steps=1, time=0, crystals=batch, finished=True, drafts=drafts
            )

        def refine(request):
            refiner.network_calls = 3
            yield Frame(stage="denoise", step=1, n_steps=1, time=0, crystals=request.start, finished=True)

        refiner = model.refiner("tiny-refiner")
        monkeypatch.setattr(model.drafter, "sample", draft)
        monkeypatch.setattr(refiner, "sample", refine)
        return model, asked

    return load


def run(model, *conditions, judge=None, **options):
    request = DeNovoRequest(
        n_atoms=(2,) * len(conditions), conditions=conditions, judge=judge, draft=DraftOptions(**options)
    )
    return list(model.sample(request))


CUBIC, GAP = Conditions(space_group=225), Conditions(band_gap=2.0)


def test_only_what_misses_is_made_anew_until_it_is_met(scripted):
    model, asked = scripted(
        [SALT, skewed(1.0), skewed(1.1)], [made_of(19, SALT), skewed(1.2)], [made_of(37, SALT)]
    )
    frames = run(model, CUBIC, CUBIC, CUBIC)
    end = frames[-1]
    assert [len(request.n_atoms) for request in asked] == [3, 2, 1]
    assert len({request.seed for request in asked}) == 3
    assert [draft.text for draft in end.drafts] == ["draft 1.0", "draft 2.0", "draft 3.0"]
    assert all(draft.group_from == "refined" for draft in end.drafts)
    assert end.rejected == {LOST_GROUP: 3}
    assert [draft.text for draft in end.left_out] == ["draft 1.1", "draft 2.1", "draft 1.2"]
    steps = [frame.step for frame in frames]
    assert steps == sorted(steps)
    assert [frame.finished for frame in frames] == [False] * (len(frames) - 1) + [True]
    draft, refine = end.stages
    assert (draft.network_calls, refine.network_calls, model.network_calls) == (30, 9, 39)
    assert refine.settings["symmetrised"] == 3 and "drafts_kept" not in refine.settings


def test_the_nearest_to_a_target_stays_and_the_group_counts_first(scripted):
    model, asked = scripted([sized(1.2)], [sized(1.08)], [sized(1.3)])
    end = run(model, GAP, judge=Ruler(), rewrites=2)[-1]
    assert len(asked) == 3 and end.drafts[0].text == "draft 2.0"
    assert volume(end.crystals) == pytest.approx(1.08**3)
    assert end.rejected == {OFF_TARGET: 2}
    # a skewed cell at the target does not beat a cubic one beside it
    both = Conditions(space_group=225, band_gap=2.0)
    model, _ = scripted([skewed(1.0)], [sized(1.2)], [skewed(1.0)])
    end = run(model, both, judge=Ruler(), rewrites=2)[-1]
    assert end.drafts[0].text == "draft 2.0" and end.rejected == {LOST_GROUP: 2}


def test_a_crystal_that_is_there_already_is_no_better(scripted):
    far = made_of(19, sized(1.2))
    model, _ = scripted([SALT, far], [SALT], [sized(1.01)], [made_of(19, SALT)])
    end = run(model, GAP, GAP, judge=Ruler())[-1]
    assert [draft.text for draft in end.drafts] == ["draft 1.0", "draft 4.0"]
    assert end.rejected == {REPEATED: 2, OFF_TARGET: 1}


def test_nothing_is_made_anew_where_nothing_is_missed_or_nobody_judges_or_it_is_off(scripted):
    for passes, conditions, options in (
        ([[sized(1.02)]], GAP, {"judge": Ruler()}),
        ([[sized(2.0)]], GAP, {}),
        ([[sized(2.0)]], GAP, {"judge": Ruler(), "rewrites": 0}),
        ([[skewed(1.0)]], Conditions(), {}),
    ):
        model, asked = scripted(*passes)
        end = run(model, conditions, **options)[-1]
        assert len(asked) == 1 and end.drafts[0].text == "draft 1.0" and not end.rejected


def test_a_draft_that_is_no_crystal_gets_another_chance(scripted):
    none = replace(SALT, lattice=torch.full_like(SALT.lattice, torch.nan))
    model, asked = scripted([none], [SALT])
    end = run(model, CUBIC)[-1]
    assert len(asked) == 2 and volume(end.crystals) == pytest.approx(1.0)
