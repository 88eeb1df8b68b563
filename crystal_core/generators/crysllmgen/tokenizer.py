"""The compact token form: one token per element and per digit, fixed-width numbers, no separators.

A cell takes 9 digits of lengths (tens, ones, tenths) and 9 of angles, an atom its element and 6 digits of
coordinates: a crystal of n atoms has 18 + 7 n tokens and the one that ends it. The position of a token
therefore determines its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from crystal_core.errors import RequestError, StructureParseError
from crystal_core.generators.crysllmgen import vocabulary
from crystal_core.generators.crysllmgen.crystal_text import GridCrystals, spans_cell

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

CELL, ATOM = 18, 7  # tokens
MAX_TENTHS = 999


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Sequences of ids, padded at their end.

    Attributes:
        ids: (crystals, longest).
        lengths: (crystals,) tokens without padding.
        prompts: (crystals,) tokens of the prompt.
    """

    ids: Int[Tensor, "crystals longest"]
    lengths: Int[Tensor, "crystals"]
    prompts: Int[Tensor, "crystals"]

    def __len__(self) -> int:
        return int(self.lengths.shape[0])


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The vocabulary as a tokenizer of transformers, whose text is that of :func:`to_words`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # no <unk>: an unknown word must raise, not become a token the model has never seen
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary.IDS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 (a word of the vocabulary, no password)
        bos_token="<bos>",  # noqa: S106
        eos_token="<eos>",  # noqa: S106
        mask_token="<mask>",  # noqa: S106
        sep_token="<sep>",  # noqa: S106
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def to_words(ids: Sequence[int]) -> str:
    """The words of the ids with blanks between them."""
    words = tuple(vocabulary.IDS)
    return " ".join(words[i] for i in ids)


def crystal_tokens(crystals: GridCrystals) -> tuple[Int[Tensor, "crystals 18"], Int[Tensor, "atoms 7"]]:
    """Ids of the cells and of the atoms.

    Raises:
        RequestError: a length of 99.95 Å or more, which three digits cannot hold.
    """
    longest = int(crystals.lengths.max()) if len(crystals) else 0
    if longest > MAX_TENTHS:
        raise RequestError(
            f"A cell is {longest / 10:.1f} Å long; "
            "the compact form has three digits for a length and ends at 99.9 Å."
        )
    cells = _digits_of(torch.cat([crystals.lengths, crystals.angles], dim=1), 3)
    elements = vocabulary.ELEMENT + crystals.atomic_numbers
    return cells, torch.cat([elements[:, None], _digits_of(crystals.coords, 2)], dim=1)


def assemble(prompts: Sequence[Sequence[int]], crystals: GridCrystals) -> TokenBatch:
    """Prompt, crystal and end of each sequence, padded to the longest; raises as :func:`crystal_tokens`."""
    cells, atoms = crystal_tokens(crystals)
    n_atoms = crystals.n_atoms
    starts = torch.tensor([len(prompt) for prompt in prompts])
    lengths = starts + CELL + ATOM * n_atoms + 1
    ids = torch.full((len(crystals), int(lengths.max())), vocabulary.PAD)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    rows = torch.arange(len(crystals))
    ids[rows[:, None], starts[:, None] + torch.arange(CELL)] = cells
    crystal_index = torch.repeat_interleave(rows, n_atoms)
    place = torch.arange(len(crystal_index)) - (torch.cumsum(n_atoms, 0) - n_atoms)[crystal_index]
    first = starts[crystal_index] + CELL + ATOM * place
    ids[crystal_index[:, None], first[:, None] + torch.arange(ATOM)] = atoms
    ids[rows, lengths - 1] = vocabulary.EOS
    return TokenBatch(ids=ids, lengths=lengths, prompts=starts)


def parse_tokens(ids: Sequence[int]) -> GridCrystals:
    """One crystal from the ids after its prompt, up to its end token.

    Raises:
        StructureParseError: the sequence does not end, a token stands in a wrong place, or the
            cell has no volume.
    """
    if vocabulary.EOS not in ids:
        raise StructureParseError("The sequence does not end; raise the largest number of atoms.")
    body = ids[: ids.index(vocabulary.EOS)]
    n_atoms, rest = divmod(len(body) - CELL, ATOM)
    if n_atoms < 1 or rest:
        raise StructureParseError(f"A sequence of {len(body)} tokens is no cell with whole atoms.")
    cell = _values(body[:CELL], 3)
    atoms = [body[i : i + ATOM] for i in range(CELL, len(body), ATOM)]
    numbers = [atom[0] - vocabulary.ELEMENT for atom in atoms]
    if not all(1 <= z <= vocabulary.MAX_Z for z in numbers):
        raise StructureParseError("A token that is no element stands where an atom begins.")
    grid = GridCrystals(
        lengths=torch.tensor([cell[:3]]),
        angles=torch.tensor([cell[3:]]),
        coords=torch.tensor([_values(atom[1:], 2) for atom in atoms]),
        atomic_numbers=torch.tensor(numbers),
        n_atoms=torch.tensor([n_atoms]),
    )
    if min(cell[:3]) < 1 or not bool(spans_cell(grid.angles)):
        raise StructureParseError("The cell has no volume.")
    return grid


def partial_lines(ids: Sequence[int]) -> str:
    """The published lines of a sequence that is still being written, as far as it stands.

    What is no number or element where one belongs stays as its word, or as its id where
    the vocabulary has none.
    """
    names = dict(enumerate(vocabulary.IDS))
    end = ids.index(vocabulary.EOS) if vocabulary.EOS in ids else len(ids)
    words = [names.get(i, f"<{i}>") for i in ids[:end] if i != vocabulary.PAD]
    numbers = ["".join(words[k : k + 3]) for k in range(0, min(CELL, len(words)), 3)]
    lengths = [f"{int(n) / 10:.1f}" if len(n) == 3 and n.isdigit() else n for n in numbers[:3]]
    angles = [str(int(n)) if len(n) == 3 and n.isdigit() else n for n in numbers[3:]]
    lines = [" ".join(lengths), " ".join(angles)]
    for k in range(CELL, len(words), ATOM):
        digits = words[k + 1 : k + ATOM]
        coords = ["0." + "".join(digits[j : j + 2]) for j in range(0, len(digits), 2)]
        lines += [words[k], " ".join(coords)]
    return "\n".join(line for line in lines if line)


def _digits_of(values: Tensor, width: int) -> Tensor:
    """(rows, k) whole numbers as ids of their digits, (rows, k × width), leading zeros included."""
    powers = 10 ** torch.arange(width - 1, -1, -1)
    return (vocabulary.DIGIT + values[:, :, None] // powers % 10).flatten(1)


def _values(ids: Sequence[int], width: int) -> list[int]:
    """The whole numbers that digits of a fixed width write."""
    digits = [i - vocabulary.DIGIT for i in ids]
    if not all(0 <= d <= 9 for d in digits):
        raise StructureParseError("A token that is no digit stands inside a number.")
    return [int("".join(map(str, digits[i : i + width]))) for i in range(0, len(digits), width)]
