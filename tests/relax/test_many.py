"""Relaxing over processes gives what relaxing here gives, and a process that dies or hangs
loses one crystal alone.
"""

import logging
import operator
import os
import signal
import time
from contextlib import closing
from functools import partial
from multiprocessing import active_children
from types import SimpleNamespace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystal_core.errors import RelaxationFailed, RequestError
from crystal_core.relax import many
from crystal_core.relax.many import over_processes, relax_many
from crystal_core.relax.potential import is_installed, load_potential

# what processes call is built from functions of the library, which they find wherever this file lies
CALL = partial(partial, operator.call)
SALT = Structure(
    Lattice.from_parameters(4.0, 4.0, 4.0, 60, 60, 60), ["Na", "Cl"], [[0, 0, 0], [0.44, 0.5, 0.5]]
)
OVERLAPPING = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.05, 0, 0]])


def test_every_item_is_done_once_under_its_place():
    results = list(over_processes(partial(partial, pow, 2), range(20), workers=3, seconds=60))
    assert sorted(results) == [(i, 2**i) for i in range(20)]


@pytest.mark.parametrize(
    "fatal", [partial(os._exit, 1), partial(signal.raise_signal, signal.SIGKILL), partial(time.sleep, 1000)]
)
def test_a_process_that_dies_or_hangs_loses_its_own_item_only(fatal):
    items = [partial(pow, 2, i) for i in range(6)]
    items[1] = items[3] = fatal
    results = dict(over_processes(CALL, items, workers=2, seconds=3))
    assert results == {i: None if i in (1, 3) else 2**i for i in range(6)}


def test_nothing_is_begun_where_no_process_starts():
    assert list(over_processes(partial(operator.truediv, 1, 0), range(3), workers=2, seconds=60)) == []


def test_what_is_broken_off_leaves_no_process_behind():
    items = [partial(pow, 2, 3), *[partial(time.sleep, 1000)] * 3]
    before = set(active_children())
    with closing(over_processes(CALL, items, workers=2, seconds=2000)) as results:
        assert next(results) == (0, 8)
        assert len(set(active_children()) - before) == 2
    assert set(active_children()) <= before


def test_ctrl_c_in_a_terminal_ends_no_process_of_the_pool():
    read_mask = partial(signal.pthread_sigmask, signal.SIG_BLOCK, ())
    before = read_mask()
    # from the second item on, processes are started by a thread of the pool
    calls = [read_mask, partial(os._exit, 1), read_mask, partial(signal.getsignal, signal.SIGINT)]
    results = dict(over_processes(CALL, calls, workers=1, seconds=60))
    assert signal.SIGINT in results[0] and signal.SIGINT in results[2]
    assert results[3] == signal.SIG_IGN and read_mask() == before


def test_the_rest_is_relaxed_here_where_no_process_starts(monkeypatch, caplog):
    monkeypatch.setattr(many, "relax", lambda structure, *_, **__: structure)
    potential = SimpleNamespace(name="a potential that no process can load", device="cpu")
    assert list(relax_many([SALT] * 5, potential, workers=2)) == [(i, SALT) for i in range(5)]
    assert "could not be started" in caplog.text


@pytest.mark.parametrize("error", [RelaxationFailed("no"), MemoryError("no"), KeyError("no")])
def test_one_worker_stays_in_this_process_and_an_error_loses_one_crystal(monkeypatch, caplog, error):
    def relax(structure, *_, **__):
        if len(structure) == 2:
            raise error
        return os.getpid()

    monkeypatch.setattr(many, "relax", relax)
    single = Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])
    with caplog.at_level(logging.WARNING):
        assert dict(relax_many([single, SALT, *[single] * 4], SimpleNamespace(), workers=1)) == {
            0: os.getpid(),
            1: None,
        } | dict.fromkeys(range(2, 6), os.getpid())
    assert bool(caplog.text) is not isinstance(error, RelaxationFailed)


def test_a_limit_out_of_range_is_told_and_not_taken_for_a_failure():
    with pytest.raises(RequestError, match="above 0"):
        list(relax_many([SALT], SimpleNamespace(), seconds=0))


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="chgnet is not installed")
def test_processes_relax_as_this_one_does():
    cells = [SALT, OVERLAPPING, *(SALT.copy().scale_lattice(SALT.volume * x) for x in (0.95, 1.05))]
    potential = load_potential("chgnet", "cpu")
    here, there = (dict(relax_many(cells, potential, seconds=600, workers=workers)) for workers in (1, 2))
    assert here[1] is None and there[1] is None and sorted(there) == [0, 1, 2, 3]
    for i in (0, 2, 3):
        assert here[i].converged and (here[i].n_steps, here[i].status) == (there[i].n_steps, there[i].status)
        # threads add up in another order
        assert here[i].energy == pytest.approx(there[i].energy, abs=1e-5)
        assert np.allclose(here[i].structure.lattice.matrix, there[i].structure.lattice.matrix, atol=1e-3)
