"""Names of files in answers: the last part of a path, with the folders that tell equal ones apart."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 80  # characters


def clean_name(name: str) -> str:
    """The last part of a file name on one line, without control characters, at most 80 characters."""
    return _joined(_parts(name)[-1:])


def distinct_names(paths: Sequence[str]) -> list[str]:
    """The name of each path, preceded by as many folders as tell it from other paths of the same name.

    >>> distinct_names(["a/1/POSCAR", "a/2/POSCAR", "a/2/b.cif"])
    ['1/POSCAR', '2/POSCAR', 'b.cif']
    """
    parts = [_parts(path) for path in paths]
    names = []
    for own in parts:
        others = [other for other in parts if other != own]
        depth = 1
        while depth < len(own) and any(other[-depth:] == own[-depth:] for other in others):
            depth += 1
        names.append(_joined(own[-depth:]))
    return names


def _parts(path: str) -> tuple[str, ...]:
    parts = ("".join(filter(str.isprintable, part)) for part in path.replace("\\", "/").split("/"))
    return tuple(part for part in parts if part not in ("", ".", ".."))


def _joined(parts: Sequence[str]) -> str:
    """The end counts where the whole is too long: folders go first."""
    name = "/".join(parts)
    return (name if len(name) <= LONGEST or len(parts) == 1 else name[-LONGEST:])[:LONGEST] or "unnamed"
