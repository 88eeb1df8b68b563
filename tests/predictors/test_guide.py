"""A property as a guidance target: it is what the predictor says, it can be followed, and noise has none."""

import math

import pytest
import torch

from crystal_core.crystal import CrystalBatch, SoftCrystals
from crystal_core.errors import RequestError
from crystal_core.predictors.crysldnet.guide import SPREAD

CELLS = torch.stack([torch.eye(3) * 4.2, torch.eye(3) * 3.9 + 0.1])
N_ATOMS = torch.tensor([3, 2])
NUMBERS = torch.tensor([12, 8, 14, 22, 8])


def crystals(seed=0):
    torch.manual_seed(seed)
    return CrystalBatch(atomic_numbers=NUMBERS, frac_coords=torch.rand(5, 3), lattice=CELLS, n_atoms=N_ATOMS)


def soft(batch, types=None):
    certain = torch.nn.functional.one_hot(batch.atomic_numbers - 1, 118).float()
    return SoftCrystals(
        types=certain if types is None else types,
        frac_coords=batch.frac_coords.clone().requires_grad_(),
        lattice=batch.lattice.clone().requires_grad_(),
        n_atoms=batch.n_atoms,
    )


def test_score_is_that_of_the_prediction(predictor):
    batch = crystals()
    target = predictor.guide("bulk_modulus_gpa", 150.0)
    adapter = next(a for a in predictor.adapters if a.spec.name == "bulk_modulus_gpa")
    std = float(adapter.heads.std[0])
    learned = [math.log10(r.predictions["bulk_modulus_gpa"].value) for r in predictor.predict(batch)]
    values = target.value(soft(batch)).tolist()
    # a prediction ends at the limits of the training values, a target pulls on beyond them
    inside = [k for k, value in enumerate(learned) if adapter.lowest + 1e-6 < value < adapter.highest - 1e-6]
    expected = [-0.5 * ((learned[k] - math.log10(150.0)) / std / SPREAD) ** 2 for k in inside]
    assert inside and [values[k] for k in inside] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_following_the_gradient_comes_nearer(predictor):
    target, batch = predictor.guide("bulk_modulus_gpa", 250.0), crystals()
    moving = soft(batch)
    before = target.value(moving)
    for _ in range(30):
        now = SoftCrystals(
            types=moving.types, frac_coords=moving.frac_coords, lattice=moving.lattice, n_atoms=N_ATOMS
        )
        (slope,) = torch.autograd.grad(target.value(now).sum(), moving.lattice)
        with torch.no_grad():
            moving.lattice.add_(0.02 * slope / slope.norm(dim=(1, 2), keepdim=True).clamp(min=1e-6))
    assert (target.value(moving) > before).all()


def test_gradients_reach_elements_places_and_cell_and_crystals_are_apart(predictor):
    target, batch = predictor.guide("band_gap_ev", 2.0), crystals()
    types = torch.full((5, 118), 1 / 118, requires_grad=True)
    moving = soft(batch, types)
    slopes = torch.autograd.grad(target.value(moving)[0], (types, moving.frac_coords, moving.lattice))
    assert all(s.isfinite().all() for s in slopes)
    assert slopes[0][:3].abs().max() > 0
    assert slopes[1][:3].abs().max() > 0
    assert slopes[2][0].abs().max() > 0
    assert slopes[0][3:].abs().max() == slopes[1][3:].abs().max() == slopes[2][1].abs().max() == 0


def test_a_cell_that_is_still_noise_is_not_guided(predictor):
    batch = crystals()
    flat = CrystalBatch(
        atomic_numbers=NUMBERS,
        frac_coords=batch.frac_coords,
        lattice=CELLS * torch.tensor([0.1, 1.0])[:, None, None],
        n_atoms=N_ATOMS,
    )
    moving = soft(flat)
    scores = predictor.guide("band_gap_ev", 2.0).value(moving)
    scores.sum().backward()
    assert scores[0] == 0
    assert scores[1] < 0
    assert moving.lattice.grad[0].abs().max() == 0


def test_what_cannot_be_a_target_is_said(predictor):
    with pytest.raises(RequestError, match="no property hardness"):
        predictor.guide("hardness", 1.0)
    with pytest.raises(RequestError, match="must be positive"):
        predictor.guide("bulk_modulus_gpa", -1.0)
