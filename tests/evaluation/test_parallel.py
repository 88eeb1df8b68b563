"""Work over processes keeps its order, and a time limit holds even where a library swallows it once."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from crystal_core.evaluation import parallel
from crystal_core.evaluation.parallel import in_parallel, time_limit

WORK = """
import time
from crystal_core.evaluation.parallel import in_parallel
seconds = [0.0] * 16 + [300.0] * 4  # in the end one process waits for work, and the other one works
try:
    in_parallel(time.sleep, seconds, workers=2, on_progress=lambda n: n < 16 or print("begun", flush=True))
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.parametrize(("n", "workers"), [(5, 2), (45, 2), (45, 1)])
def test_results_come_in_order_and_progress_counts_them(n, workers):
    counts = []
    assert in_parallel(pow, range(n), [2] * n, workers=workers, on_progress=counts.append) == [
        i * i for i in range(n)
    ]
    assert counts == list(range(1, n + 1))


def test_a_time_limit_ends_the_block_and_not_what_follows():
    with pytest.raises(TimeoutError), time_limit(0.02):
        time.sleep(5)
    time.sleep(0.05)


def test_a_swallowed_alarm_rings_again(monkeypatch):
    monkeypatch.setattr(parallel, "REPEAT", 0.1)

    def careless():
        with suppress(TimeoutError):
            time.sleep(5)
        time.sleep(5)

    began = time.monotonic()
    with pytest.raises(TimeoutError), time_limit(0.02):
        careless()
    assert time.monotonic() - began < 4


def test_processes_say_nothing_when_a_terminal_interrupts_them():
    process = subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    try:
        assert process.stdout.readline() == "begun\n"
        os.killpg(process.pid, signal.SIGINT)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (out, error) == ("ended\n", "")


MANY = """
import os
import signal
from crystal_core.evaluation.parallel import processes

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with processes(2) as pool:
        for n, _ in enumerate(pool.map(len, [bytes(30_000)] * 3_000, chunksize=20)):
            if n == 100:
                {end}
except {error}:
    print("ended", flush=True)
"""


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("os.killpg(0, signal.SIGINT)", "KeyboardInterrupt"),  # of a terminal
        ("os.kill(os.getpid(), signal.SIGINT)", "KeyboardInterrupt"),
        ("raise ValueError", "ValueError"),
    ],
)
def test_processes_with_much_work_left_end_with_their_block(end, error):
    process = subprocess.run(
        [sys.executable, "-c", MANY.format(end=end, error=error)],
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "ended\n", "")
