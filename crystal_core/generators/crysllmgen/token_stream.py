"""Sampling from a language model, token by token: many prompts at once, cached keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

LARGE = 4096  # words; of a larger vocabulary only those that some row may write are sorted and drawn
ENDED_SHARE = 0.25  # share of computed rows: once this many have ended, they are dropped


class Constraint(Protocol):
    """A logits processor of transformers that can also let go of rows."""

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows words"]
    ) -> Float[Tensor, "rows words"]:
        """The scores, with minus infinity for what may not follow."""
        ...

    def keep(self, rows: Int[Tensor, "kept"]) -> None:
        """Go on with these rows alone."""
        ...


def left_padded(
    prompts: Sequence[Sequence[int]], pad: int, device: torch.device | str = "cpu"
) -> tuple[Int[Tensor, "rows longest"], Bool[Tensor, "rows longest"]]:
    """Prompts of several lengths that end at the same place, and where a token of a prompt stands."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, torch.arange(longest, device=device) >= longest - lengths[:, None]


@torch.no_grad()
def sample_tokens(
    network: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad: int,
    end: int,
    most: int,
    generator: torch.Generator,
    constraint: Constraint | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Iterator[Int[Tensor, "rows written"]]:
    """The tokens after each prompt so far, yielded after every token; padding follows an end.

    Args:
        network: a causal language model of transformers.
        pad, end: ids; padding is masked by length, so both may be one id.
        most: tokens per prompt. generator: of every draw, on the network's device.
    """
    from transformers import DynamicCache, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    device = next(network.parameters()).device
    ids, present = left_padded(prompts, pad, device)
    warpers = LogitsProcessorList()
    if temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(temperature))
    if top_p < 1.0:
        warpers.append(TopPLogitsWarper(top_p))
    written = torch.full((len(prompts), most), pad, device=device)
    rows = torch.arange(len(prompts), device=device)  # those that are still computed
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    cache = DynamicCache()
    step_ids, positions = ids, (present.cumsum(1) - 1).clamp(min=0)
    for place in range(most):
        answer = network(
            input_ids=step_ids,
            attention_mask=present.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        scores = answer.logits[:, -1].float()
        if constraint is not None:
            scores = constraint(ids, scores)
        words = _possible(scores)
        scores = scores if words is None else scores[:, words]
        chances = torch.softmax(warpers(cast("Any", ids), cast("Any", scores)), -1)
        drawn = torch.multinomial(chances, 1, generator=generator).squeeze(1)
        drawn = drawn if words is None else words[drawn]
        drawn = torch.where(ended[rows], pad, drawn)
        written[rows, place] = drawn
        ended[rows] |= drawn == end
        yield written[:, : place + 1]
        if bool(ended.all()):
            return
        step_ids, positions = drawn[:, None], positions[:, -1:] + 1
        ids = torch.cat([ids, step_ids], 1)
        present = torch.cat([present, torch.ones_like(step_ids, dtype=torch.bool)], 1)
        going = torch.nonzero(~ended[rows]).squeeze(1)
        if len(going) <= (1 - ENDED_SHARE) * len(rows):
            rows, ids, present = rows[going], ids[going], present[going]
            step_ids, positions = step_ids[going], positions[going]
            cache.batch_select_indices(going)
            if constraint is not None:
                constraint.keep(going)


def _possible(scores: Float[Tensor, "rows words"]) -> Int[Tensor, "possible"] | None:
    """The words of a large vocabulary that some row may write; None where the vocabulary is small."""
    if scores.shape[1] <= LARGE:
        return None
    return torch.nonzero((scores > -torch.inf).any(0)).squeeze(1)
