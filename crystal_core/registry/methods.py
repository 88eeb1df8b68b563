"""Where the code of each method is. A new method adds one line to every table it needs; no other file of this room names it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from crystal_core.errors import RequestError

# "module:function" of what turns a card and a device into a generator, by the card's loader
LOADERS = {
    "combined": "crystal_core.registry.combined_loader:load_combined",
    "crysllmgen": "crystal_core.generators.crysllmgen.generator:load_crysllmgen",
    "diffcsp": "crystal_core.generators.diffcsp.generator:load_diffcsp",
    "kldm": "crystal_core.generators.kldm.generator:load_kldm",
    "prototype": "crystal_core.generators.prototype.generator:load_prototype",
}
# the same for property predictors
PREDICTORS = {
    "crysldnet": "crystal_core.predictors.crysldnet.predictor:load_crysldnet",
}
# module with settings_from, train, export_checkpoint and initial_weights, by the method that a training configuration names
TRAINERS = {
    "crysldnet": "crystal_core.predictors.crysldnet.training",
    "crysllmgen": "crystal_core.generators.crysllmgen.training",
    "crysllmgen-lora": "crystal_core.generators.crysllmgen.lora_training",
    "diffcsp": "crystal_core.generators.diffcsp.training",
    "kldm": "crystal_core.generators.kldm.training",
}
# "module:function" of what turns official files into a checkpoint, by the name after 'models import'
IMPORTERS = {
    "crysldnet": "crystal_core.predictors.crysldnet.import_official:import_crysldnet",
    "diffcsp": "crystal_core.generators.diffcsp.import_official:import_diffcsp",
    "kldm": "crystal_core.generators.kldm.import_official:import_kldm",
}


def find(table: dict[str, str], name: str, what: str) -> Any:
    """The module or function that a table names.

    Raises:
        RequestError: the table has no such method; the message lists those it has.
    """
    if name not in table:
        raise RequestError(f"There is no {what} for '{name}'. There is one for: {', '.join(sorted(table))}.")
    module, _, attribute = table[name].partition(":")
    loaded = import_module(module)
    return getattr(loaded, attribute) if attribute else loaded
