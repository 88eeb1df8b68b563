"""Which elements fit at a site of a crystal, by a language model that has read many."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from crystal_core.checks import check_notes, check_whole
from crystal_core.errors import RequestError
from crystal_core.files.records import structure_from_record
from crystal_core.frames import RunUpdate
from crystal_core.records import FORMAT, RunResult
from crystal_core.requests import MAX_SEED, MAX_THREADS, from_json, seed_or_drawn
from crystal_core.structures import atomic_numbers, from_structures
from crystal_core.workflows.generate import load_de_novo
from crystal_core.workflows.sampling_run import provenance, with_back_end
from crystal_core.workflows.training_range import note_on_sizes

if TYPE_CHECKING:
    from pymatgen.core import Structure


MODEL = "crysllmgen-tiny"


@dataclass(frozen=True, kw_only=True)
class InfillRequest:
    """Sites of a crystal for which a run of the queue tells the elements that fit.

    Attributes:
        crystal: lattice (Å), atomic_numbers and frac_coords; notes on its file, which the result repeats,
            where there are any. source: what it is called.
        sites, all_alike, exchangeable: as in :func:`infill`. model: a language model.
        seed: of the origins over which the answer is averaged; None draws one, which the result reports.
    """

    crystal: Mapping[str, Any]
    sites: tuple[int, ...]
    source: str = ""
    model: str = MODEL
    all_alike: bool = False
    exchangeable: bool = False
    seed: int | None = None
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.crystal, Mapping) or not {"lattice", "atomic_numbers", "frac_coords"} <= set(
            self.crystal
        ):
            raise RequestError("The crystal needs lattice, atomic_numbers and frac_coords.")
        check_notes(self.crystal)
        if not isinstance(self.sites, tuple) or not self.sites:
            raise RequestError("Name at least one site, counted from 0.")
        for site in self.sites:
            check_whole("site", site, 0, len(self.crystal["atomic_numbers"]) - 1)
        for name in ("all_alike", "exchangeable"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(f"{name} must be true or false, not {getattr(self, name)!r}.")
        check_whole("seed", self.seed, 0, MAX_SEED, optional=True)
        check_whole("threads", self.threads, 1, MAX_THREADS, optional=True)


def run(request: InfillRequest | Mapping[str, Any]) -> Iterator[RunUpdate]:
    """Work through a request; the last update has the elements with their probabilities.

    Raises:
        RequestError: as :func:`infill`. CheckpointMissing: the model is not installed.
    """
    from crystal_core.device import use_threads

    request = from_json(InfillRequest, request)
    use_threads(request.threads)
    began = time.monotonic()
    yield RunUpdate(stage="reading the crystal with every element in turn", step=0, n_steps=1)
    structure = structure_from_record(request.crystal)
    structure.properties["notes"] = list(request.crystal.get("notes", ()))
    answer = infill(
        structure,
        request.sites,
        model=request.model,
        all_alike=request.all_alike,
        exchangeable=request.exchangeable,
        seed=request.seed,
        device=request.device,
    )
    result: RunResult = {
        "format": FORMAT,
        "notes": answer["notes"],
        "fitting": {"rows": answer["rows"], "present": answer["present"], "sites": answer["sites"]},
        "provenance": answer["provenance"],
        "settings": asdict(request) | {"seed": answer["provenance"]["seed"]},
        "seconds": round(time.monotonic() - began, 2),
    }
    yield RunUpdate(stage="done", step=1, n_steps=1, result=result)


def substituted(structure: Structure, sites: Sequence[int], symbol: str) -> Structure:
    """The crystal with another element at some sites (counted from 0); cell and places stay."""
    other = structure.copy()
    for site in sites:
        other.replace(site, symbol)
    return other


def infill(
    structure: Structure,
    sites: Sequence[int],
    *,
    model: str = MODEL,
    all_alike: bool = False,
    exchangeable: bool = False,
    seed: int | None = None,
    device: str = "auto",
    back_end: str | None = None,
) -> dict[str, Any]:
    """Elements at some sites with their probabilities, the likeliest first, as the JSON of the command line.

    Args:
        structure: its ``properties["notes"]``, if any, begin the notes of the answer.
        sites: counted from 0; all of one element, and all are given the same one.
        all_alike: hide every atom of that element, as the published task does.
        exchangeable: only elements that share an oxidation state with the present one, with
            a like ionic radius.

    Raises:
        RequestError: no such site, sites of several elements, nothing exchangeable, a model that cannot tell.
    """
    from crystal_core.generators.crysllmgen.decoding import exchangeable_elements

    numbers = atomic_numbers(structure)
    for site in sites:
        if not 0 <= site < len(numbers):
            raise RequestError(f"There is no site {site}; the crystal has the sites 0 to {len(numbers) - 1}.")
    present = sorted({numbers[site] for site in sites})
    if len(present) != 1:
        raise RequestError("Name sites that one and the same element is on.")
    symbol = _symbol(present[0])
    sites = list(dict.fromkeys(sites))
    if all_alike:
        sites = [i for i, z in enumerate(numbers) if z == present[0]]
    writer: Any = with_back_end(load_de_novo(model, device), back_end)
    if not hasattr(writer, "fitting_elements"):
        raise RequestError(
            f"{model} has read no texts of crystals; choose a language model, such as {MODEL}."
        )
    elements = None
    if exchangeable:
        others = set(exchangeable_elements(symbol)) & set(writer.elements)
        if not others:
            raise RequestError(
                f"No element that {model} knows has an oxidation state and an ionic radius like those of "
                f"{symbol}; ask for all elements."
            )
        elements = sorted(others | ({present[0]} & set(writer.elements)))
    seed = seed_or_drawn(seed)
    # the model knows reduced cells; reducing keeps the order of the sites
    crystal = from_structures([structure.get_reduced_structure()])
    chances = writer.fitting_elements(crystal, sites, seed=seed, elements=elements)
    rows = [
        {"element": _symbol(z), "probability": round(chance, 6)}
        for z, chance in sorted(chances.items(), key=lambda item: -item[1])
    ]
    settings = {"sites": sites, "all_alike": all_alike, "exchangeable": exchangeable}
    return {
        "notes": [
            *structure.properties.get("notes", ()),
            *filter(None, [note_on_sizes([writer.card], {len(numbers)})]),
        ],
        "rows": rows,
        "present": symbol,
        "sites": sites,
        "provenance": provenance(model, writer, seed=seed, settings=settings),
    }


def _symbol(z: int) -> str:
    from pymatgen.core import Element

    return Element.from_Z(z).symbol
