"""Which elements fit at a site of a crystal, by a language model that has read many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crystal_core.errors import RequestError
from crystal_core.requests import seed_or_drawn
from crystal_core.workflows.generate import load_de_novo
from crystal_core.workflows.sampling_run import provenance, with_back_end

if TYPE_CHECKING:
    from pymatgen.core import Structure

MODEL = "crysllmgen-tiny"


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
        sites: counted from 0; all of one element, and all are given the same one.
        all_alike: hide every atom of that element, as the published task does.
        exchangeable: only elements that share an oxidation state with the present one, with a like ionic radius.

    Raises:
        RequestError: no such site, sites of several elements, or a model that cannot tell.
    """
    from crystal_core.generators.crysllmgen.decoding import exchangeable_elements
    from crystal_core.structures import atomic_numbers, from_structures

    numbers = atomic_numbers(structure)
    for site in sites:
        if not 0 <= site < len(numbers):
            raise RequestError(f"There is no site {site}; the crystal has the sites 0 to {len(numbers) - 1}.")
    present = sorted({numbers[site] for site in sites})
    if len(present) != 1:
        raise RequestError("Name sites that one and the same element is on.")
    symbol = _symbol(present[0])
    if all_alike:
        sites = [i for i, z in enumerate(numbers) if z == present[0]]
    writer: Any = with_back_end(load_de_novo(model, device), back_end)
    if not hasattr(writer, "fitting_elements"):
        raise RequestError(
            f"{model} has read no texts of crystals; choose a language model, such as {MODEL}."
        )
    elements = None
    if exchangeable:
        elements = sorted({present[0], *exchangeable_elements(symbol)} & set(writer.elements))
    seed = seed_or_drawn(seed)
    # the model knows reduced cells; reducing keeps the order of the sites
    crystal = from_structures([structure.get_reduced_structure()])
    chances = writer.fitting_elements(crystal, list(sites), seed=seed, elements=elements)
    rows = [
        {"element": _symbol(z), "probability": round(chance, 6)}
        for z, chance in sorted(chances.items(), key=lambda item: -item[1])
    ]
    settings = {"sites": list(sites), "all_alike": all_alike, "exchangeable": exchangeable}
    return {
        "rows": rows,
        "present": symbol,
        "sites": list(sites),
        "provenance": provenance(model, writer, seed=seed, settings=settings),
    }


def _symbol(z: int) -> str:
    from pymatgen.core import Element

    return Element.from_Z(z).symbol
