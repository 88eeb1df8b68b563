"""Sizes of the small Llama that is trained from scratch on the compact token form, and the network itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crystal_core.errors import RequestError
from crystal_core.generators.crysllmgen import vocabulary

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Sizes; the defaults are those of the model with 10 million parameters.

    Attributes:
        ffn_dim: inner width of the gated feed-forward layers. max_tokens: longest sequence, prompt included.
        attention_dropout: of attention weights while training; 0 keeps the fast attention of the CPU.
        vocabulary_version: of the ids that the weights know.
    """

    hidden_dim: int = 320
    n_layers: int = 8
    n_heads: int = 5
    ffn_dim: int = 864
    max_tokens: int = 512
    attention_dropout: float = 0.0
    vocabulary_version: int = vocabulary.VERSION

    def __post_init__(self) -> None:
        if self.hidden_dim % (2 * self.n_heads):
            raise RequestError(
                "hidden_dim must be an even multiple of n_heads: rotary positions pair the numbers of a head."
            )
        if self.vocabulary_version != vocabulary.VERSION:
            raise RequestError(
                f"These weights know version {self.vocabulary_version} of the vocabulary, and this is "
                f"version {vocabulary.VERSION}; train again, or use the release that wrote them."
            )


# heads of 64 numbers: heads of 40 and 32 train 11 to 14 % slower on a CPU
SIZES = {
    "3m": TinyConfig(hidden_dim=192, n_layers=6, n_heads=3, ffn_dim=512),
    "10m": TinyConfig(),
    "26m": TinyConfig(hidden_dim=512, n_heads=8, ffn_dim=1376),
}


def build_network(config: TinyConfig) -> LlamaForCausalLM:
    """An untrained Llama with tied embeddings: RMSNorm, gated SiLU, rotary positions."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary.SIZE,
            hidden_size=config.hidden_dim,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_heads,
            intermediate_size=config.ffn_dim,
            max_position_embeddings=config.max_tokens,
            attention_dropout=config.attention_dropout,
            tie_word_embeddings=True,
            pad_token_id=vocabulary.PAD,
            bos_token_id=vocabulary.BOS,
            eos_token_id=vocabulary.EOS,
        )
    )
