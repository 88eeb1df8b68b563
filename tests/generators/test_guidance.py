"""Guidance: gradients are true, strength 0 changes no bit, and crystals move towards the target."""

import math

import pytest
import torch

from crystal_core.crystal import CrystalBatch, SoftCrystals
from crystal_core.errors import RequestError
from crystal_core.generators.kldm.codec import LatticeCodec
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.coordinates import coordinate_process
from crystal_core.generators.kldm.guidance import MAX_GRADIENT, Guidance
from crystal_core.geometry import lattice_from_parameters, lattice_parameters, volume, wrap
from crystal_core.guides.density import GRAMS, DensityTarget, atomic_masses
from crystal_core.guides.protocol import Guide
from crystal_core.networks.packing import pack
from crystal_core.registry.store import load_generator
from crystal_core.requests import DeNovoRequest

RNG = torch.Generator().manual_seed(0)
CODEC = LatticeCodec.from_training(
    torch.exp(1.5 + 0.2 * torch.randn(60, 3, generator=RNG)), torch.arange(60) % 4 + 2
)
N_ATOMS = torch.tensor([2, 5])


def soft_types(n=7):
    return torch.softmax(torch.randn(n, 118, generator=RNG, dtype=torch.float64), dim=-1)


def a_lattice():
    parameters = torch.tensor(
        [[4.0, 4.5, 5.0, 80.0, 95.0, 100.0], [3.0, 6.0, 5.5, 90.0, 70.0, 110.0]], dtype=torch.float64
    )
    return lattice_from_parameters(parameters)


class Nearness:
    """A target for all three parts, smooth everywhere: it stands for any predictor."""

    def value(self, batch):
        waves = torch.cos(2 * math.pi * batch.frac_coords).sum(-1) * (
            batch.types @ torch.linspace(0, 1, 118).to(batch.types)
        )
        return volume(batch.lattice).log().to(waves).index_add(0, batch.crystal_index, waves)


@pytest.mark.parametrize("predictor", [DensityTarget(4.5), Nearness()], ids=["density", "any other"])
def test_gradients_agree_with_finite_differences(predictor):
    parts = [soft_types(), torch.rand(7, 3, generator=RNG, dtype=torch.float64), a_lattice()]
    value = lambda types, coords, rows: predictor.value(
        SoftCrystals(types=types, frac_coords=coords, lattice=rows, n_atoms=N_ATOMS)
    )
    assert torch.autograd.gradcheck(value, [part.requires_grad_() for part in parts], atol=1e-4)


def test_gradients_reach_the_latent_state():
    guidance = Guidance(predictor=Nearness(), strength=2.0, n_atoms=N_ATOMS, codec=CODEC)
    coords = torch.rand(7, 3, generator=RNG, dtype=torch.float64)
    latent, types = torch.randn(2, 6, generator=RNG, dtype=torch.float64), soft_types()[:, :100]
    gradients = guidance.gradients(coords, latent, types)

    def value(latent, coords):
        rows = lattice_from_parameters(CODEC.decode(latent, N_ATOMS))
        padded = torch.nn.functional.pad(types, (0, 18))
        return (
            2.0
            * Nearness()
            .value(SoftCrystals(types=padded, frac_coords=coords, lattice=rows, n_atoms=N_ATOMS))
            .sum()
        )

    step = 1e-5
    for i, k in ((0, 0), (1, 2), (1, 5)):
        moved = torch.zeros_like(latent)
        moved[i, k] = step
        slope = (value(latent + moved, coords) - value(latent - moved, coords)) / (2 * step)
        assert float(gradients.lattice[i, k]) == pytest.approx(float(slope), rel=1e-3, abs=1e-4)
    assert gradients.types.shape == (7, 100) and gradients.frac_coords.abs().max() > 0


def test_density_is_that_of_the_crystal():
    """CsCl: 4.0 g/cm³ at 4.12 Å; the target is met there and falls off on both sides."""
    types = torch.zeros(2, 118)
    types[0, 54] = types[1, 16] = 1
    rows = lambda a: lattice_from_parameters(torch.tensor([[a, a, a, 90.0, 90.0, 90.0]]))
    density = float(GRAMS * (types @ atomic_masses()).sum() / 4.12**3)
    assert density == pytest.approx(3.998, abs=0.01)
    values = [
        float(
            DensityTarget(density).value(
                SoftCrystals(
                    types=types, frac_coords=torch.zeros(2, 3), lattice=rows(a), n_atoms=torch.tensor([2])
                )
            )
        )
        for a in (3.9, 4.12, 4.4)
    ]
    assert values[1] == pytest.approx(0, abs=1e-6) and values[0] < values[1] > values[2]
    with pytest.raises(RequestError, match="density lies between"):
        DensityTarget(100.0)


def test_a_cell_that_is_none_does_not_throw_the_sampler():
    class Wild:
        def value(self, batch):
            return 1e9 * volume(batch.lattice) ** 0.5 + batch.frac_coords.sum() * float("nan")

    gradients = Guidance(predictor=Wild(), strength=1.0, n_atoms=N_ATOMS, codec=CODEC).gradients(
        torch.zeros(7, 3), 5 * torch.randn(2, 6, generator=RNG), soft_types().float()
    )
    for part in (gradients.frac_coords, gradients.lattice, gradients.types):
        assert part.isfinite().all() and part.norm() <= 2 * MAX_GRADIENT


@pytest.mark.parametrize(
    "options", [{}, {"parametrisation": "full"}, {"coordinates": "brownian"}, {"coordinates": "euclidean"}]
)
def test_the_clean_estimate_of_a_perfect_prediction_is_near_the_truth(options):
    process, packing = coordinate_process(ProcessConfig(**options)), pack(torch.full((50,), 4))
    clean = wrap(torch.rand(200, 3, generator=RNG))
    t = 0.05
    now, target = process.noisy(clean, torch.full((50,), t), packing, RNG)
    error = wrap(process.clean(target, now, t) - clean)
    # centred noise hides a common translation
    error = error - error.view(50, 4, 3).mean(1).repeat_interleave(4, 0)
    noise = wrap(now.frac_coords - clean)
    assert error.abs().median() < 0.2 * noise.abs().median()


def sampled(name, guide, **options):
    model = load_generator(name)
    return [*model.sample(DeNovoRequest(n_atoms=(2, 5) * 6, seed=4, guide=guide, **options))][-1].crystals


@pytest.mark.parametrize("species", ["masking", "one-hot", "analog-bits"])
@pytest.mark.parametrize("sampler", ["em", "pc"])
def test_strength_zero_changes_no_bit(tiny_de_novo, species, sampler):
    name = tiny_de_novo(species)
    free, zero, strong = (
        sampled(name, g, sampler=sampler, steps=5)
        for g in (
            None,
            Guide(predictor=DensityTarget(9.0), strength=0.0),
            Guide(predictor=DensityTarget(9.0)),
        )
    )
    for part in ("frac_coords", "lattice", "atomic_numbers"):
        assert torch.equal(getattr(free, part), getattr(zero, part))
    assert not torch.equal(free.lattice, strong.lattice)


def log_density(crystals: CrystalBatch):
    masses = atomic_masses()[crystals.atomic_numbers - 1]
    return torch.log(
        GRAMS
        * torch.zeros(len(crystals)).index_add(0, crystals.crystal_index, masses)
        / volume(crystals.lattice).clamp(min=1e-3)
    )


@pytest.mark.parametrize("species", ["masking", "one-hot"])
def test_crystals_move_towards_the_density_requested(tiny_de_novo, species):
    name = tiny_de_novo(species)
    batches = [
        sampled(name, Guide(predictor=DensityTarget(d), strength=5.0), sampler="pc", steps=30)
        for d in (0.8, 12.0)
    ]
    free = sampled(name, None, sampler="pc", steps=30)
    low, high = (log_density(crystals).median() for crystals in batches)
    assert low < log_density(free).median() < high
    assert (
        lattice_parameters(batches[0].lattice)[:, :3].mean()
        > lattice_parameters(batches[1].lattice)[:, :3].mean()
    )


def test_positions_follow_their_gradient(tiny_de_novo):
    """A target for two atoms at a given distance, which no lattice or type can reach."""

    class Apart:
        def value(self, batch):
            first = batch.frac_coords[torch.cumsum(batch.n_atoms, 0) - batch.n_atoms]
            second = batch.frac_coords[torch.cumsum(batch.n_atoms, 0) - batch.n_atoms + 1]
            return -30 * (1 + torch.cos(2 * math.pi * (second - first))).sum(-1)

    def gap(crystals):
        start = torch.cumsum(crystals.n_atoms, 0) - crystals.n_atoms
        return (
            1 + torch.cos(2 * math.pi * (crystals.frac_coords[start + 1] - crystals.frac_coords[start]))
        ).mean()

    name = tiny_de_novo()
    free, guided = (
        sampled(name, guide, sampler="em", steps=60)
        for guide in (None, Guide(predictor=Apart(), strength=3.0))
    )
    assert gap(guided) < 0.5 * gap(free)
