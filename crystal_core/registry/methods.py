"""The code of each method, by name.

A new method adds a line to every table it needs; no other file of this room names it.

A package of its own adds a method by an entry point instead, in one of the groups of :data:`ENTRY_POINTS`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from crystal_core.errors import RequestError

# card loader → "module:function" that turns a card and a device into a generator
LOADERS = {
    "combined": "crystal_core.registry.combined_loader:load_combined",
    "crysllmgen": "crystal_core.generators.crysllmgen.generator:load_crysllmgen",
    "diffcsp": "crystal_core.generators.diffcsp.generator:load_diffcsp",
    "kldm": "crystal_core.generators.kldm.generator:load_kldm",
    "placed": "crystal_core.registry.combined_loader:load_placed",
    "prototype": "crystal_core.generators.prototype.generator:load_prototype",
}
# "proposer" of a card with the loader "placed" → "module:function" that proposes atoms and cells
PROPOSERS = {
    "crysldnet": "crystal_core.predictors.crysldnet.generation.proposer:load_proposer",
}
# the same for property predictors
PREDICTORS = {
    "crysldnet": "crystal_core.predictors.crysldnet.predictor:load_crysldnet",
}
# loader of a card → "module:function" that turns a card and a device into a ranker of candidates
RANKERS = {
    "crysldnet-ranking": "crystal_core.predictors.crysldnet.ranking_network:load_ranker",
}
# method of a training configuration → module with settings_from, train, export_checkpoint, initial_weights
TRAINERS = {
    "crysldnet": "crystal_core.predictors.crysldnet.training",
    "crysldnet-generator": "crystal_core.predictors.crysldnet.generation.training",
    "crysldnet-ranking": "crystal_core.predictors.crysldnet.ranking_training",
    "crysllmgen": "crystal_core.generators.crysllmgen.training",
    "crysllmgen-lora": "crystal_core.generators.crysllmgen.lora_training",
    "diffcsp": "crystal_core.generators.diffcsp.training",
    "kldm": "crystal_core.generators.kldm.training",
}
# name after 'models import' → "module:function" that turns official files into a checkpoint
IMPORTERS = {
    "crysldnet": "crystal_core.predictors.crysldnet.import_official:import_crysldnet",
    "diffcsp": "crystal_core.generators.diffcsp.import_official:import_diffcsp",
    "kldm": "crystal_core.generators.kldm.import_official:import_kldm",
}


# content of a table → group of entry points that extends it
ENTRY_POINTS = {"loader": "crystal_core.loaders", "predictor": "crystal_core.predictors"}


def place_of(table: dict[str, str], name: str, what: str) -> str | None:
    """The "module:function" of a method, from the table or an installed package; None if unknown."""
    if name in table or what not in ENTRY_POINTS:
        return table.get(name)
    return next((entry.value for entry in entry_points(group=ENTRY_POINTS[what], name=name)), None)


def find(table: dict[str, str], name: str, what: str) -> Any:
    """The module or function that a table names, or an entry point of an installed package.

    Raises:
        RequestError: there is no such method; the message lists those of the table.
    """
    place = place_of(table, name, what)
    if place is None:
        raise RequestError(f"There is no {what} for '{name}'. There is one for: {', '.join(sorted(table))}.")
    module, _, attribute = place.partition(":")
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded
