"""A runner for the worker's tests: counts, hands out results, fails on demand."""

import os
import time
from pathlib import Path

from crystal_core.errors import RequestError
from crystal_core.frames import RunUpdate
from crystal_core.records import FORMAT

MAPPING = {"count": "slow_runner:count", "mark": "slow_runner:mark"}


def count(request):
    n = request.get("n", 5)
    if "threads" in request:
        from crystal_core.device import use_threads

        use_threads(request["threads"])
    if request.get("refuse"):
        raise RequestError("The request is refused for the test.")
    for i in range(n):
        if request.get("crash_at") == i:
            raise ZeroDivisionError("secret detail")
        time.sleep(request.get("pause", 0.01))
        yield RunUpdate(
            stage="counting",
            step=i + 1,
            n_steps=n,
            result={"format": FORMAT, "finished": i + 1},
            text=f"written {i + 1}" if i < n - 1 else "",
        )


def mark(request):
    """Write down that the job runs."""
    with Path(os.environ["CRYSTAL_HOME"], "marks").open("a", encoding="utf-8") as file:
        file.write(f"{request['name']}\n")
    time.sleep(0.05)
    yield RunUpdate(stage="marking", step=1, n_steps=1, result={"format": FORMAT, "finished": 1})


def warm_up():
    """Steps that write down which process takes them; the last one fails."""
    for step in range(3):
        with Path(os.environ["CRYSTAL_HOME"], "steps").open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {step}\n")
        yield
    raise ZeroDivisionError("a step fails for the test")
