"""Any causal language model of transformers, on the published lines, with its adapter's wording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.nn import functional

from crystal_core.conditions import Conditions
from crystal_core.errors import RequestError, StructureParseError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.backends.protocol import Progress, Wanted, Written
from crystal_core.generators.crysllmgen.conditions import Wording, prompt_text, question
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, from_lines, hidden, to_lines
from crystal_core.generators.crysllmgen.line_grammar import LineGrammar, Pieces
from crystal_core.generators.crysllmgen.token_stream import sample_tokens

TOKENS_OF_CELL, TOKENS_OF_ATOM = 24, 18  # of a tokenizer with a token per digit
LONGEST_PROMPT = 120  # tokens
MOST_ATOMS = 60
SMALL = 500_000_000  # weights of a language model that writes 128 texts together on a CPU, as on a GPU
ORIGINS = 2  # over which an answer is averaged
SCORED = 8  # texts whose probability is computed together


class Tokenizer(Protocol):
    """The parts of a transformers tokenizer in use here."""

    eos_token_id: int | None
    unk_token_id: int | None
    pad_token_id: int | None
    vocab_size: int  # without added words

    def __len__(self) -> int: ...

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str: ...

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]: ...


class TextBackEnd:
    """Drafts under :class:`LineGrammar`; see :class:`~.protocol.BackEnd`.

    Args:
        network: a causal language model, with its adapter. wording: of the prompts.

    Raises:
        RequestError: the tokenizer does not write numbers digit by digit.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Tokenizer,
        wording: Wording,
        *,
        name: str,
        device: torch.device,
    ) -> None:
        check_digits(tokenizer)
        rows = int(network.get_input_embeddings().weight.shape[0])
        check_size(tokenizer, rows)
        self.network = network.to(device).eval().requires_grad_(False)
        self.texts = Texts(tokenizer, rows)
        self.wording, self.name, self.device = wording, name, device
        room = int(getattr(network.config, "max_position_embeddings", 2048)) - LONGEST_PROMPT
        self.max_atoms = min(MOST_ATOMS, (room - TOKENS_OF_CELL) // TOKENS_OF_ATOM)
        if self.max_atoms < 1:
            raise RequestError(
                f"The language model {name} holds {room + LONGEST_PROMPT} tokens; a prompt and a crystal of "
                f"one atom need {LONGEST_PROMPT + TOKENS_OF_CELL + TOKENS_OF_ATOM}. Choose a larger one."
            )
        # texts written together share the reading of the weights, which takes most of a step on a CPU
        self.batch = 128 if device.type != "cpu" or network.num_parameters() < SMALL else 8
        self.calls = 0
        self.removed_mass = self.charge_mass = 0.0
        # ids that only the tokenizer knows, such as a pad token of another training, are never written
        tokens = tokenizer.convert_ids_to_tokens(list(range(min(rows, len(tokenizer)))))
        self._pieces = Pieces(tokens, self.texts.end)
        if lacking := self._pieces.lacking():
            raise RequestError(
                f"The tokenizer of {name} has no piece for {', '.join(lacking[:4])}, so it can write no "
                "crystal; choose a language model such as SmolLM2 or LLaMA-2."
            )

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
        prompts = [prompt_text(one.conditions, self.wording) for one in wanted]
        ids = [self.texts.prompt_ids(prompt) for prompt in prompts]
        grammar = LineGrammar(max(map(len, ids)), wanted, self._pieces)
        most = TOKENS_OF_CELL + TOKENS_OF_ATOM * max(one.largest for one in wanted) + 1
        written = torch.empty(0)
        for written in sample_tokens(
            self.network,
            ids,
            pad=self.texts.pad,
            end=self.texts.end,
            most=most,
            generator=generator,
            constraint=grammar if constrained else None,
            temperature=temperature,
            top_p=top_p,
        ):
            self.calls += 1
            yield Progress(done=written.shape[1], of=most, text=self.texts.text_of(written[0].tolist()))
        self.removed_mass, self.charge_mass = grammar.mean_removed_mass, grammar.mean_charge_mass
        drafts = tuple(
            _written(self.texts.text_of(body), prompt, ended=self.texts.end in body)
            for body, prompt in zip(written.tolist(), prompts, strict=True)
        )
        yield Progress(done=most, of=most, text=drafts[0].text, drafts=drafts)

    @torch.no_grad()
    def log_chances(self, crystals: GridCrystals) -> list[float]:
        """Log probabilities of crystals; see the protocol."""
        prompt = prompt_text(Conditions(), self.wording)
        chances: list[float] = []
        lines = to_lines(crystals)
        for first in range(0, len(lines), SCORED):
            pairs = [self.texts.pair(prompt, text) for text in lines[first : first + SCORED]]
            losses, present = answer_losses(self.network, pairs, pad=self.texts.pad, device=self.device)
            chances += (-(losses * present).sum(1)).tolist()
            self.calls += 1
        return chances

    def element_chances(
        self, crystal: GridCrystals, sites: Sequence[int], elements: Sequence[int], generator: torch.Generator
    ) -> list[float]:
        """Probabilities of elements: answers to the trained question, mean over :data:`ORIGINS` origins."""
        total = torch.zeros(len(elements), dtype=torch.float64)
        answers = [vocabulary.SYMBOLS[z - 1] for z in elements]
        for _ in range(ORIGINS):
            (text,) = to_lines(crystal.moved(torch.randint(100, (3,), generator=generator)))
            prompt = question(hidden(text, sites), self.wording)
            total += torch.tensor(self.answer_log_chances(prompt, answers), dtype=torch.float64).softmax(0)
        return (total / ORIGINS).tolist()

    @torch.no_grad()
    def answer_log_chances(self, prompt: str, answers: Sequence[str]) -> list[float]:
        """Log probability of each short answer with its end; the prompt is read once for all."""
        from transformers import DynamicCache

        ids = self.texts.prompt_ids(prompt)
        cache = DynamicCache()
        read = self.network(
            input_ids=torch.tensor([ids], device=self.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        bodies = [self.texts.pair(prompt, answer)[0][len(ids) :] for answer in answers]
        longest = max(map(len, bodies))
        padded = torch.tensor(
            [body + [self.texts.pad] * (longest - len(body)) for body in bodies], device=self.device
        )
        present = torch.arange(longest)[None] < torch.tensor([len(body) for body in bodies])[:, None]
        cache.batch_repeat_interleave(len(bodies))
        rest = self.network(input_ids=padded[:, :-1], past_key_values=cache, use_cache=True).logits
        self.calls += 2
        logits = torch.cat([read.logits[:, -1:].expand(len(bodies), -1, -1), rest], 1).float()
        chances = logits.log_softmax(-1).gather(-1, padded[..., None]).squeeze(-1)
        return (chances * present.to(chances.device)).sum(1).tolist()


class Texts:
    """Prompts and answers as ids, and ids as text, with one tokenizer.

    Args:
        rows: of the network's embedding, where it is known: ids from there on are no padding.
    """

    def __init__(self, tokenizer: Tokenizer, rows: int | None = None) -> None:
        self.tokenizer = tokenizer
        end = tokenizer.eos_token_id
        if not isinstance(end, int):
            raise RequestError("The tokenizer of the language model has no token that ends a text.")
        self.end = end
        # never a new row of the embedding: it would be neither trained nor saved. Padding is masked by length
        unused = (tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
        most = len(tokenizer) if rows is None else rows
        self.pad = next(i for i in (*unused, 1) if isinstance(i, int) and i != self.end and i < most)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Ids of a prompt, with the token that begins a text where the tokenizer has one."""
        ids = list(self.tokenizer(prompt).input_ids)
        return ids[:-1] if ids and ids[-1] == self.end else ids

    def pair(self, prompt: str, answer: str) -> tuple[list[int], int]:
        """Ids of a prompt, its answer and the end, and how many of them are the prompt."""
        begin, whole = self.prompt_ids(prompt), self.prompt_ids(prompt + answer)
        if whole[: len(begin)] != begin:  # a piece reaches over the border: the prompt alone ends otherwise
            whole = begin + list(self.tokenizer(answer, add_special_tokens=False).input_ids)
        return [*whole, self.end], len(begin)

    def text_of(self, ids: Sequence[int]) -> str:
        """The text up to the end, or as far as it stands."""
        body = ids[: ids.index(self.end)] if self.end in ids else ids
        return self.tokenizer.decode(list(body), skip_special_tokens=True).strip()


def check_size(tokenizer: Tokenizer, rows: int) -> None:
    """Raise RequestError unless the embedding has a row for every word, added ones such as [PAD] apart."""
    if max(tokenizer.vocab_size, 1 + (tokenizer.eos_token_id or 0)) > rows:
        raise RequestError(
            f"The language model has {rows} words and its tokenizer {len(tokenizer)}; "
            "take the tokenizer that belongs to it."
        )


def check_digits(tokenizer: Tokenizer) -> None:
    """Raise RequestError unless numbers are written digit by digit, as the method demands."""
    pieces = tokenizer("12.34", add_special_tokens=False).input_ids
    # a piece for the blank that some tokenizers put before a text does not count
    texts = [text for text in map(tokenizer.decode, ([i] for i in pieces)) if text.strip()]
    if [text.strip() for text in texts] != ["1", "2", ".", "3", "4"]:
        raise RequestError(
            f"The tokenizer splits 12.34 into {len(texts)} pieces ({' | '.join(texts)}); crystals need one "
            "piece per digit. Choose a language model such as SmolLM2 or LLaMA-2."
        )


def answer_losses(
    network: Any,
    pairs: Sequence[tuple[list[int], int]],
    *,
    pad: int,
    device: torch.device,
    with_prompts: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of every token after the first, (texts, longest - 1), and which of them count.

    Those of the answers and their ends count, and those of the prompts too ``with_prompts``. They count by
    length: where padding and end are one id, a mask by id would hide the end.
    """
    longest = max(len(ids) for ids, _ in pairs)
    batch = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in pairs], device=device)
    lengths = torch.tensor([len(ids) for ids, _ in pairs], device=device)[:, None]
    starts = torch.tensor([1 if with_prompts else start for _, start in pairs], device=device)[:, None]
    places = torch.arange(longest, device=device)[None]
    counted = ((places >= starts) & (places < lengths))[:, 1:]
    logits = network(
        input_ids=batch[:, :-1], attention_mask=(places < lengths)[:, :-1].long(), use_cache=False
    ).logits
    # of a large vocabulary the scores are most of the memory: those of padding are left out
    # before they are copied
    losses = functional.cross_entropy(logits[counted].float(), batch[:, 1:][counted], reduction="none")
    return torch.zeros_like(counted, dtype=torch.float32).masked_scatter(counted, losses), counted


def _written(text: str, prompt: str, *, ended: bool) -> Written:
    if not ended:
        return Written(text=text, prompt=prompt, problem="The text does not end.")
    try:
        return Written(text=text, prompt=prompt, crystal=from_lines(text))
    except StructureParseError as error:
        return Written(text=text, prompt=prompt, problem=str(error))
