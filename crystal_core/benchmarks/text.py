"""Time drafts of the small language model and of one with 135 million weights on the published lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from crystal_core.benchmarks.graphs import random_crystals
from crystal_core.benchmarks.speed import WARM_UP, describe_device, medians_in_turn
from crystal_core.checks import check_choice
from crystal_core.conditions import Conditions
from crystal_core.device import pick_device
from crystal_core.errors import RequestError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.backends.protocol import Wanted
from crystal_core.generators.crysllmgen.backends.tiny import TinyBackEnd
from crystal_core.generators.crysllmgen.config import SIZES, build_network
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, to_lines
from crystal_core.generators.crysllmgen.generator import CrysLLMGenerator
from crystal_core.generators.crysllmgen.token_stream import sample_tokens
from crystal_core.generators.crysllmgen.tokenizer import ATOM, CELL
from crystal_core.registry.store import load_generator

# timed tokens of the word model, from mid-text; a whole text takes minutes
TIMED = 16
# SmolLM2-135M: its sizes, and its vocabulary, with random weights, which take as long as trained ones
WORDS_MODEL: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "tie_word_embeddings": True,
}


class NeverEnds:
    """A constraint that forbids one token, the end."""

    def __init__(self, end: int) -> None:
        self.end = end

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, with minus infinity for the end."""
        del input_ids
        scores[:, self.end] = -torch.inf
        return scores

    def keep(self, rows: Tensor) -> None:
        """No row has a state."""


def benchmark_text(
    size: str | None,
    batch: int,
    n_atoms: int,
    repeats: int,
    *,
    model: str | None = None,
    words_batch: int = 8,
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Drafts per second of the small model with its grammar, and of a word model with 135 million weights.

    Of the model of words :data:`TIMED` tokens are timed, after half a text that is read before and without a
    grammar; a draft takes as many times longer as the published text has more tokens. Both are timed in turn.

    Args:
        size: of :data:`SIZES`, with random weights; or None with ``model``, the name of a checkpoint
            of the small kind.

    Raises:
        RequestError: neither or both are named, or the model is of another kind.
    """
    if (size is None) == (model is None):
        raise RequestError("Name either a size or a model to time, not both.")
    if threads:
        torch.set_num_threads(threads)
    place = pick_device(device)
    back_end = _small(size, model, place)
    wanted = [
        Wanted(conditions=Conditions(), least=n_atoms, most=n_atoms, elements=tuple(range(1, 95)))
    ] * batch
    rng = torch.Generator(place).manual_seed(0)

    def small() -> None:
        for _ in back_end.write(wanted, generator=rng, temperature=1.0, top_p=1.0):
            pass

    tokens, words_tokens = CELL + ATOM * n_atoms + 1, published_tokens(n_atoms)
    words = _model_of_words(place, words_batch, words_tokens, repeats + WARM_UP)
    seconds, words_seconds = medians_in_turn((small, words), repeats, place)
    words_seconds *= words_tokens / TIMED
    ours, theirs = batch / seconds, words_batch / words_seconds
    return {
        "drafts_per_second": round(ours, 3),
        "drafts_per_second_135m": round(theirs, 4),
        "ratio": round(ours / theirs, 1),
        "tokens_per_draft": tokens,
        "tokens_per_draft_135m": words_tokens,
        "tokens_per_second": round(ours * tokens, 1),
        "tokens_per_second_135m": round(theirs * words_tokens, 1),
        "parameters": sum(p.numel() for p in back_end.network.parameters()),
        "batch": batch,
        "batch_135m": words_batch,
        **describe_device(place),
    }


def published_tokens(n_atoms: int) -> int:
    """Tokens of a crystal's published text with its end.

    Digits, dots, blanks and line ends count as one token each, and so does a symbol.
    """
    (text,) = to_lines(GridCrystals.from_crystals(random_crystals(1, n_atoms)))
    lines = text.split("\n")
    return sum(1 if line[0].isalpha() else len(line) for line in lines) + len(lines)


def _small(size: str | None, model: str | None, place: torch.device) -> TinyBackEnd:
    if size is not None:
        check_choice("size", size, tuple(SIZES))
        torch.manual_seed(0)
        return TinyBackEnd(build_network(SIZES[size]), place)
    loaded = load_generator(str(model), str(place))
    if not isinstance(loaded, CrysLLMGenerator) or not isinstance(loaded.back_end, TinyBackEnd):
        raise RequestError(f"'{model}' is no small language model; name one, or give --size instead.")
    return loaded.back_end


def _model_of_words(place: torch.device, batch: int, n_tokens: int, calls: int) -> Callable[[], None]:
    """Writes the next :data:`TIMED` tokens per call, so that ``calls`` calls lie around mid-text."""
    from transformers import LlamaConfig, LlamaForCausalLM

    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    network: Any = LlamaForCausalLM(LlamaConfig(**WORDS_MODEL))
    network = network.to(place, dtype).eval()
    read = max(1, (n_tokens - calls * TIMED) // 2)
    prompts = torch.randint(10, 1000, (batch, read), generator=torch.Generator().manual_seed(0)).tolist()
    written = sample_tokens(
        network,
        prompts,
        pad=vocabulary.PAD,
        end=vocabulary.EOS,
        most=1 + calls * TIMED,
        generator=torch.Generator(place).manual_seed(0),
        constraint=NeverEnds(vocabulary.EOS),
    )
    next(written)  # the prompt is read before anything is timed

    def write() -> None:
        for _ in range(TIMED):
            next(written)

    return write
