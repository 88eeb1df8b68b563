"""Choosing the device, once, when a model is loaded or a run begins; and how many CPU threads a run takes."""

from __future__ import annotations

import torch

from crystal_core.errors import RequestError

THREADS = torch.get_num_threads()  # before any run chose its own number


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" takes a GPU where there is one.

    Raises:
        RequestError: an unknown name, or a GPU on a machine without one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda":
        if not torch.cuda.is_available():
            raise RequestError(
                "This machine has no CUDA device that PyTorch can use; leave out --device or use cpu."
            )
        return torch.device("cuda")
    raise RequestError(f"Unknown device '{name}'; choose auto, cpu or cuda.")


def use_threads(threads: int | None) -> None:
    """Set the CPU threads of the networks; None changes nothing."""
    if threads:
        torch.set_num_threads(threads)


def restore_threads() -> None:
    """CPU threads as they were before any run chose its own number."""
    torch.set_num_threads(THREADS)
