"""Crystals to relax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from crystal_core.checks import check_choice, check_notes, check_whole
from crystal_core.errors import RequestError
from crystal_core.requests.limits import MAX_RELAX_SECONDS, MAX_SAMPLES, MAX_THREADS, PotentialName


@dataclass(frozen=True, kw_only=True)
class RelaxationRequest:
    """Crystals to relax, one after the other.

    Attributes:
        crystals: records with id, lattice (Å), atomic_numbers and frac_coords; their origin,
            provenance and notes are handed on.
        relax_seconds: time limit of each.
    """

    crystals: tuple[Mapping[str, Any], ...]
    potential: PotentialName = "chgnet"
    relax_seconds: int = 120
    device: str = "auto"
    threads: int | None = None
    keep_trajectory: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.crystals, tuple) or not self.crystals:
            raise RequestError("Nothing to relax: give at least one crystal.")
        if len(self.crystals) > MAX_SAMPLES:
            raise RequestError(
                f"{len(self.crystals)} crystals are too many for one run; "
                f"relax at most {MAX_SAMPLES} together."
            )
        if not all(
            isinstance(c, Mapping) and {"id", "lattice", "atomic_numbers", "frac_coords"} <= set(c)
            for c in self.crystals
        ):
            raise RequestError("Each crystal to relax needs id, lattice, atomic_numbers and frac_coords.")
        for crystal in self.crystals:
            check_notes(crystal)
        check_choice("potential", self.potential, get_args(PotentialName))
        check_whole("relax_seconds", self.relax_seconds, 1, MAX_RELAX_SECONDS)
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)
