"""Crystal Studio's core: published generative methods for crystals behind one small public API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystal_core.drawing.notebook import to_html, view
    from crystal_core.registry.store import list_cards, load_generator
    from crystal_core.requests import GenerationRequest, StructurePredictionRequest

__version__ = "0.1.0"
__all__ = [
    "GenerationRequest",
    "StructurePredictionRequest",
    "list_cards",
    "load_generator",
    "to_html",
    "view",
]

# imported when first used: ``import crystal_core`` costs nothing
_ROOMS = {
    "GenerationRequest": "requests",
    "StructurePredictionRequest": "requests",
    "list_cards": "registry.store",
    "load_generator": "registry.store",
    "to_html": "drawing.notebook",
    "view": "drawing.notebook",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'crystal_core' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"crystal_core.{_ROOMS[name]}"), name)
