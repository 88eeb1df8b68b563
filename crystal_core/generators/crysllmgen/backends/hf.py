"""A language model in a user's folder: weights and tokenizer of transformers, or a peft adapter."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch

from crystal_core.errors import CheckpointMismatch, CheckpointMissing
from crystal_core.generators.crysllmgen.backends.installed import check_folder
from crystal_core.generators.crysllmgen.backends.smollm2 import SMOLLM2, cached_base
from crystal_core.generators.crysllmgen.backends.text import TextBackEnd, Tokenizer
from crystal_core.generators.crysllmgen.conditions import WORDING, read_wording

ADAPTER, MODEL, BESIDE = "adapter_config.json", "config.json", "wording.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def load_folder(folder: Path, device: torch.device) -> TextBackEnd:
    """The writer of crystals in a folder: a model, one with the subfolder ``adapter``, or an adapter alone.

    An adapter alone names its base.

    The wording of its prompts is ``wording.json`` beside the adapter; ours where there is none. Nothing is
    downloaded. On a GPU the weights are held in 8 bits where bitsandbytes is installed: 7 billion of them
    then take 7 GB.

    Raises:
        CheckpointMissing: no such folder, or no model in it. CheckpointMismatch: it cannot be read.
        RequestError: the tokenizer does not write numbers digit by digit, or the wording is none.
    """
    check_folder(folder)
    adapter = next((f for f in (folder, folder / "adapter") if (f / ADAPTER).is_file()), None)
    base = folder if (folder / MODEL).is_file() else None
    if base is None and adapter is not None:
        base = _base_of(adapter)
    if base is None:
        raise CheckpointMissing(
            f"The folder {folder.name} holds neither a language model ({MODEL}) nor an adapter ({ADAPTER})."
        )
    network, tokenizer = load_base(base, device, eight_bit=has_eight_bit(device))
    if adapter is not None:
        network = _adapted(network, adapter, folder.name)
    beside = (adapter or folder) / BESIDE
    wording = read_wording(beside if beside.is_file() else WORDING)
    return TextBackEnd(network, tokenizer, wording, name=folder.name, device=device)


def has_eight_bit(device: torch.device) -> bool:
    """Whether weights can be held in 8 bits there: on a GPU, with bitsandbytes."""
    return device.type == "cuda" and find_spec("bitsandbytes") is not None


def load_base(folder: Path, device: torch.device, *, eight_bit: bool = False) -> tuple[Any, Tokenizer]:
    """A causal language model and its tokenizer, in bfloat16 on a GPU.

    In float32 on a CPU, where fewer bits do not speed up decoding.

    Args:
        eight_bit: hold the weights of linear layers in 8 bits (see :func:`has_eight_bit`); such a
            model is not trained.

    Raises:
        CheckpointMismatch: the folder cannot be read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    # such a model is placed while it is loaded, and cannot be moved
    options: dict[str, Any] = (
        {"quantization_config": BitsAndBytesConfig(load_in_8bit=True), "device_map": {"": device}}
        if eight_bit
        else {}
    )
    try:
        network: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, **options
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a broken file: each library raises errors of its own
        raise CheckpointMismatch(
            f"The language model in {folder.name} cannot be read: {_reason(error)}."
        ) from error
    return network if eight_bit else network.to(device), cast("Tokenizer", tokenizer)


def base_folder(name: str, beside: Path = Path()) -> Path:
    """The folder of an adapter's base: SmolLM2's cache, or the user's own, also as seen from ``beside``.

    Raises:
        MissingExtra: SmolLM2 is not installed. CheckpointMissing: there is no such folder.
    """
    if name == SMOLLM2:
        return cached_base()
    for folder in (Path(name).expanduser(), beside / name):
        if folder.is_dir():
            return folder
    raise CheckpointMissing(
        f"The base {name} of this adapter is no folder here; "
        f"write its folder into base_model_name_or_path of {ADAPTER}."
    )


def _adapted(network: Any, adapter: Path, name: str) -> Any:
    """The network with an adapter of peft, all of whose weights have a place in it."""
    from peft import PeftModel, get_peft_model_state_dict
    from peft.utils import load_peft_weights

    if not any((adapter / file).is_file() for file in ADAPTER_WEIGHTS):
        raise CheckpointMismatch(f"The adapter in {name} has no weights ({ADAPTER_WEIGHTS[0]}).")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights without a place, which are refused below
            network = PeftModel.from_pretrained(network, str(adapter), local_files_only=True)
        stored = {key for key in load_peft_weights(str(adapter), device="cpu") if "lora_" in key}
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a broken file: each library raises errors of its own
        raise CheckpointMismatch(f"The adapter in {name} does not fit its base: {_reason(error)}.") from error
    placed = {
        key for key in get_peft_model_state_dict(network, save_embedding_layers=False) if "lora_" in key
    }
    if differing := sorted(stored ^ placed):
        raise CheckpointMismatch(
            f"The adapter in {name} and its {ADAPTER} differ in {len(differing)} weights, such as "
            f"{differing[0]}; take both from the same training."
        )
    return network


def _base_of(adapter: Path) -> Path:
    try:
        name = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointMismatch(f"{ADAPTER} in {adapter.name} names no base: {error}.") from error
    return base_folder(str(name), adapter)


def _reason(error: Exception) -> str:
    """The first line of an error of another library."""
    first = str(error).strip().split("\n")[0].rstrip(".:")
    return f"{type(error).__name__} {first}" if isinstance(error, KeyError) else first
