"""Sentences on what lies beyond the crystals that a model was trained on: atoms per cell and elements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from crystal_core.drawing.style import symbol_of
from crystal_core.generators.refinement import refinement_of
from crystal_core.registry.store import find_card

if TYPE_CHECKING:
    from crystal_core.cards import ModelCard
    from crystal_core.conditions import DraftOptions
    from crystal_core.protocols import DeNovoGenerator, Generator


MOST_NAMED = 6  # sizes of cells that a note lists


def trained_sizes(card: ModelCard) -> range | None:
    """From the least to the most atoms of the training cells; None where the card names none."""
    sampling = card.sampling
    counts = [*map(int, sampling.get("atom_counts") or sampling.get("atom_count_frequencies") or ())]
    if counts:
        return range(min(counts), max(counts) + 1)
    return range(1, card.most_atoms + 1) if card.most_atoms else None


def refiner_card(card: ModelCard, options: DraftOptions) -> ModelCard | None:
    """The card of the model that refines the drafts of ``card``; None where none does.

    Raises:
        RequestError: an option would change nothing. CheckpointMissing: the refiner is not installed.
    """
    if "refiner" not in card.network:
        return None
    refinement = refinement_of(card, options)
    return None if refinement is None else find_card(refinement.model)


def names_in_use(card: ModelCard, options: DraftOptions) -> str:
    """The name of a model, with that of a refiner other than its card's; raises as :func:`refiner_card`."""
    refiner = None if options.refiner is None else refiner_card(card, options)
    return card.name if refiner is None else f"{card.name} with the refiner {refiner.name}"


def known_to_both(known: Sequence[int], card: ModelCard, options: DraftOptions) -> tuple[int, ...]:
    """Those of the elements ``known`` to a model that the refiner of its drafts was trained on as well.

    A combined model knows what both its drafter and its usual refiner know; with another refiner, or none,
    the elements of the drafter count instead.

    Raises:
        RequestError, CheckpointMissing: as :func:`refiner_card`.
    """
    refiner = refiner_card(card, options)
    if options.refiner is not None and options.back_end is None and "drafter" in card.network:
        known = find_card(str(card.network["drafter"])).elements
    placed = set(known if refiner is None else refiner.elements)
    return tuple(z for z in known if z in placed)


def note_on_sizes(cards: Sequence[ModelCard], sizes: Collection[int]) -> str | None:
    """A sentence for each model whose training cells have other numbers of atoms than some of ``sizes``.

    Models of the same limits share a sentence.
    """
    sentences = []
    limits = {card.name: trained_sizes(card) for card in cards}
    for trained in dict.fromkeys(limits.values()):
        beyond = sorted({size for size in sizes if trained is not None and size not in trained})
        if trained is None or not beyond:
            continue
        names = [name for name, limit in limits.items() if limit == trained]
        guessed = (
            f"cells of {', '.join(map(str, beyond))} atoms"
            if len(beyond) <= MOST_NAMED
            else "other numbers of atoms"
        )
        sentences.append(
            f"{' and '.join(names)} {'was' if len(names) == 1 else 'were'} trained on cells of "
            f"{limits_in_words(trained)}; {guessed} are a guess."
        )
    return " ".join(sentences) or None


def notes_on_rows(
    model: Generator | DeNovoGenerator, options: DraftOptions, rows: Sequence[Sequence[int]]
) -> list[str]:
    """How many of the ``rows`` (atomic numbers of a cell) lie beyond the training of a model or its refiner.

    Raises:
        RequestError, CheckpointMissing: as :func:`refiner_card`.
    """
    card, sentences = model.card, []
    known = getattr(model, "elements", card.elements)
    for one in filter(None, (card, refiner_card(card, options))):
        trained = trained_sizes(one)
        n_beyond = sum(trained is not None and len(row) not in trained for row in rows)
        if trained is not None and n_beyond:
            sentences.append(
                f"{one.name} was trained on cells of {limits_in_words(trained)}; "
                f"{n_beyond:,} of {len(rows):,} rows have other numbers of atoms."
            )
    foreign = {z for row in rows for z in row} - set(known_to_both(tuple(known), card, options))
    if foreign:
        n_foreign = sum(not foreign.isdisjoint(row) for row in rows)
        symbols = ", ".join(symbol_of(z) for z in sorted(foreign)[:MOST_NAMED])
        more = ", …" if len(foreign) > MOST_NAMED else ""
        sentences.append(
            f"{names_in_use(card, options)} was not trained on {symbols}{more}; "
            f"{n_foreign:,} of {len(rows):,} rows hold such an element."
        )
    return sentences


def limits_in_words(trained: range) -> str:
    """The sizes of training cells.

    >>> limits_in_words(range(1, 21)), limits_in_words(range(2, 6)), limits_in_words(range(5, 6))
    ('up to 20 atoms', '2 to 5 atoms', '5 atoms')
    """
    if len(trained) == 1:
        return f"{trained[0]} atoms"
    return f"up to {trained[-1]} atoms" if trained[0] == 1 else f"{trained[0]} to {trained[-1]} atoms"


def note_on_elements(name: str, atomic_numbers: Collection[int], unseen: Collection[int]) -> str | None:
    """A note on elements that no training crystal of a model holds; None without any.

    Args:
        unseen: elements that no training crystal holds.
    """
    foreign = [symbol_of(z) for z in sorted(set(atomic_numbers) & set(unseen))]
    if not foreign:
        return None
    words = f"{name} was trained on no crystal with {', '.join(foreign)}"
    return f"{words}; its values for this crystal are a guess."
