"""The small Llama that is trained here from scratch, on the compact token form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch

from crystal_core.conditions import Conditions
from crystal_core.errors import StructureParseError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.backends.protocol import Progress, Wanted, Written
from crystal_core.generators.crysllmgen.conditions import prompt_tokens
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, to_lines
from crystal_core.generators.crysllmgen.decoding import CrystalGrammar
from crystal_core.generators.crysllmgen.token_stream import sample_tokens
from crystal_core.generators.crysllmgen.tokenizer import (
    ATOM,
    CELL,
    TokenBatch,
    assemble,
    parse_tokens,
    partial_lines,
    to_words,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import LlamaForCausalLM

LONGEST_PROMPT = 80  # tokens: ten elements with their counts, a space group and three properties
ORIGINS = 4  # over which an answer is averaged
SCORED = 64  # sequences whose probability is computed together
CELLS = 16  # cells that are written for a draft with demanded elements, to choose one of them
FEW = 45  # allowed elements, about half of all, up to which a cell is chosen for them


class TinyBackEnd:
    """Drafts under :class:`CrystalGrammar`; see :class:`~.protocol.BackEnd`."""

    name = "tiny"

    def __init__(self, network: LlamaForCausalLM, device: torch.device) -> None:
        self.network = network.to(device).eval().requires_grad_(False)  # type: ignore[arg-type]
        self.device = device
        self.max_atoms = (network.config.max_position_embeddings - LONGEST_PROMPT - CELL - 1) // ATOM
        self.batch = 64 if device.type == "cpu" else 512
        self.calls = 0
        self.removed_mass = self.charge_mass = 0.0

    def write(
        self,
        wanted: Sequence[Wanted],
        *,
        generator: torch.Generator,
        temperature: float,
        top_p: float,
        constrained: bool = True,
    ) -> Iterator[Progress]:
        """Drafts; see the protocol."""
        prompts = [prompt_tokens(one.conditions) for one in wanted]
        grammar = self._grammar(wanted, prompts)
        most = CELL + ATOM * max(one.largest for one in wanted) + 1
        options: dict[str, Any] = {
            "pad": vocabulary.PAD,
            "end": vocabulary.EOS,
            "generator": generator,
            "temperature": temperature,
            "top_p": top_p,
        }
        cells = torch.empty(len(wanted), 0, dtype=torch.long, device=self.device)
        if constrained and any(map(_demands_elements, wanted)):
            tried = FirstElement(
                self._grammar([one for one in wanted for _ in range(CELLS)], prompts), len(wanted)
            )
            several = [prompt for prompt in prompts for _ in range(CELLS)]
            for written in sample_tokens(self.network, several, most=CELL + 1, constraint=tried, **options):
                self.calls += 1
                done = min(CELL, written.shape[1])
                yield Progress(done=done, of=most, text=partial_lines(written[0, :done].tolist()))
            cells = tried.choose(written[:, :CELL], generator)
        begun = [prompt + cell for prompt, cell in zip(prompts, cells.tolist(), strict=True)]
        body = cells
        for written in sample_tokens(
            self.network,
            begun,
            most=most - cells.shape[1],
            constraint=grammar if constrained else None,
            **options,
        ):
            self.calls += 1
            body = torch.cat([cells, written], 1)
            yield Progress(done=body.shape[1], of=most, text=partial_lines(body[0].tolist()))
        self.removed_mass, self.charge_mass = grammar.mean_removed_mass, grammar.mean_charge_mass
        drafts = tuple(
            _written(text, to_words(prompt)) for text, prompt in zip(body.tolist(), prompts, strict=True)
        )
        yield Progress(done=most, of=most, text=drafts[0].text, drafts=drafts)

    def _grammar(self, wanted: Sequence[Wanted], prompts: Sequence[Sequence[int]]) -> CrystalGrammar:
        return CrystalGrammar(
            max(map(len, prompts)),
            [one.conditions for one in wanted],
            max_atoms=[one.most for one in wanted],
            min_atoms=[one.least for one in wanted],
            elements=wanted[0].elements,
            charge_balance=[one.charge_balance for one in wanted],
            device=self.device,
        )

    @torch.no_grad()
    def log_chances(self, crystals: GridCrystals) -> list[float]:
        """Log probabilities of crystals; see the protocol. What many texts begin with is read once."""
        prompt = prompt_tokens(Conditions())
        batch = assemble([prompt] * len(crystals), crystals)
        chances = torch.zeros(len(crystals))
        for rows, n_shared in _beginnings(batch):
            some = TokenBatch(ids=batch.ids[rows], lengths=batch.lengths[rows], prompts=batch.prompts[rows])
            chances[rows] = self._log_chances(some, n_shared, len(prompt))
        return chances.tolist()

    def _log_chances(self, batch: TokenBatch, n_shared: int, n_prompt: int) -> Float[Tensor, "texts"]:
        """Log probability of each text after its prompt; the first ``n_shared`` ids are those of all."""
        from transformers import DynamicCache

        network: Any = self.network
        ids = batch.ids[:, : int(batch.lengths.max())].to(self.device)
        cache = DynamicCache()
        read = network(input_ids=ids[:1, :n_shared], past_key_values=cache, use_cache=True).logits
        self.calls += 1
        chances = []
        for first in range(0, len(ids), SCORED):
            some = ids[first : first + SCORED]
            logits = read.expand(len(some), -1, -1)
            if some.shape[1] > n_shared + 1:
                own = deepcopy(cache)
                own.batch_repeat_interleave(len(some))
                rest = network(input_ids=some[:, n_shared:-1], past_key_values=own, use_cache=True).logits
                logits = torch.cat([logits, rest], 1)
                self.calls += 1
            of_text = logits[:, n_prompt - 1 :].float().log_softmax(-1)
            written = some[:, n_prompt:, None]
            lengths = batch.lengths[first : first + SCORED].to(self.device)
            present = torch.arange(n_prompt, some.shape[1], device=self.device) < lengths[:, None]
            chances.append((of_text.gather(-1, written).squeeze(-1) * present).sum(1))
        return torch.cat(chances).cpu()

    def element_chances(
        self, crystal: GridCrystals, sites: Sequence[int], elements: Sequence[int], generator: torch.Generator
    ) -> list[float]:
        """Probabilities of elements by Bayes' rule: each weighs as the crystal's whole text with it.

        The model was trained on crystals with any origin, so the answer is the mean
        over :data:`ORIGINS` of them.
        """
        total = torch.zeros(len(elements), dtype=torch.float64)
        for _ in range(ORIGINS):
            moved = crystal.moved(torch.randint(100, (3,), generator=generator))
            tried = [moved.with_element(sites, z).grouped() for z in elements]
            total += torch.tensor(self.log_chances(GridCrystals.concat(tried)), dtype=torch.float64).softmax(
                0
            )
        return (total / ORIGINS).tolist()


class FirstElement:
    """A grammar that also tells how well several cells of each draft suit the elements that may come first.

    A model writes the cell before its atoms. Elements that are demanded, but not part of the prompt, would
    have to fit a cell that was meant for others. So each draft has several cells, and one of them is drawn
    with the probability that the model itself gives to the allowed elements after it: then cell and first
    element together come as often as in its free drafts that begin with such an element.

    Args:
        grammar: of all cells, those of one draft after each other. n: drafts.
    """

    def __init__(self, grammar: CrystalGrammar, n: int) -> None:
        self.grammar, self.n = grammar, n
        self.chances = torch.empty(0)  # of the allowed elements after each cell

    def __call__(
        self, input_ids: Int[Tensor, "cells length"], scores: Float[Tensor, "cells words"]
    ) -> Float[Tensor, "cells words"]:
        """The scores under the grammar."""
        limited = self.grammar(input_ids, scores)
        if input_ids.shape[1] - self.grammar.prompt_length == CELL:
            self.chances = torch.where(limited.isfinite(), torch.softmax(scores.float(), -1), 0.0).sum(-1)
        return limited

    def keep(self, rows: Int[Tensor, "kept"]) -> None:
        """Go on with these cells alone."""
        self.grammar.keep(rows)

    def choose(
        self, cells: Int[Tensor, "cells tokens"], generator: torch.Generator
    ) -> Int[Tensor, "drafts tokens"]:
        """One cell of each draft."""
        chances = self.chances.view(self.n, -1).clamp(min=1e-12)
        chosen = torch.multinomial(chances, 1, generator=generator)
        return cells.view(self.n, -1, cells.shape[-1])[
            torch.arange(self.n, device=cells.device), chosen[:, 0]
        ]


def _demands_elements(one: Wanted) -> bool:
    """Whether elements are demanded of which the prompt says nothing."""
    conditions = one.conditions
    if conditions.composition or conditions.elements:
        return False
    return bool(conditions.contain or conditions.any_of) or len(one.elements) <= FEW


def _beginnings(batch: TokenBatch) -> list[tuple[Int[Tensor, "rows"], int]]:
    """Rows that begin alike, and how many of their ids are the same: most rows, and the others.

    Of an atom's element in turn, most texts differ from there on. Those with an element that the crystal
    holds before it differ earlier, as atoms of an element stand together.
    """
    usual = batch.ids.mode(0).values
    alike = (batch.ids == usual).cumprod(1).sum(1)
    is_usual = alike >= alike.median()
    parts = []
    for rows in (torch.nonzero(chosen).flatten() for chosen in (is_usual, ~is_usual)):
        if len(rows):
            same = (batch.ids[rows] == batch.ids[rows[0]]).all(0).cumprod(0).sum()
            parts.append((rows, min(int(same), int(batch.lengths[rows].min()) - 1)))
    return parts


def _written(body: list[int], prompt: str) -> Written:
    try:
        grid = parse_tokens(body)
    except StructureParseError as error:
        return Written(text=partial_lines(body), prompt=prompt, problem=str(error))
    return Written(text=to_lines(grid)[0], prompt=prompt, crystal=grid.to_crystals())
