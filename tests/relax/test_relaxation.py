"""Relaxing with CHGNet: energies in the right scheme, every ending, and no cell that hangs or crashes.
Cells of two atoms.
"""

import gc
import itertools
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import MissingExtra, RelaxationFailed, RequestError
from crystal_core.relax import potential as potentials
from crystal_core.relax.potential import is_installed, load_potential
from crystal_core.relax.relaxation import RelaxStatus, relax, relax_steps

pytestmark = pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")

ROCK_SALT = Lattice.from_parameters(4.2, 4.2, 4.2, 60, 60, 60)
DISTORTED = Structure(ROCK_SALT, ["Na", "Cl"], [[0.98, 0.0, 0.0], [0.48, 0.5, 0.52]])


@pytest.fixture(scope="module")
def chgnet():
    return load_potential("chgnet", "cpu")


def test_a_distorted_cell_relaxes_to_the_known_energy(chgnet):
    relaxation = relax(DISTORTED, chgnet)
    assert relaxation.status is RelaxStatus.CONVERGED and relaxation.max_force <= 0.05
    # the energy of rock salt with CHGNet 0.3.0, corrections inside
    assert relaxation.energy == pytest.approx(-3.667, abs=0.002)
    assert relaxation.energy < relaxation.initial_energy
    assert [site.specie.symbol for site in relaxation.structure] == ["Na", "Cl"]
    # a site that goes from 0.98 to 1.0 has moved by 0.02 of the cell, not by a whole one
    assert 0.01 < relaxation.displacement < 0.1
    assert [moment.step for moment in relaxation.path] == list(range(relaxation.n_steps + 1))


def test_a_shift_of_all_atoms_changes_no_energy(chgnet):
    moved = DISTORTED.copy()
    moved.translate_sites([0, 1], [0.3, 0.1, 0.7])
    energies = [relax(cell, chgnet, steps=0).energy for cell in (DISTORTED, moved)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-5)  # float32 network


def test_forces_and_stress_are_those_of_chgnet_itself(chgnet):
    ours = chgnet.predict(DISTORTED, "efs")
    theirs = chgnet.model.predict_structure(DISTORTED, task="efs")
    for key, tolerance in (("e", 1e-5), ("f", 1e-4), ("s", 1e-3)):  # float32; eV/atom, eV/Å, GPa
        np.testing.assert_allclose(ours[key], theirs[key], atol=tolerance)
    assert np.abs(ours["f"]).max() > 0.01 and np.abs(ours["s"]).max() > 0.1


def test_no_steps_means_a_single_point(chgnet):
    relaxation = relax(DISTORTED, chgnet, steps=0)
    assert (
        relaxation.status is RelaxStatus.SINGLE_POINT and not relaxation.converged and relaxation.n_steps == 0
    )
    assert relaxation.structure == relaxation.initial and relaxation.displacement == 0


@pytest.mark.parametrize(
    ("options", "status", "taken"),
    [({"steps": 2}, RelaxStatus.STEP_LIMIT, 2), ({"seconds": 1e-6}, RelaxStatus.TIME_LIMIT, 0)],
)
def test_limits_keep_the_last_cell(chgnet, options, status, taken):
    relaxation = relax(DISTORTED, chgnet, fmax=1e-6, **options)
    assert relaxation.status is status and relaxation.n_steps == taken and np.isfinite(relaxation.energy)


def test_steps_can_be_watched_and_stopped(chgnet):
    walk = relax_steps(DISTORTED, chgnet)
    first, second = itertools.islice(walk, 2)
    walk.close()
    assert (first.step, second.step, first.status) == (0, 1, None) and second.structure.volume > 0


def test_a_sliver_is_relaxed_in_a_compact_cell_of_the_same_lattice(chgnet):
    sliver = Structure(
        Lattice([[4, 0, 0], [0, 4, 0], [20.2, 20.2, 1.4]]), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    relaxation = relax(sliver, chgnet, steps=1)
    assert (
        relaxation.initial.volume == pytest.approx(sliver.volume) and max(relaxation.initial.lattice.abc) < 10
    )


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        (Structure(Lattice.cubic(7.5), ["Na"], [[0, 0, 0]]), "no neighbour within 6"),
        (Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.05, 0.05, 0.05]]), "below 0.5"),
        (Structure(Lattice.cubic(1.7), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "less than any crystal"),
        (Structure(Lattice.cubic(4), ["Am"], [[0, 0, 0]]), "Am is beyond it"),
        (Structure(Lattice.cubic(4), ["Na"], [[np.nan, 0, 0]]), "below 0.1"),
    ],
)
def test_a_cell_that_cannot_be_relaxed_is_one_sentence(chgnet, cell, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = gc.get_threshold()
    with pytest.raises(RelaxationFailed, match=r"\.$") as caught:
        relax(cell, chgnet)
    assert part in str(caught.value)
    assert gc.get_threshold() == before and not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"steps": -1}, {"fmax": 0.0}, {"seconds": 0.0}])
def test_options_out_of_range_are_refused(chgnet, options):
    with pytest.raises(RequestError):
        relax(DISTORTED, chgnet, **options)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    load_potential.cache_clear()
    monkeypatch.setattr(potentials, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="pip install chgnet"):
        load_potential("chgnet", "cpu")
    with pytest.raises(RequestError, match="choose one of"):
        load_potential("alchemy", "cpu")


def test_loading_says_nothing_on_stdout(capsys):
    load_potential.cache_clear()
    load_potential("chgnet", "cpu")
    assert capsys.readouterr().out == ""


def test_a_potential_that_fails_on_the_way_leaves_the_last_cell(chgnet):
    class Tired:
        calls = 0

        def __getattr__(self, name):
            return getattr(chgnet.model, name)

        def graph_converter(self, structure):
            self.calls += 1
            if self.calls > 3:
                raise RuntimeError("out of memory")
            return chgnet.model.graph_converter(structure)

    relaxation = relax(DISTORTED, replace(chgnet, model=Tired()), fmax=1e-6)
    assert (
        relaxation.status is RelaxStatus.INTERRUPTED
        and relaxation.n_steps == 2
        and relaxation.energy < relaxation.initial_energy
    )
