"""Completion: what is given is there at the end, exactly; on the way it follows its forward marginal;
the rest is sampled.
"""

import pytest
import torch

from crystal_core.crystal import CrystalBatch
from crystal_core.errors import IncompatibleSampler, RequestError
from crystal_core.generators.kldm.config import ProcessConfig
from crystal_core.generators.kldm.samplers import Known, LatentSampler, SamplerSettings
from crystal_core.generators.kldm.species import species_process
from crystal_core.geometry import lattice_from_parameters, wrap
from crystal_core.networks.packing import pack
from crystal_core.registry.store import load_generator
from crystal_core.requests import DeNovoRequest, KnownParts
from crystal_core.sampling import variance_preserving as vp

GIVEN = CrystalBatch(
    atomic_numbers=torch.tensor([38, 22, 8, 8, 8, 3, 8]),
    frac_coords=torch.tensor(
        [
            [0.0, 0, 0],
            [0.5, 0.5, 0.5],
            [0.5, 0.5, 0],
            [0.5, 0, 0.5],
            [0, 0.5, 0.5],
            [0.1, 0.2, 0.3],
            [0.9, 0.8, 0.7],
        ]
    ),
    lattice=lattice_from_parameters(
        torch.tensor([[3.9, 3.9, 3.9, 90.0, 90.0, 90.0], [4.0, 5.0, 6.0, 80.0, 90.0, 100.0]])
    ),
    n_atoms=torch.tensor([5, 2]),
)
FIRST = (True, True, False, False, False, True, False)
NONE = (False,) * 7


def last(frames):
    *_, frame = frames
    return frame.crystals


@pytest.mark.parametrize("sampler", ["em", "pc", "pc-pf", "ode"])
@pytest.mark.parametrize("species", ["one-hot", "analog-bits", "masking"])
def test_given_sites_and_elements_stay_and_the_others_are_sampled(tiny_de_novo, species, sampler):
    generator = load_generator(tiny_de_novo(species), "cpu")
    known = KnownParts(crystals=GIVEN, places=FIRST, types=FIRST)
    crystals = last(
        generator.sample(DeNovoRequest(n_atoms=(5, 2), known=known, elements=(26,), sampler=sampler, steps=5))
    )
    keep = torch.tensor(FIRST)
    torch.testing.assert_close(crystals.frac_coords[keep], GIVEN.frac_coords[keep], atol=1e-6, rtol=0)
    # given elements need not be among the allowed
    assert torch.equal(crystals.atomic_numbers[keep], GIVEN.atomic_numbers[keep])
    assert set(crystals.atomic_numbers[~keep].tolist()) == {26}
    assert (wrap(crystals.frac_coords - GIVEN.frac_coords)[~keep].abs().max(-1).values > 1e-3).all()
    assert torch.isfinite(crystals.lattice).all() and not torch.allclose(
        crystals.lattice, GIVEN.lattice, atol=0.05
    )


def test_a_given_cell_or_composition_alone_is_kept(tiny_de_novo):
    generator = load_generator(tiny_de_novo(), "cpu")
    cell = last(
        generator.sample(
            DeNovoRequest(
                n_atoms=(5, 2),
                known=KnownParts(crystals=GIVEN, places=NONE, types=NONE, lattice=True),
                steps=4,
            )
        )
    )
    torch.testing.assert_close(cell.lattice, GIVEN.lattice, atol=1e-3, rtol=1e-4)
    types = last(
        generator.sample(
            DeNovoRequest(
                n_atoms=(5, 2), known=KnownParts(crystals=GIVEN, places=NONE, types=(True,) * 7), steps=4
            )
        )
    )
    assert torch.equal(types.atomic_numbers, GIVEN.atomic_numbers)


def test_on_the_way_known_parts_have_their_forward_marginals():
    """One crystal many times, everything known: the state at t is a draw of the forward
    process, with mean-free velocities.
    """
    n, t = 4000, 0.3
    packing, lattice = pack(torch.full((n,), 2)), torch.full((n, 6), 1.5)
    known = Known(
        places=torch.ones(2 * n, dtype=torch.bool),
        frac_coords=torch.zeros(2 * n, 3),
        types=torch.ones(2 * n, dtype=torch.bool),
        atomic_numbers=torch.full((2 * n,), 26),
        cells=torch.ones(n, dtype=torch.bool),
        lattice=lattice,
    )
    process = ProcessConfig(species="masking")
    walk = LatentSampler(
        SamplerSettings(name="em", steps=10), packing, process, species=species_process(process), known=known
    )
    rng = torch.Generator().manual_seed(0)
    state = walk.initial(rng)
    answer = (torch.zeros(2 * n, 3), torch.zeros(n, 6), torch.zeros(2 * n, 100))
    state = walk.step(lambda *_: answer, state, 0.4, t, rng)
    alpha, sigma = vp.alpha_sigma(torch.tensor(t))
    assert float(state.lattice.mean()) == pytest.approx(1.5 * float(alpha), abs=0.03) and float(
        state.lattice.std()
    ) == pytest.approx(float(sigma), rel=0.03)
    free = LatentSampler(SamplerSettings(), packing, ProcessConfig()).start_from(
        known.frac_coords, lattice, t, rng
    )
    assert float(state.frac_coords.std()) == pytest.approx(float(free.frac_coords.std()), rel=0.03)
    assert state.velocity.view(n, 2, 3).mean(1).abs().max() < 1e-6
    assert float((state.species == 100).double().mean()) == pytest.approx(t, abs=0.03)


def test_what_cannot_be_completed_is_refused(tiny_de_novo):
    with pytest.raises(RequestError, match="other atom counts"):
        DeNovoRequest(n_atoms=(2, 5), known=KnownParts(crystals=GIVEN, places=NONE, types=NONE))
    with pytest.raises(RequestError, match="for 7 atoms"):
        KnownParts(crystals=GIVEN, places=(True,), types=NONE)
    gold = CrystalBatch(**{**GIVEN.__dict__, "atomic_numbers": torch.full((7,), 79)})
    generator = load_generator(tiny_de_novo(), "cpu")
    with pytest.raises(RequestError, match="not trained on"):
        next(
            generator.sample(
                DeNovoRequest(n_atoms=(5, 2), known=KnownParts(crystals=gold, places=FIRST, types=FIRST))
            )
        )
    known = Known(*[torch.zeros(1)] * 6)
    with pytest.raises(IncompatibleSampler, match="centred"):
        LatentSampler(
            SamplerSettings(), pack(torch.tensor([2])), ProcessConfig(coordinates="euclidean"), known=known
        )
