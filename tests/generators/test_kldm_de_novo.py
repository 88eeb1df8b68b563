"""De novo sampling on the true classes, very small: every option, every sampler,
elements, seeds, cancelling.
"""

from dataclasses import replace

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.registry.store import load_generator
from crystal_core.requests import DeNovoRequest

OPTIONS = ["one-hot", "analog-bits", "masking"]


def last(frames):
    frame = None
    for frame in frames:
        # also on the way: no masked atom is shown
        assert (
            frame.crystals is None
            or ((frame.crystals.atomic_numbers >= 1) & (frame.crystals.atomic_numbers <= 100)).all()
        )
    return frame


@pytest.mark.parametrize("sampler", ["em", "exp-em", "pc", "pc-pf", "ode"])
@pytest.mark.parametrize("species", OPTIONS)
def test_every_option_and_sampler_gives_whole_crystals_of_known_elements(tiny_de_novo, species, sampler):
    generator = load_generator(tiny_de_novo(species), "cpu")
    frame = last(
        generator.sample(DeNovoRequest(n_atoms=(1, 5, 2), sampler=sampler, steps=6, seed=3, frame_every=1))
    )
    assert frame.finished and frame.crystals.n_atoms.tolist() == [1, 5, 2]
    assert torch.isfinite(frame.crystals.frac_coords).all() and torch.isfinite(frame.crystals.lattice).all()
    assert set(frame.crystals.atomic_numbers.tolist()) <= {3, 8, 22, 26, 38}


@pytest.mark.parametrize("species", OPTIONS)
def test_only_allowed_elements_appear_in_every_frame(tiny_de_novo, species):
    generator = load_generator(tiny_de_novo(species), "cpu")
    frames = generator.sample(
        DeNovoRequest(n_atoms=(5,) * 4, elements=(8, 22), sampler="pc", steps=5, frame_every=1)
    )
    assert all(set(frame.crystals.atomic_numbers.tolist()) <= {8, 22} for frame in frames)


def test_same_seed_same_crystals_other_seed_others(tiny_de_novo):
    generator = load_generator(tiny_de_novo(), "cpu")

    def draw(seed):
        return last(
            generator.sample(DeNovoRequest(n_atoms=(5, 5), sampler="em", steps=5, seed=seed))
        ).crystals

    assert torch.equal(draw(1).frac_coords, draw(1).frac_coords) and torch.equal(
        draw(1).atomic_numbers, draw(1).atomic_numbers
    )
    assert not torch.equal(draw(1).frac_coords, draw(2).frac_coords)


def test_closing_the_iterator_stops_the_work(tiny_de_novo):
    generator = load_generator(tiny_de_novo(), "cpu")
    frames = generator.sample(DeNovoRequest(n_atoms=(5,), sampler="em", steps=1000))
    next(frames)
    frames.close()
    assert generator.network_calls == 1


def test_elements_it_never_saw_are_refused(tiny_de_novo):
    generator = load_generator(tiny_de_novo(), "cpu")
    with pytest.raises(RequestError, match="not trained on"):
        next(generator.sample(DeNovoRequest(n_atoms=(2,), elements=(79,))))
    with pytest.raises(RequestError, match="at least one element"):
        DeNovoRequest(n_atoms=(2,), elements=())
    with pytest.raises(RequestError, match="atoms per cell"):
        DeNovoRequest(n_atoms=(0,))


@pytest.mark.parametrize("species", OPTIONS)
def test_only_types_that_are_hidden_can_be_remasked(tiny_de_novo, species):
    generator = load_generator(tiny_de_novo(species), "cpu")
    request = DeNovoRequest(n_atoms=(5,) * 8, sampler="em", steps=5, seed=3, remasking=100.0)
    if species != "masking":
        with pytest.raises(RequestError, match="hides no types while it samples, so remasking"):
            next(generator.sample(request))
        return
    drawn = [
        last(generator.sample(options)).crystals for options in (request, replace(request, remasking=None))
    ]
    assert generator.settings(request).tuning == {"remasking": 100.0}
    assert not torch.equal(drawn[0].atomic_numbers, drawn[1].atomic_numbers)
