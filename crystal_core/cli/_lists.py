"""Option values that hold several words or numbers with commas between them."""

from __future__ import annotations

from crystal_core.errors import RequestError


def words(text: str) -> tuple[str, ...]:
    """The words, each once and in order; empty ones are left out.

    >>> words("kldm, diffcsp,,kldm")
    ('kldm', 'diffcsp')
    """
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def numbers(option: str, text: str) -> tuple[float, ...]:
    """The numbers, in order; empty parts are left out.

    Raises:
        RequestError: a part is no number; the sentence names the option.
    """
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise RequestError(f"{option} takes numbers with commas, e.g. 0.5,1; not '{text}'.") from None


def whole_numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers as :func:`numbers`; an empty text has none, an empty part is refused."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise RequestError(f"{option} takes whole numbers with commas, e.g. 1,2; not '{text}'.") from None
