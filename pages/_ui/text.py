"""Text for the pages: foreign text literally in Streamlit's Markdown, durations in usual words."""

from __future__ import annotations

import re

# ASCII punctuation: each character may be escaped in CommonMark, and then has no meaning; what has none where
# it stands is left alone, because screen readers read the label of a field with its backslashes
MARKS = re.compile(
    r"""(?![,;%/('"] | (?<=[^\W_])[-_](?=[^\W_]) | (?<=\d)\.(?=\d) | (?<!\d)\))
    ([!-/:-@\[-`{-~])""",
    re.VERBOSE,
)


def escape_markdown(text: object) -> str:
    """``text`` as Markdown that shows exactly these characters: no picture, link, format or new line."""
    return MARKS.sub(r"\\\1", " ".join(str(text).split()))


def sentence_case(words: str) -> str:
    """The first letter large, the others as they are, such as those of a formula."""
    return words[:1].upper() + words[1:]


def not_installed(kind: str) -> str:
    """What to do where no model of a kind is installed."""
    return (
        f"No {kind} is installed. Put the folder of a checkpoint (card.toml and weights) into checkpoints/, "
        "or train one as docs/training.md says."
    )


def duration(seconds: float) -> str:
    """A time as people say it: ``40 s``, ``2 min``, ``1 h 5 min``; from two minutes on in whole minutes."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours and minutes else f"{hours} h" if hours else f"{minutes} min"
