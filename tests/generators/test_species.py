"""The three ways in which atom types diffuse: encodings that decode, marginals, exact predictions that
return to the data.
"""

import math

import pytest
import torch

from crystal_core.errors import RequestError
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.species import (
    AnalogBitsSpecies,
    MaskedSpecies,
    OneHotSpecies,
    species_process,
)
from crystal_core.generators.kldm.species_process import FREE_CHOICE, N_TYPES, TypeChoice, allowed_types
from crystal_core.networks.packing import pack
from crystal_core.sampling import variance_preserving as vp
from crystal_core.sampling.absorbing import MaskSchedule, is_hidden

OPTIONS = ["one-hot", "analog-bits", "masking"]
EVERY = torch.arange(1, N_TYPES + 1)


def option(name, choice=FREE_CHOICE, **settings):
    return species_process(ProcessConfig(species=name, **settings), choice)


def exact_output(name, atomic_numbers):
    """What a network that knows the answer would say."""
    if name == "masking":
        return torch.full((len(atomic_numbers), N_TYPES), -30.0).scatter(
            1, (atomic_numbers - 1).unsqueeze(-1), 30.0
        )
    return option(name).encode(atomic_numbers)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_type_survives_encoding(name):
    process = option(name)
    assert torch.equal(process.decode(process.encode(EVERY)), EVERY)


def test_bits_are_most_significant_first():
    codes = AnalogBitsSpecies().encode(torch.tensor([1, 2, 65, 100]))
    expected = [[-1] * 7, [-1] * 6 + [1], [1] + [-1] * 6, [1, 1, -1, -1, -1, 1, 1]]  # indices 0, 1, 64, 99
    assert codes.tolist() == expected


def test_codes_that_are_no_type_decode_to_the_nearest_one():
    """28 of the 128 codes lie beyond the vocabulary; the published code fails there."""
    numbers = AnalogBitsSpecies().decode(2.0 * torch.randint(0, 2, (500, 7)).float() - 1.0)
    assert numbers.min() >= 1 and numbers.max() <= N_TYPES
    # 113, of which the fourth bit is the least certain
    beyond = torch.tensor([[1.0, 1.0, 1.0, 0.1, -1.0, -1.0, 1.0]])
    assert int(AnalogBitsSpecies().decode(beyond)) - 1 in range(N_TYPES)


@pytest.mark.parametrize("name", ["one-hot", "analog-bits"])
def test_forward_marginals_are_those_of_the_simulated_process(name):
    process, n = option(name), 1000
    t, steps = 0.4, 200
    start = process.encode(torch.tensor([26])).expand(n, -1)
    generator = torch.Generator().manual_seed(0)
    x, dt = start.clone(), t / steps
    for i in range(steps):
        rate = vp.beta(torch.tensor((i + 0.5) * dt))
        x = x - 0.5 * rate * x * dt + torch.sqrt(rate * dt) * torch.randn(x.shape, generator=generator)
    direct = process.noisy(torch.full((n,), 26), torch.full((n,), t), generator)
    error = 5 / math.sqrt(n)  # five standard errors of a mean of unit numbers
    torch.testing.assert_close(direct.value.mean(0), x.mean(0), atol=error, rtol=0)
    torch.testing.assert_close(direct.value.std(0), x.std(0), atol=error, rtol=0)


def test_hidden_atoms_alone_carry_the_loss_and_it_is_averaged_over_all():
    process = MaskedSpecies(MaskSchedule())
    numbers, t = torch.randint(1, 90, (3000,)), torch.full((3000,), 0.3)
    noisy = process.noisy(numbers, t, torch.Generator().manual_seed(0))
    hidden = is_hidden(noisy.value, N_TYPES)
    assert float(hidden.double().mean()) == pytest.approx(0.3, abs=0.04)
    assert (noisy.weight[~hidden] == 0).all() and torch.allclose(
        noisy.weight[hidden], MaskSchedule().loss_weight(torch.tensor(0.3))
    )
    flat = torch.zeros(3000, N_TYPES)
    expected = float(noisy.weight.sum()) / 3000 * math.log(N_TYPES)
    assert float(process.loss(flat, noisy)) == pytest.approx(expected, rel=1e-5)
    simple = MaskedSpecies(MaskSchedule(), simple_weight=True).noisy(
        numbers, t, torch.Generator().manual_seed(0)
    )
    assert set(simple.weight.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_loss_of_the_exact_answer_is_least(name):
    process, numbers = option(name), torch.randint(1, 101, (50,))
    noisy = process.noisy(numbers, torch.full((50,), 0.5), torch.Generator().manual_seed(0))
    right, wrong = exact_output(name, numbers), exact_output(name, numbers % 100 + 1)
    assert float(process.loss(right, noisy)) < 1e-6 < float(process.loss(wrong, noisy))


@pytest.mark.parametrize("sampler", ["em", "exp-em", "ode", "predictor", "pc"])
@pytest.mark.parametrize("name", OPTIONS)
def test_exact_predictions_lead_to_the_types_and_leave_no_mask(name, sampler):
    process, packing = option(name), pack(torch.tensor([1, 4, 3]))
    numbers, rng = torch.tensor([26, 1, 57, 100, 8, 64, 65, 99]), torch.Generator().manual_seed(0)
    value, output = process.initial(8, rng), exact_output(name, numbers)
    if name == "masking":
        assert is_hidden(value, N_TYPES).all()
    times = torch.linspace(1.0, 1e-3, 101).tolist()
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        if sampler == "pc" and process.has_score:
            value = process.correct(value, output, t, 0.25, packing, rng)
        value = process.step("predictor" if sampler == "pc" else sampler, value, output, t, t_next, rng)
    assert torch.isfinite(value.float()).all()
    value = process.finish(value, output)
    assert torch.equal(process.decode(value), numbers)
    if name == "masking":
        assert not is_hidden(value, N_TYPES).any()


@pytest.mark.parametrize("name", OPTIONS)
def test_excluded_elements_never_appear_however_much_the_network_wants_them(name):
    process = option(name, TypeChoice(allowed=allowed_types((3, 8, 25), "cpu")))
    rng = torch.Generator().manual_seed(0)
    numbers = torch.full((40,), 26)  # the network is sure of iron
    value, output = process.initial(40, rng), exact_output(name, numbers)
    times = torch.linspace(1.0, 1e-3, 51).tolist()
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        assert set(process.likely(value, output, t).tolist()) <= {3, 8, 25}
        value = process.step("em", value, output, t, t_next, rng)
    value = process.finish(value, output)
    assert set(process.decode(value).tolist()) <= {3, 8, 25}


def test_cold_types_are_the_likeliest():
    output = torch.zeros(2000, 100)
    output[:, 7] = 1.0
    shares = []
    for temperature in (1.0, 0.1):
        process = option("masking", TypeChoice(temperature=temperature))
        hidden = process.initial(2000, torch.Generator().manual_seed(0))
        drawn = process.step("em", hidden, output, 1.0, 0.0, torch.Generator().manual_seed(0))
        shares.append(float((drawn == 7).double().mean()))
    assert shares[0] < 0.1 and shares[1] > 0.99


@pytest.mark.parametrize("name", ["one-hot", "analog-bits"])
def test_without_guidance_the_prediction_is_taken_as_it_is_and_only_decoding_keeps_to_known_types(name):
    process = option(name, TypeChoice(allowed=allowed_types((3, 8, 25), "cpu"), constrained=False))
    output = exact_output(name, torch.tensor([26, 3]))
    assert torch.equal(process.predicted(torch.randn(2, process.width), output, 0.5), output)
    assert int(process.decode(output)[0]) in (3, 8, 25) and int(process.decode(output)[1]) == 3


def test_the_simplex_projection_is_the_nearest_distribution():
    process, allowed = OneHotSpecies(), allowed_types((3, 8, 25), "cpu")
    x0 = 0.3 * torch.randn(20, N_TYPES, generator=torch.Generator().manual_seed(0))
    projected = process.project(x0, allowed)
    torch.testing.assert_close(projected.sum(-1), torch.ones(20))
    assert (projected >= 0).all() and (projected[:, ~allowed] == 0).all()
    inside = torch.zeros(1, N_TYPES)
    inside[0, [2, 7]] = torch.tensor([0.7, 0.3])
    torch.testing.assert_close(process.project(inside, allowed), inside)
    grid = torch.distributions.Dirichlet(torch.ones(3)).sample((4000,))
    nearest = torch.cdist(x0[:, allowed], grid).min(-1).values
    assert (torch.linalg.norm(x0[:, allowed] - projected[:, allowed], dim=-1) <= nearest + 1e-5).all()


def test_projected_bits_lie_among_the_allowed_codes():
    process, allowed = AnalogBitsSpecies(), allowed_types((3, 8), "cpu")
    three, eight = process.encode(torch.tensor([3, 8]))
    torch.testing.assert_close(
        process.project(three.unsqueeze(0), allowed), three.unsqueeze(0), atol=1e-4, rtol=0
    )
    mixed = process.project(torch.zeros(1, 7), allowed)  # bits that say nothing: halfway between both codes
    torch.testing.assert_close(mixed, (0.5 * (three + eight)).unsqueeze(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        process.project(eight.unsqueeze(0), allowed), eight.unsqueeze(0), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ["one-hot", "analog-bits"])
def test_the_corrector_knows_which_crystal_an_atom_belongs_to(name):
    """The published code broadcasts per-crystal numbers over atoms, a shape error for unequal cells."""
    process, packing = option(name), pack(torch.tensor([1, 5, 2]))
    value = torch.randn(8, process.width)
    moved = process.correct(
        value, torch.zeros_like(value), 0.5, 0.25, packing, torch.Generator().manual_seed(0)
    )
    assert moved.shape == value.shape and torch.isfinite(moved).all()


def test_noise_and_clean_targets_give_the_same_score():
    numbers, t = torch.randint(1, 101, (30,)), 0.4
    both = [
        OneHotSpecies(target).noisy(numbers, torch.full((30,), t), torch.Generator().manual_seed(0))
        for target in ("x0", "eps")
    ]
    scores = [
        OneHotSpecies(target).score(n.value, n.target, t)
        for target, n in zip(("x0", "eps"), both, strict=True)
    ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)


def test_unknown_options_are_refused():
    with pytest.raises(RequestError, match="choose one of"):
        ProcessConfig(species="diffusion")
    assert species_process(ProcessConfig()) is None


@pytest.mark.parametrize("target", ["x0", "eps"])
@pytest.mark.parametrize("name", OPTIONS)
def test_guidance_to_a_type_raises_its_share_and_none_changes_nothing(name, target):
    process, t = option(name, species_target=target if name == "one-hot" else "x0"), 0.5
    iron, cobalt = exact_output(name, torch.tensor([26, 27]))
    output = (iron + cobalt) / 2  # the network cannot tell them apart
    value = (
        torch.full((1,), N_TYPES)
        if name == "masking"
        else torch.randn(1, process.width, generator=torch.Generator().manual_seed(0))
    )
    output = output.unsqueeze(0)
    if name == "one-hot" and target == "eps":
        alpha, sigma = vp.alpha_sigma(torch.tensor(t))
        output = (value - alpha * output) / sigma
    before = process.probabilities(value, output, t)
    same = process.reweighted(value, output, torch.zeros(1, N_TYPES), t)
    torch.testing.assert_close(process.probabilities(value, same, t), before, atol=1e-5, rtol=0)
    gradient = torch.zeros(1, N_TYPES)
    gradient[0, 25] = 1.0  # iron
    after = process.probabilities(value, process.reweighted(value, output, gradient, t), t)
    torch.testing.assert_close(after.sum(-1), torch.ones(1))
    assert after[0, 25] > before[0, 25] + 0.1 and after[0, 26] < before[0, 26] - 0.1
