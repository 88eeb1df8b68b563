"""Relaxations of one formula: the work left as they go, and the limit of an effort on all of them."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.evaluation.ranking import Evidence
from crystal_core.relax.cost import ENERGY_ALONE, seconds_per_call
from crystal_core.relax.potential import Potential
from crystal_core.relax.relaxation import FMAX, RelaxStatus, RelaxStep
from crystal_core.workflows import evidence as by_evidence
from crystal_core.workflows.candidate import Candidate
from crystal_core.workflows.effort import EFFORTS, RELAXING, SINGLE_ENERGIES
from crystal_core.workflows.evidence import relax_by_evidence
from crystal_core.workflows.time_plan import TimePlan


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Simulated:
    """A candidate whose calls take time on a clock of their own: forces fall until it rests."""

    def __init__(self, clock, slow, cell, energy, gain, force, pace):
        self.clock, self.slow, self.sampled = clock, slow, cell
        self.energy, self.gain, self.force, self.pace = energy, gain, force, pace
        self.single_point, self.has_final_energy = None, False

    def weigh(self, _):
        self.clock.now += self.slow * ENERGY_ALONE * seconds_per_call(self.sampled)
        self.single_point = self.energy + self.gain

    def compute_energy(self, _, *, seconds, relax, ends):
        assert relax and seconds > 0
        for step in range(250):
            self.clock.now += self.slow * seconds_per_call(self.sampled)
            left = math.exp(-step / self.pace)
            moment = RelaxStep(
                step=step,
                energy=self.energy + self.gain * left,
                max_force=self.force * left,
                structure=self.sampled,
            )
            status = RelaxStatus.CONVERGED if moment.max_force < FMAX else ends(moment)
            self.has_final_energy = status is not None
            yield RelaxStep(**{**vars(moment), "status": status})
            if status:
                return

    def mark_not_relaxed(self, reason):
        assert "most promising" in reason


def oxide(n):
    """A cell of ``n`` pairs of atoms."""
    salt = Structure(
        Lattice([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]), ["Mg", "O"], [[0] * 3, [0.5] * 3]
    )
    return salt.make_supercell([n, 1, 1])


def field(clock, slow, dice, sizes):
    """Candidates of one formula: a leader, rivals within reach and hopeless ones."""
    for k in range(20):
        n = dice.choice(sizes)
        above = 0.0 if k == 0 else dice.choice([0.01, 0.03, 0.2, 0.5, 1.5]) * dice.uniform(0.5, 1.5)
        force = dice.uniform(0.3, 2.0)
        yield Simulated(
            clock,
            slow,
            oxide(n),
            energy=-6.0 + above,
            gain=0.01 * force,
            force=force,
            pace=dice.uniform(7, 13) * (n / 7) ** 0.35,
        )


def moments(*, slow, seed, sizes, usual):
    """After every update: seconds passed, the seconds left as estimated, and those truly left."""
    clock, dice = Clock(), random.Random(seed)
    candidates = list(field(clock, slow, dice, sizes))
    work = {SINGLE_ENERGIES: 20 * 0.03, RELAXING: 12 * 10 * 0.05}
    plan, seen = TimePlan(work, usual, clock), []
    for now in relax_by_evidence(
        candidates,
        candidates,
        dict.fromkeys(candidates, Evidence(source="prototype", rank=1)),
        potential=None,
        effort="normal",
        relax=True,
        seconds=600.0,
    ):
        plan.reached(now.phase, now.done, now.left)
        if now.phase == SINGLE_ENERGIES:
            plan.left[RELAXING] = now.to_relax
        seen.append((clock.now, plan.seconds_left()))
    return [(passed, estimate, clock.now - passed) for passed, estimate in seen]


HISTORY = {SINGLE_ENERGIES: 1.2, RELAXING: 1.1}


@pytest.mark.parametrize("sizes", [[1, 2, 4], [4, 8, 12], [14, 20]])  # pairs of atoms
@pytest.mark.parametrize(
    ("slow", "usual"), [(0.5, {}), (1.0, {}), (0.5, HISTORY), (1.0, HISTORY), (3.0, HISTORY)]
)
def test_the_time_left_is_right_within_a_factor_of_two_from_cells_of_any_size(slow, sizes, usual):
    for seed in range(3):
        times = moments(slow=slow, seed=seed, sizes=sizes, usual=usual)
        whole = times[-1][0]
        for (before, _, _), (passed, estimate, left) in pairwise(times):
            if before > 0.1 * whole:
                assert left / 2 < estimate < 2 * left or abs(estimate - left) < 0.08 * whole
        assert times[-1][1] == 0.0  # nothing is left at the end


class Restless(Potential):
    """Forces that never fall, and move all atoms alike."""

    def predict(self, structure, task="efs"):
        assert task in ("e", "efs")
        return {
            "e": np.float64(-4.0),
            "f": np.tile([1.0, 0.0, 0.0], (len(structure), 1)),
            "s": np.zeros((3, 3)),
        }


def test_what_is_not_at_rest_within_the_work_of_its_effort_is_kept_and_says_so(monkeypatch):
    monkeypatch.setattr(by_evidence, "seconds_per_call", lambda _: 1.0)
    cells = [oxide(1), oxide(2)]
    candidates = [Candidate(1, "prototype", k, cell) for k, cell in enumerate(cells)]
    potential = Restless(name="chgnet", label="restless", device="cpu", model=None)
    updates = list(
        relax_by_evidence(
            candidates,
            candidates,
            dict.fromkeys(candidates, Evidence(source="prototype", rank=1)),
            potential,
            effort="normal",
            relax=True,
            seconds=600.0,
        )
    )
    work, most = updates[-1].done, EFFORTS["normal"].relax_seconds
    assert most <= work <= most + 2 * len(cells) and updates[-1].left == 0.0
    assert all(update.left <= most for update in updates)
    for candidate in candidates:
        record = candidate.record("MgO", {})
        assert record["relaxation"]["status"] == str(RelaxStatus.WORK_LIMIT)
        assert not record["relaxation"]["converged"] and not candidate.converged
        assert record["energies"]["e_above_hull_error_ev"] is None  # measured on cells at rest
        assert candidate.relaxed_energy == -4.0
