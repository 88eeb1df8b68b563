"""The command line ``crystal-core``.

Commands live one per file and import what they need only when they run.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from crystal_core.interruption import end_at_once

if TYPE_CHECKING:
    import typer

# command path → (module, function); groups are the paths with two words
COMMANDS = {
    "models list": ("models", "list_models"),
    "models show": ("models", "show"),
    "models verify": ("models", "verify"),
    "models import": ("models", "import_model"),
    "predict-structure": ("predict_structure", "predict_structure"),
    "generate": ("generate", "generate"),
    "predict-property": ("predict_property", "predict_property"),
    "infill": ("infill", "infill"),
    "analyse": ("analyse", "analyse"),
    "relax": ("relax", "relax"),
    "fuzz": ("fuzz", "fuzz"),
    "compare": ("compare", "compare"),
    "evaluate csp": ("evaluate_csp", "csp"),
    "evaluate csp-samplers": ("evaluate_samplers", "csp_samplers"),
    "evaluate first-card": ("evaluate_first_card", "first_card"),
    "evaluate dng": ("evaluate_dng", "dng"),
    "evaluate property": ("evaluate_property", "evaluate_property"),
    "evaluate adapters": ("evaluate_adapters", "adapters"),
    "evaluate pretraining": ("evaluate_pretraining", "pretraining"),
    "evaluate latents": ("evaluate_latents", "latents"),
    "evaluate text": ("evaluate_text", "text"),
    "evaluate conditions": ("evaluate_conditions", "conditions"),
    "evaluate refinement": ("evaluate_refinement", "refinement"),
    "benchmark sampling": ("benchmark", "sampling"),
    "benchmark text": ("benchmark", "text"),
    "benchmark train": ("benchmark", "train"),
    "benchmark predict": ("benchmark", "predict"),
    "benchmark predict-structure": ("benchmark", "predict_structure"),
    "benchmark relax": ("benchmark", "relax"),
    "benchmark graph": ("benchmark", "graph"),
    "benchmark encoder": ("benchmark", "encoder"),
    "benchmark known": ("benchmark", "known"),
    "benchmark page": ("benchmark", "page"),
    "data prepare": ("data", "prepare"),
    "data download": ("data", "download"),
    "data describe": ("data", "describe"),
    "data estimate-hull": ("data", "estimate_hull"),
    "data prepare-properties": ("data", "prepare_properties"),
    "train": ("train", "train"),
    "screen": ("screen", "screen"),
    "docs tables": ("docs", "tables"),
    "serve": ("serve", "serve"),
}
GROUPS = {
    "models": "List, check and import checkpoints.",
    "evaluate": "Measure models by the published protocols.",
    "benchmark": "Measure the speed of this machine.",
    "data": "Prepare raw data sets.",
    "docs": "Write the tables of README.md and docs/.",
}


def build_app() -> typer.Typer:
    """The typer application with every command whose module is present."""
    import typer

    from crystal_core.cli._run import OneSentence

    app = typer.Typer(
        cls=OneSentence,
        name="crystal-core",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Generate, predict and compare crystal structures.",
    )
    groups = {}
    for name, help_text in GROUPS.items():
        groups[name] = typer.Typer(no_args_is_help=True, help=help_text)
        app.add_typer(groups[name], name=name)
    for path, (module, function) in COMMANDS.items():
        *group, leaf = path.split()
        handler = getattr(importlib.import_module(f"crystal_core.cli.{module}"), function)
        (groups[group[0]] if group else app).command(leaf)(handler)
    return app


def main() -> None:
    """Entry point of the console script."""
    # numpy's own threads fight with torch's for the same cores, and are read when it is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    end_at_once()  # until a command begins, half a second is spent on imports
    build_app()()
