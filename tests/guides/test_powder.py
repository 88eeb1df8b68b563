"""The powder target: its pattern is pymatgen's, its gradients are true, and the right
cell fulfils it best.
"""

import numpy as np
import pytest
import torch
from pymatgen.core import Element, Lattice, Structure

from crystal_core.crystal import SoftCrystals
from crystal_core.errors import RequestError
from crystal_core.evaluation.powder_pattern import MeasuredPattern
from crystal_core.evaluation.xrd import pattern, profile, structure_factors_squared
from crystal_core.guides.powder import PowderTarget, form_factors

RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)


def measured(wavelength="CuKa", last=80.0, first=10.0):
    x, y = profile(pattern(RUTILE, wavelength, (first, last)), fwhm=0.2, two_theta=(first, last))
    return MeasuredPattern(
        two_theta=tuple(x.tolist()), intensity=tuple((y + 5).tolist()), wavelength=wavelength
    )


def soft(structure, *, lattice=None, shift=0.0):
    types = torch.zeros(len(structure), 118, dtype=torch.float64)
    types[torch.arange(len(structure)), torch.tensor(structure.atomic_numbers) - 1] = 1
    rows = torch.tensor(np.array(structure.lattice.matrix if lattice is None else lattice))[None]
    return SoftCrystals(
        types=types,
        frac_coords=torch.tensor(structure.frac_coords) + shift,
        lattice=rows,
        n_atoms=torch.tensor([len(structure)]),
    )


@pytest.mark.parametrize(("wavelength", "last"), [("CuKa", 80.0), (0.709, 40.0)])
def test_the_true_structure_is_alike_and_others_are_less(wavelength, last):
    target = PowderTarget(measured(wavelength, last))
    best = float(target.value(soft(RUTILE))) * 0.05
    assert best > 0.97
    # a common translation is nothing
    assert float(target.value(soft(RUTILE, shift=0.31))) * 0.05 == pytest.approx(best, abs=1e-6)
    for other in (RUTILE.lattice.matrix * 1.03, RUTILE.lattice.matrix * 0.97):
        assert float(target.value(soft(RUTILE, lattice=other))) * 0.05 < best - 0.1
    moved = RUTILE.copy()
    moved.translate_sites([2], [0.1, 0.05, 0.2])
    assert float(target.value(soft(moved))) * 0.05 < best - 0.002  # oxygen beside titanium weighs little


def test_every_element_scatters_as_in_the_diffraction_pattern():
    """One atom in a cell: |F| is its scattering factor."""
    hkl = np.array([[0, 0, 1], [1, 1, 1], [2, 1, 0], [4, 3, 2]])
    for z in range(1, 99):
        lone = Structure(Lattice.cubic(4.1), [Element.from_Z(z)], [[0, 0, 0]])
        square = torch.tensor((np.linalg.norm(hkl, axis=1) / 4.1 / 2) ** 2)
        factors = form_factors(square, torch.arange(1, 119) == z)[0].numpy()
        assert factors == pytest.approx(np.sqrt(structure_factors_squared(lone, hkl)), rel=1e-9), z


def test_gradients_agree_with_finite_differences():
    target = PowderTarget(measured())
    here = soft(RUTILE, lattice=RUTILE.lattice.matrix * 1.01 + 0.02)
    generator = torch.Generator().manual_seed(0)
    coords = here.frac_coords + 0.03 * torch.randn(
        here.frac_coords.shape, generator=generator, dtype=torch.float64
    )
    types = 0.9 * here.types + 0.1 * torch.eye(118, dtype=torch.float64)[[25] * 6]

    def value(types, coords, rows):
        return target.value(SoftCrystals(types=types, frac_coords=coords, lattice=rows, n_atoms=here.n_atoms))

    leaves = [part.clone().requires_grad_() for part in (types, coords, here.lattice)]
    gradients = torch.autograd.grad(value(*leaves).sum(), leaves)
    for which, at in (
        (0, (1, 21)),
        (0, (3, 7)),
        (0, (2, 25)),
        (1, (0, 0)),
        (1, (3, 2)),
        (2, (0, 0, 0)),
        (2, (0, 2, 1)),
        (2, (0, 2, 2)),
    ):
        moved = torch.zeros_like(leaves[which])
        moved[at] = 1e-6
        pair = [
            value(*[leaf + sign * moved if k == which else leaf for k, leaf in enumerate(leaves)])
            for sign in (1, -1)
        ]
        assert float(gradients[which][at]) == pytest.approx(
            float((pair[0] - pair[1]).detach() / 2e-6), rel=1e-3, abs=1e-3
        )


def test_cells_that_are_still_noise_are_not_guided_and_harm_no_other():
    target, here = PowderTarget(measured()), soft(RUTILE)
    flat, vast = torch.zeros(1, 3, 3, dtype=torch.float64), 60 * torch.eye(3, dtype=torch.float64)[None]
    batch = SoftCrystals(
        types=here.types.repeat(3, 1),
        frac_coords=here.frac_coords.repeat(3, 1),
        lattice=torch.cat([flat, here.lattice, vast]).requires_grad_(),
        n_atoms=torch.tensor([6, 6, 6]),
    )
    value = target.value(batch)
    similarities = value.detach()
    assert similarities[0] == 0 == similarities[2] and float(similarities[1]) == pytest.approx(
        float(target.value(here))
    )
    (gradient,) = torch.autograd.grad(value.sum(), batch.lattice)
    assert gradient.isfinite().all() and gradient[0].abs().max() == 0 and gradient[1].abs().max() > 0


def test_a_pattern_of_high_angles_alone_cannot_guide():
    with pytest.raises(
        RequestError, match="starts at 65 degrees, but guiding uses angles below 60"
    ) as caught:
        PowderTarget(measured(first=65.0, last=90.0))
    assert "\n" not in str(caught.value)
    assert PowderTarget(measured(first=55.0, last=90.0)).value(soft(RUTILE)) > 0
