"""DiffCSP end to end, very small: noise levels, targets, samplers, starts, and the contract of generators."""

import math

import pytest
import torch

from crystal_core.cards import ModelCard
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.generators.diffcsp.config import ProcessConfig
from crystal_core.generators.diffcsp.generator import DiffcspGenerator
from crystal_core.generators.diffcsp.network import CspNetwork, CspNetworkConfig
from crystal_core.generators.diffcsp.process import diffcsp_loss, noisy_state
from crystal_core.generators.diffcsp.samplers import LatticeSampler, SamplerSettings, State, to_crystals
from crystal_core.generators.diffcsp.schedules import coordinate_score, cosine_betas, schedules_of
from crystal_core.geometry import lattice_from_parameters, lattice_parameters, wrap
from crystal_core.guides.density import DensityTarget
from crystal_core.guides.protocol import Guide
from crystal_core.networks.packing import pack
from crystal_core.requests import GenerationRequest
from crystal_core.structures import to_structures
from crystal_core.testing import check_generator, toy_crystals
from crystal_core.training.data import Batch

SCHEDULES = schedules_of(ProcessConfig())
CELLS = torch.tensor([[5.6, 5.6, 5.6, 60.0, 60.0, 60.0], [3.9, 3.9, 6.2, 90.0, 90.0, 120.0]])
CARD = ModelCard(
    name="toy",
    kind="generator",
    task="structure prediction",
    method="DiffCSP",
    loader="diffcsp",
    parameters=1,
    trained_on="nothing",
    source="random",
    licence="MIT",
    limits="none of its crystals mean anything",
    files={"weights": "0" * 64},
)


def toy_generator(**sampling):
    torch.manual_seed(0)
    network = CspNetwork(CspNetworkConfig(hidden_dim=16, n_layers=2, n_frequencies=4, time_dim=8))
    card = ModelCard(**{**CARD.__dict__, "sampling": sampling})
    process = ProcessConfig(centred=True)
    return DiffcspGenerator(network, SCHEDULES, card=card, process=process, device=torch.device("cpu"))


def final(generator, request):
    *_, frame = generator.sample(request)
    return frame


# noise levels


def test_the_noise_levels_are_the_published_ones():
    for t, remaining, sigma in (
        (200, 0.948, 0.0125),
        (500, 0.703, 0.050),
        (700, 0.451, 0.125),
        (900, 0.155, 0.315),
    ):
        assert float(SCHEDULES.alphas_cumprod[t].sqrt()) == pytest.approx(remaining, abs=6e-4)
        assert float(SCHEDULES.sigmas[t]) == pytest.approx(sigma, abs=6e-4)
    assert SCHEDULES.alphas_cumprod[0] == 1 and SCHEDULES.sigmas[0] == 0 and SCHEDULES.norms[0] == 1
    betas = cosine_betas(1000)
    assert torch.equal(SCHEDULES.lattice_scales, torch.ones(1001, dtype=torch.float64))
    assert betas[0] == 0 and float(betas[1:].min()) == 1e-4 and float(betas.max()) == 0.9999


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.2, 0.5])
def test_the_score_is_that_of_the_wrapped_normal(sigma):
    d = torch.linspace(-0.5, 0.5, 101, dtype=torch.float64)
    image = d[:, None] + torch.arange(-10, 11, dtype=torch.float64)
    weight = torch.exp(-(image**2) / (2 * sigma**2))
    summed = (image / sigma**2 * weight).sum(1) / weight.sum(1)
    score = coordinate_score(d, torch.tensor(sigma, dtype=torch.float64))
    torch.testing.assert_close(score, summed, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(coordinate_score(d + 3, torch.tensor(sigma, dtype=torch.float64)), score)


@pytest.mark.parametrize("t", [1, 300, 600, 800, 1000])
def test_the_norm_is_the_mean_square_of_the_score(t):
    """Quadrature over 4,096 points of the circle of score² times its density."""
    sigma = SCHEDULES.sigmas[t]
    d = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096 - 0.5
    image = d[:, None] + torch.arange(-10, 11, dtype=torch.float64)
    density = torch.exp(-(image**2) / (2 * sigma**2)).sum(1) / (sigma * math.sqrt(2 * math.pi))
    mean = (coordinate_score(d, sigma) ** 2 * density).mean()
    assert float(SCHEDULES.norms[t]) == pytest.approx(float(mean), rel=1e-6)


# targets and loss


def test_targets_have_unit_size_and_lead_back_to_the_crystal():
    n_atoms = torch.full((400,), 5)
    lattice = lattice_from_parameters(CELLS[:1]).repeat(400, 1, 1)
    coords, t = torch.rand(2000, 3), torch.full((400,), 300)
    rng = torch.Generator().manual_seed(0)
    state = noisy_state(coords, lattice, t, pack(n_atoms), SCHEDULES, rng)
    assert float((state.score**2).mean()) == pytest.approx(1, abs=0.05)
    assert float((state.lattice_noise**2).mean()) == pytest.approx(1, abs=0.05)
    sigma, norm = float(SCHEDULES.sigmas[300]), float(SCHEDULES.norms[300])
    remaining = float(SCHEDULES.alphas_cumprod[300])
    # narrow noise: one step of sigma² times the score undoes it
    back = state.frac_coords - sigma**2 * norm**0.5 * state.score
    assert float(wrap(back - coords).abs().max()) < 1e-4
    clean = (state.lattice - (1 - remaining) ** 0.5 * state.lattice_noise) / remaining**0.5
    torch.testing.assert_close(clean, lattice, atol=1e-4, rtol=1e-4)


def test_the_network_sees_lattices_of_one_size_at_all_times():
    schedules = schedules_of(ProcessConfig(lattice_std=4.0))
    n_atoms, rng = torch.full((500,), 1), torch.Generator().manual_seed(0)
    clean = 4.0 * torch.randn((500, 3, 3), generator=rng)
    for t in (1, 300, 700, 900, 1000):
        at = torch.full((500,), t)
        state = noisy_state(torch.zeros(500, 3), clean, at, pack(n_atoms), schedules, rng)
        assert float((state.lattice / schedules.lattice_scales[t]).std()) == pytest.approx(1, abs=0.05)


def batch_of_two():
    return Batch(
        atomic_numbers=torch.tensor([11, 17, 22, 8, 8]),
        frac_coords=torch.tensor([[0, 0, 0], [0.5] * 3, [0, 0, 0], [0.3, 0.3, 0], [0.7, 0.7, 0]]),
        cell_parameters=CELLS,
        n_atoms=torch.tensor([2, 3]),
    )


class Silent(torch.nn.Module):
    """Predicts 0 everywhere."""

    def forward(self, t, frac_coords, atomic_numbers, lattice, packing):
        del t, atomic_numbers, packing
        return torch.zeros_like(lattice), torch.zeros_like(frac_coords)


def test_the_loss_of_a_silent_network_is_the_size_of_the_targets():
    batch, rng = batch_of_two(), torch.Generator().manual_seed(0)
    parts = [diffcsp_loss(Silent(), batch, rng, ProcessConfig(), SCHEDULES)[1] for _ in range(2000)]
    for name in ("loss_x", "loss_l"):
        assert float(torch.stack([p[name] for p in parts]).mean()) == pytest.approx(1, abs=0.05)
    loss, once = diffcsp_loss(Silent(), batch, rng, ProcessConfig(), SCHEDULES)
    assert float(loss) == pytest.approx(float(once["loss_x"] + once["loss_l"]))


def test_a_centred_score_loses_the_part_that_no_network_can_know():
    """Of n atoms with independent noise the mean holds 1/n of the square."""
    batch, rng = batch_of_two(), torch.Generator().manual_seed(0)
    process = ProcessConfig(centred=True)
    parts = [diffcsp_loss(Silent(), batch, rng, process, SCHEDULES)[1]["loss_x"] for _ in range(2000)]
    assert float(torch.stack(parts).mean()) == pytest.approx((1 + 2) / 5, abs=0.05)


# samplers


@pytest.mark.parametrize("name", ["pc", "pc-pf", "em", "ode"])
@pytest.mark.parametrize("kind", ["noise", "renoise"])
def test_a_network_that_knows_the_crystal_leads_every_sampler_to_it(name, kind):
    batch = batch_of_two()
    packing, lattice = pack(batch.n_atoms), lattice_from_parameters(batch.cell_parameters)
    schedules = schedules_of(ProcessConfig(lattice_std=4.0))
    sampler = LatticeSampler(SamplerSettings(name=name, steps=50), packing, schedules, centred=False)
    rng = torch.Generator().manual_seed(0)

    def oracle(frac_coords, scaled, t):
        remaining, sigma = schedules.alphas_cumprod[t].float(), schedules.sigmas[t].float()
        noisy = scaled * schedules.lattice_scales[t].float()
        score = coordinate_score(wrap(frac_coords - batch.frac_coords), sigma)
        return (noisy - remaining.sqrt() * lattice) / (1 - remaining).sqrt(), score / schedules.norms[
            t
        ].sqrt().float()

    first = None if kind == "noise" else 400
    state = sampler.initial(rng)
    if first is not None:
        state = sampler.renoised(batch.frac_coords, lattice, first, rng)
    indices = sampler.settings.indices(SCHEDULES.n_times, first)
    for t, t_next in zip(indices, indices[1:], strict=False):
        state = sampler.step(oracle, state, t, t_next, rng)
    assert float(wrap(state.frac_coords - batch.frac_coords).abs().max()) < 0.02
    torch.testing.assert_close(state.lattice, lattice, atol=1e-3, rtol=1e-3)


def test_strides_end_at_0_and_begin_where_the_noise_still_has_a_scale():
    assert SamplerSettings(steps=1000).indices(1000) == list(range(1000, -1, -1))
    strided = SamplerSettings(steps=50).indices(1000)
    assert strided[0] == 990 and strided[-1] == 0 and len(strided) == 51
    assert SamplerSettings(steps=50).indices(1000, 10) == list(range(10, -1, -1))
    assert SamplerSettings(steps=50).indices(1000, 0) == [0]


def test_a_renoised_start_at_the_end_of_the_process_is_the_prior():
    packing = pack(torch.full((500,), 4))
    sampler = LatticeSampler(SamplerSettings(), packing, SCHEDULES, centred=False)
    lattice = lattice_from_parameters(CELLS[:1]).repeat(500, 1, 1)
    state = sampler.renoised(torch.zeros(2000, 3), lattice, 1000, torch.Generator().manual_seed(0))
    assert float(state.lattice.mean()) == pytest.approx(0, abs=0.05)
    assert float(state.lattice.std()) == pytest.approx(1, abs=0.05)
    shares = torch.histc(state.frac_coords, 4, 0, 1) / state.frac_coords.numel()
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.03)


# the generator


def test_it_keeps_the_contract_of_generators():
    check_generator(toy_generator)


@pytest.mark.parametrize("name", ["pc", "pc-pf", "em", "ode"])
def test_every_sampler_repeats_by_its_seed(name):
    cells = ((11, 17), (26,), (22, 8, 8))
    request = GenerationRequest(compositions=cells, sampler=name, steps=5, seed=7)
    first, again = (final(toy_generator(), request).crystals for _ in range(2))
    assert torch.equal(first.frac_coords, again.frac_coords) and torch.equal(first.lattice, again.lattice)
    assert torch.isfinite(first.frac_coords).all() and torch.isfinite(first.lattice).all()


def test_the_usual_sampler_takes_at_most_100_network_calls():
    generator = toy_generator()
    for start in ({}, {"start": toy_crystals()["rock salt"], "start_time": 0.8}):
        frame = final(generator, GenerationRequest(compositions=((11, 17),), **start))
        assert generator.network_calls == 2 * frame.n_steps == 100


def test_an_injected_draft_is_left_as_it_is_when_the_start_goes_to_0():
    toys = list(toy_crystals().values())
    draft = type(toys[0]).concat(toys)
    cells = tuple(tuple(toy.atomic_numbers.tolist()) for toy in toys)
    moved = []
    for start_time in (1e-4, 1e-3, 0.1):
        request = GenerationRequest(
            compositions=cells, start=draft, start_time=start_time, start_kind="inject"
        )
        crystals = final(toy_generator(), request).crystals
        assert crystals.atomic_numbers.tolist() == draft.atomic_numbers.tolist()
        change = lattice_parameters(crystals.lattice) - lattice_parameters(draft.lattice)
        moved.append(
            (float(wrap(crystals.frac_coords - draft.frac_coords).abs().max()), float(change.abs().max()))
        )
    assert moved[0][0] < 1e-6 and moved[0][1] < 1e-2  # degrees; an arccos in float32 near 60°
    assert moved[0][0] < moved[1][0] < moved[2][0] and moved[1][1] < moved[2][1]
    assert moved[1][0] < 0.05


def test_inject_and_renoise_begin_differently_and_renoise_depends_on_the_seed():
    draft = toy_crystals()["triclinic"]

    def first_frame(kind, seed):
        request = GenerationRequest(
            compositions=((22, 8, 8),),
            start=draft,
            start_time=0.5,
            start_kind=kind,
            sampler="ode",
            steps=3,
            seed=seed,
            frame_every=1,
        )
        return next(toy_generator().sample(request)).crystals.frac_coords

    assert torch.equal(first_frame("inject", 0), first_frame("inject", 1))
    assert not torch.equal(first_frame("renoise", 0), first_frame("renoise", 1))
    assert not torch.equal(first_frame("renoise", 0), first_frame("inject", 0))


def test_a_lone_atom_rests_and_no_number_is_lost():
    generator = toy_generator()
    frames = list(generator.sample(GenerationRequest(compositions=((26,), (26,)), frame_every=1, steps=8)))
    assert all(torch.isfinite(f.crystals.frac_coords).all() for f in frames)
    assert all(torch.isfinite(f.crystals.lattice).all() for f in frames)
    assert len(to_structures(frames[-1].crystals)) == 2


def test_a_cell_without_extent_is_flat_and_never_nan():
    state = State(torch.tensor([[0.1, float("nan"), 0.3]]), torch.zeros(1, 3, 3))
    crystals = to_crystals(state, torch.tensor([26]), torch.tensor([1]))
    assert torch.isfinite(crystals.lattice).all() and torch.isfinite(crystals.frac_coords).all()
    assert to_structures(crystals) == [None]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampler": "exp-em"}, "no sampler 'exp-em'"),
        ({"sampler": "ode", "steps": 3, "tau": None, "compositions": ((110,),)}, "up to atomic number 100"),
        ({"guide": Guide(predictor=DensityTarget(3.0))}, "cannot be guided"),
        ({"start": toy_crystals()["iron"], "start_time": 0.2}, "requested compositions"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(options, says):
    request = GenerationRequest(**({"compositions": ((11, 17),)} | options))
    with pytest.raises((RequestError, IncompatibleSampler), match=says):
        next(toy_generator().sample(request))


def test_an_unknown_kind_of_start_is_refused():
    with pytest.raises(RequestError, match="start kind"):
        GenerationRequest(compositions=((1,),), start_kind="warm")


def test_the_card_tunes_the_usual_sampler_and_the_published_tuning_leaves_it_out():
    generator = toy_generator(tau=0.2, refine={"name": "ode", "steps": 20, "start_time": 0.3})
    request = GenerationRequest(compositions=((11, 17),))
    assert generator.settings(request) == SamplerSettings(name="pc", steps=50, tau=0.2)
    assert generator.start_time == 0.3
    refine = GenerationRequest(compositions=((11, 17),), start=toy_crystals()["rock salt"], start_time=0.3)
    assert generator.settings(refine).name == "ode" and generator.settings(refine).steps == 20
    published = GenerationRequest(compositions=((11, 17),), tuning="published", sampler="pc")
    assert generator.settings(published) == SamplerSettings(name="pc", steps=1000, tau=0.4)
    with pytest.raises(RequestError, match="no corrector"):
        generator.settings(
            GenerationRequest(
                compositions=((11, 17),), start=toy_crystals()["rock salt"], start_time=0.3, tau=0.5
            )
        )
