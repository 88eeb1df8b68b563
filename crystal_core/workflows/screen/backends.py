"""Where the batches of a campaign are worked through: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, Protocol, get_args

from crystal_core.checks import check_choice
from crystal_core.errors import MissingExtra
from crystal_core.relax.many import over_processes

BackendName = Literal["local", "ray"]
BACKENDS = get_args(BackendName)


class Backend(Protocol):
    """Place and result of every item as it finishes; None where the process of an item died."""

    def __call__(
        self, make: Callable[[], Callable[[Any], Any]], items: Sequence[Any]
    ) -> Generator[tuple[int, Any]]: ...


def backend_of(name: str, workers: int, *, on_gpu: bool = False) -> Backend:
    """The backend of a name with so many processes.

    Args:
        on_gpu: every process needs a GPU of its own; only Ray assigns them.

    Raises:
        RequestError: there is no such backend. MissingExtra: its package is not installed.
    """
    check_choice("backend", name, BACKENDS)
    if name == "local":
        return partial(over_processes, workers=workers, seconds=None)
    if find_spec("ray") is None:
        raise MissingExtra(
            "The backend ray needs Ray; install it with: pip install 'crystal-studio[ray]', or use --backend "
            "local."
        )
    return partial(over_ray, workers=workers, on_gpu=on_gpu)


def over_ray(
    make: Callable[[], Callable[[Any], Any]], items: Sequence[Any], *, workers: int, on_gpu: bool = False
) -> Generator[tuple[int, Any]]:
    """As :func:`crystal_core.relax.many.over_processes`, with tasks of Ray.

    Without a cluster in ``RAY_ADDRESS``, Ray is started on this machine and stopped at the end. Every machine
    of a cluster needs the same version of this program with the same checkpoints.
    """
    import ray

    started = not ray.is_initialized()
    if started:
        here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        terminate = signal.getsignal(signal.SIGTERM)
        ray.init(log_to_driver=False, logging_level="ERROR", **here)
        with suppress(ValueError):  # only a main thread has handlers, and Ray then sets none
            signal.signal(signal.SIGTERM, terminate)  # Ray's own would end the command without a report
    # a batch whose process dies is reported, as with processes of this machine, and not tried again
    task = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=0)(_call)
    waiting, running = deque(enumerate(items)), dict[Any, int]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                place, item = waiting.popleft()
                running[task.remote(make, item)] = place
            finished, _ = ray.wait([*running], num_returns=1)
            for reference in finished:
                place = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayError:
                    result = None
                yield place, result
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if started:
            ray.shutdown()


def _call(make: Callable[[], Callable[[Any], Any]], item: Any) -> Any:
    return make()(item)
