"""KLDM end to end on the true classes, very small: codec, process, every sampler, pitfalls
of the published code.
"""

import math
from dataclasses import replace

import pytest
import torch

from crystal_core.cards import ModelCard
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.generators.kldm.codec import LatticeCodec, decode, encode
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.generator import KldmGenerator
from crystal_core.generators.kldm.process import noisy_state
from crystal_core.generators.kldm.samplers import SamplerSettings
from crystal_core.geometry import lattice_from_parameters, lattice_parameters
from crystal_core.networks.packing import pack
from crystal_core.networks.pair_network import PairNetwork, PairNetworkConfig
from crystal_core.requests import GenerationRequest

SAMPLERS = ["em", "exp-em", "pc", "pc-pf", "ode"]


def codec():
    generator = torch.Generator().manual_seed(0)
    n_atoms = torch.randint(1, 9, (400,), generator=generator)
    lengths = torch.exp(
        1.2 + torch.log(n_atoms.float()).unsqueeze(-1) / 3 + 0.2 * torch.randn((400, 3), generator=generator)
    )
    return LatticeCodec.from_training(lengths, n_atoms)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    network = PairNetwork(PairNetworkConfig(hidden_dim=16, n_layers=2, n_frequencies=8, time_dim=16))
    card = ModelCard(
        name="tiny",
        kind="generator",
        task="structure prediction",
        method="KLDM",
        loader="kldm",
        parameters=1,
        trained_on="nothing",
        source="test",
        licence="MIT",
        limits="",
    )
    return KldmGenerator(network, codec(), card=card, process=ProcessConfig(), device=torch.device("cpu"))


def last(frames):
    frame = None
    for frame in frames:
        pass
    return frame


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_finite_crystals_also_for_one_atom(tiny, sampler):
    """A lone atom has score zero: the published corrector divides by it and returns NaN."""
    request = GenerationRequest(compositions=((26,), (11, 17), (22, 8, 8)), sampler=sampler, steps=8, seed=3)
    frame = last(tiny.sample(request))
    assert frame.finished
    assert frame.crystals.n_atoms.tolist() == [1, 2, 3]
    assert frame.crystals.atomic_numbers.tolist() == [26, 11, 17, 22, 8, 8]
    assert torch.isfinite(frame.crystals.frac_coords).all() and torch.isfinite(frame.crystals.lattice).all()
    assert (frame.crystals.frac_coords >= 0).all() and (frame.crystals.frac_coords < 1).all()


@pytest.mark.parametrize(("sampler", "calls"), [("em", 1), ("pc", 2), ("pc-pf", 2), ("ode", 1)])
def test_network_calls_are_counted(tiny, sampler, calls):
    last(tiny.sample(GenerationRequest(compositions=((22, 8, 8),), sampler=sampler, steps=5)))
    assert tiny.network_calls == 5 * calls - (1 if sampler == "pc-pf" else 0)


def test_same_seed_same_crystals_other_seed_others(tiny):
    def draw(seed):
        return last(
            tiny.sample(GenerationRequest(compositions=((22, 8, 8),), sampler="pc", steps=5, seed=seed))
        ).crystals.frac_coords

    assert torch.equal(draw(7), draw(7))
    assert not torch.equal(draw(7), draw(8))


def test_a_start_structure_at_a_late_time_stays_near_itself(tiny):
    first = last(tiny.sample(GenerationRequest(compositions=((22, 8, 8),), sampler="em", steps=3))).crystals
    request = GenerationRequest(
        compositions=((22, 8, 8),), sampler="ode", steps=3, start=first, start_time=0.01
    )
    moved = last(tiny.sample(request)).crystals
    away = (moved.frac_coords - first.frac_coords + 0.5) % 1.0 - 0.5
    assert away.abs().max() < 0.05


def test_closing_the_iterator_stops_the_work(tiny):
    frames = tiny.sample(GenerationRequest(compositions=((22, 8, 8),), sampler="em", steps=1000))
    next(frames)
    frames.close()
    assert tiny.network_calls == 1


def test_unknown_elements_and_samplers_explain_themselves(tiny):
    with pytest.raises(RequestError, match="atomic number 100"):
        next(tiny.sample(GenerationRequest(compositions=((118,),))))
    with pytest.raises(RequestError, match="choose one of"):
        GenerationRequest(compositions=((1,),), sampler="euler")
    with pytest.raises(IncompatibleSampler):
        SamplerSettings(name="ddpm")


def test_codec_round_trip_and_unseen_counts():
    table = codec()
    parameters = torch.tensor([[4.0, 5.0, 6.0, 80.0, 95.0, 110.0], [3.0, 3.0, 30.0, 60.0, 60.0, 60.0]])
    n_atoms = torch.tensor([3, 17])  # 17 atoms were never seen: the fit over all counts steps in
    torch.testing.assert_close(
        table.decode(table.encode(parameters, n_atoms), n_atoms), parameters, rtol=1e-4, atol=1e-3
    )
    again = LatticeCodec.from_json(table.to_json())
    assert again == table
    loc, scale = table.statistics(torch.tensor([1, 500]))
    assert torch.isfinite(loc).all() and (scale > 0).all()


def test_few_crystals_of_a_count_do_not_give_nan():
    """floor(0.025 M) = 0 makes the published slice empty."""
    table = LatticeCodec.from_training(torch.rand(30, 3) + 3.0, torch.tensor([4] * 30))
    assert all(math.isfinite(x) for x in (*table.loc[4], *table.scale[4]))


def test_physical_and_latent_spaces_round_trip():
    table = codec()
    parameters = torch.tensor([[4.0, 5.0, 6.0, 80.0, 95.0, 110.0]])
    lattice = lattice_from_parameters(parameters)
    torch.testing.assert_close(lattice_parameters(lattice), parameters, rtol=1e-4, atol=1e-3)
    from crystal_core.crystal import CrystalBatch

    crystal = CrystalBatch(
        atomic_numbers=torch.tensor([22, 8]),
        frac_coords=torch.tensor([[0.0, 0.3, 0.99], [0.5, 0.5, 0.5]]),
        lattice=lattice,
        n_atoms=torch.tensor([2]),
    )
    frac, latent = encode(crystal, table)
    assert frac.abs().max() <= 0.5
    back = decode(frac, latent, crystal.atomic_numbers, crystal.n_atoms, table)
    torch.testing.assert_close(back.frac_coords, crystal.frac_coords, atol=1e-6, rtol=0)
    torch.testing.assert_close(back.lattice, crystal.lattice, atol=1e-3, rtol=1e-4)


def test_impossible_angles_give_a_flat_cell_not_nan():
    lattice = lattice_from_parameters(torch.tensor([[4.0, 4.0, 4.0, 150.0, 30.0, 30.0]]))
    assert torch.isfinite(lattice).all()
    assert float(torch.linalg.det(lattice).abs()) < 1e-2


def test_targets_are_mean_free_and_of_unit_size():
    n_atoms = torch.full((400,), 8)
    packing = pack(n_atoms)
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(400, generator=generator).clamp(min=0.01)
    state = noisy_state(
        torch.rand(3200, 3) - 0.5, torch.randn(400, 6), t, packing, ProcessConfig(), generator
    )
    assert state.velocity_target.view(400, 8, 3).mean(1).abs().max() < 1e-4
    assert state.velocity.view(400, 8, 3).mean(1).abs().max() < 1e-5
    # an all-zero prediction costs 1 - 1/N
    assert float((state.velocity_target**2).mean()) == pytest.approx(1 - 1 / 8, rel=0.05)
    assert state.frac_coords.abs().max() <= 0.5 + 1e-6


def test_full_parametrisation_is_required_for_moving_starts():
    with pytest.raises(RequestError, match="full"):
        ProcessConfig(initial_velocity_scale=0.5)
    config = ProcessConfig(parametrisation="full", initial_velocity_scale=0.5, mean_free=False)
    packing = pack(torch.tensor([3, 1]))
    state = noisy_state(
        torch.zeros(4, 3),
        torch.zeros(2, 6),
        torch.tensor([0.5, 0.9]),
        packing,
        config,
        torch.Generator().manual_seed(0),
    )
    assert torch.isfinite(state.velocity_target).all()


def test_a_request_tunes_the_sampler_over_the_card_and_the_publication(tiny):
    fast = {"name": "pc", "steps": 50, "tau": 0.6}
    tiny.card = replace(tiny.card, sampling={"tau": 0.5, "noise_scale": 0.7, "fast": fast})

    def tuned(**options):
        settings = tiny.settings(GenerationRequest(compositions=((22, 8, 8),), **options))
        return settings.steps, settings.tau, settings.noise_scale

    assert tuned() == (50, 0.6, 0.7) and tuned(tau=0.1) == (50, 0.1, 0.7)
    assert tuned(sampler="pc", tau=0.1, noise_scale=0.9) == (1000, 0.1, 0.9)
    assert tuned(tuning="published") == (50, 0.25, 1.0)  # the card still says what "fast" is
    assert tuned(tuning="published", noise_scale=0.4, sampler="pc-pf", steps=5) == (5, 0.25, 0.4)


def test_a_tuning_without_effect_is_refused_also_where_only_the_card_names_the_sampler(tiny):
    tiny.card = replace(tiny.card, sampling={"fast": {"name": "em", "steps": 3}})
    request = GenerationRequest(compositions=((22, 8, 8),), tau=0.3)
    with pytest.raises(RequestError, match="tiny samples with em here, which has no corrector, so tau"):
        next(tiny.sample(request))
    assert set(tiny.idle_tuning(request)) == {"tau"}
    assert not tiny.idle_tuning(replace(request, sampler="pc"))


def test_the_corrector_is_that_of_the_card(tiny):
    request = GenerationRequest(compositions=((22, 8, 8),), sampler="pc", steps=5)
    assert (tiny.settings(request).tau, tiny.settings(request).noise_scale) == (0.25, 1.0)
    tiny.card = replace(tiny.card, sampling={"tau": 0.5, "noise_scale": 0.7})
    assert (tiny.settings(request).tau, tiny.settings(request).noise_scale) == (0.5, 0.7)
    fast = tiny.settings(replace(request, sampler="fast", steps=None))
    assert (fast.name, fast.tau, fast.noise_scale) == ("pc", 0.5, 0.7)
    assert (
        fast.tuning == {"tau": 0.5, "noise_scale": 0.7}
        and not tiny.settings(replace(request, sampler="em")).tuning
    )
