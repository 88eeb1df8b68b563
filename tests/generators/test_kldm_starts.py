"""KLDM that begins with a given crystal: joint moments of the start, both kinds of it, and the
limit of no noise.
"""

import math

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.generators.kldm.codec import encode
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.coordinates import EUCLIDEAN_SCALE
from crystal_core.generators.kldm.samplers import LatentSampler, SamplerSettings
from crystal_core.geometry import TWO_PI, centre, wrap
from crystal_core.networks.packing import pack
from crystal_core.requests import GenerationRequest
from crystal_core.sampling import variance_preserving as vp
from crystal_core.testing import toy_crystals
from tests.generators.test_kldm import codec, last, tiny  # noqa: F401 (tiny is a fixture)

N = 20_000


def sampler_of(packing, **process):
    return LatentSampler(SamplerSettings(name="em", steps=3), packing, ProcessConfig(**process))


def test_a_renoised_start_has_the_joint_moments_of_paths_from_the_crystal():
    """Against simulated Langevin paths from rest: position, velocity, and velocity given the position."""
    torch.manual_seed(0)
    t, steps, home = 0.25, 400, 0.45
    r, v = torch.zeros(N, 3), torch.zeros(N, 3)
    dt = 2 * t / steps
    for _ in range(steps):
        r = r + v * dt
        v = v - v * dt + math.sqrt(2 * dt) * torch.randn(N, 3)
    sampler = sampler_of(pack(torch.ones(N, dtype=torch.long)), mean_free=False)
    start = sampler.start_from(
        torch.full((N, 3), home), torch.zeros(N, 6), t, torch.Generator().manual_seed(1)
    )
    moved, velocity = TWO_PI * wrap(start.frac_coords - home), TWO_PI * start.velocity
    # three standard errors of a variance over 60,000 values are 2 %, and the step size adds less than 1 %
    assert float(moved.var()) == pytest.approx(float(r.var()), rel=0.03)
    assert float(velocity.var()) == pytest.approx(float(v.var()), rel=0.03)
    assert float((moved * velocity).mean()) == pytest.approx(float((r * v).mean()), rel=0.03)
    slope = float((r * v).mean() / r.var())
    assert float((velocity - slope * moved).var()) == pytest.approx(float((v - slope * r).var()), rel=0.03)
    alpha, sigma = vp.alpha_sigma(torch.tensor(t))
    assert float(start.lattice.std()) == pytest.approx(float(sigma), rel=0.02) and alpha < 1


def test_the_noise_of_a_start_is_mean_free_where_the_process_is():
    packing = pack(torch.tensor([2, 5]))
    home = torch.linspace(-0.4, 0.4, 21).reshape(7, 3)
    start = sampler_of(packing).start_from(home, torch.zeros(2, 6), 0.1, torch.Generator().manual_seed(0))
    still = centre(start.velocity, packing.crystal_index, 2)
    torch.testing.assert_close(still, start.velocity, rtol=0, atol=1e-6)
    moved = wrap(start.frac_coords - home)
    torch.testing.assert_close(centre(moved, packing.crystal_index, 2), moved, rtol=0, atol=1e-5)


@pytest.mark.parametrize("coordinates", ["kinetic", "brownian", "euclidean"])
def test_an_injected_start_is_the_crystal_without_noise(coordinates):
    packing = pack(torch.tensor([3]))
    home, lattice = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 0.0, 0.2], [0.3, -0.2, -0.5]]), torch.ones(1, 6)
    start = sampler_of(packing, coordinates=coordinates).start_from(
        home, lattice, 0.3, torch.Generator().manual_seed(0), "inject"
    )
    assert torch.equal(start.lattice, lattice)
    if coordinates == "euclidean":  # the network's velocity input is the centred coordinate itself
        torch.testing.assert_close(start.velocity, EUCLIDEAN_SCALE * (home - home.mean(0)))
    else:
        assert torch.equal(start.frac_coords, home) and not start.velocity.any()


@pytest.mark.parametrize("kind", ["renoise", "inject"])
@pytest.mark.parametrize("name", ["em", "ode"])
def test_a_start_at_a_vanishing_time_is_kept(tiny, kind, name):  # noqa: F811
    """Just before sampling ends only the floor of the noise is left: 1e-3 of 2 pi in a position,
    sigma in the lattice.
    """
    toys = list(toy_crystals().values())
    start = type(toys[0]).concat(toys)
    cells = tuple(tuple(crystal.atomic_numbers.tolist()) for crystal in start)
    request = GenerationRequest(
        compositions=cells, sampler=name, steps=2, start=start, start_time=0.00101, start_kind=kind
    )
    end = last(tiny.sample(request)).crystals
    assert torch.equal(end.atomic_numbers, start.atomic_numbers)
    assert wrap(end.frac_coords - start.frac_coords).abs().max() < 0.005
    before, after = encode(start, codec())[1], encode(end, codec())[1]
    assert (before - after).abs().max() < 6 * vp.alpha_sigma(torch.tensor(0.00101))[1]


def test_both_kinds_of_start_keep_the_composition_and_differ(tiny):  # noqa: F811
    start = toy_crystals()["triclinic"]
    cell = tuple(start.atomic_numbers.tolist())
    ends = {}
    for kind in ("renoise", "inject"):
        request = GenerationRequest(
            compositions=(cell,), sampler="pc", steps=4, start=start, start_time=0.2, start_kind=kind, seed=3
        )
        ends[kind] = last(tiny.sample(request)).crystals
        assert tuple(ends[kind].atomic_numbers.tolist()) == cell
    assert not torch.equal(ends["renoise"].frac_coords, ends["inject"].frac_coords)


def test_a_start_at_which_sampling_is_over_is_refused(tiny):  # noqa: F811
    start = toy_crystals()["triclinic"]
    request = GenerationRequest(
        compositions=(tuple(start.atomic_numbers.tolist()),), start=start, start_time=0.001
    )
    with pytest.raises(RequestError, match=r"later than 0\.001"):
        next(tiny.sample(request))
    with pytest.raises(RequestError, match="start kind"):
        GenerationRequest(compositions=((1,),), start_kind="jump")
