"""Every command that the documents or the cards name can be typed: the command exists, and so does
each of its options.
"""

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from crystal_core.cli import COMMANDS, build_app
from crystal_core.registry.store import list_cards

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMED = re.compile(
    r"`((?:crystal-core|python -m) [^`]+)`|^ {4}((?:crystal-core|python -m) .+)$", re.MULTILINE
)


def commands_of(text):
    """Commands in inline code and in indented blocks, without the comments behind them."""
    commands = [inline or line for inline, line in NAMED.findall(text)]
    return [re.sub(r"\s+#.*|\s+…", " ", " ".join(one.split())).strip() for one in commands]


@cache
def parameters_of(path):
    """The options of a command."""
    command = typer.main.get_command(build_app())
    for word in path.split():
        command = command.commands[word]
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }


def path_of(words):
    """The path of a command among its words, such as "evaluate csp"; None for another one."""
    return next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)


def problem_of(command):
    """Why a command cannot be typed; None if it can."""
    words = shlex.split(command)
    if words[:2] == ["python", "-m"]:
        return None if find_spec(words[2]) else f"there is no module {words[2]}"
    words = words[1:]
    path = path_of(words)
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    if path is None:
        return (
            None
            if words[0] in {"COMMAND", "--help"} or words in [[group] for group in groups]
            else "no such command"
        )
    unknown = [
        word for word in words if word.startswith("--") and word.split("=")[0] not in parameters_of(path)
    ]
    return f"no option {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_a_document_exists(path):
    commands = commands_of(path.read_text(encoding="utf-8"))
    assert not {one: problem for one in commands if (problem := problem_of(one))}


def test_every_command_stands_in_the_list_of_commands():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = {path_of(shlex.split(command)[1:]) for command in commands_of(text)}
    assert not set(COMMANDS) - listed


def named_in(table):
    """The commands of a card or of a stored result, wherever in it they stand."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from named_in(value)
        elif key == "command":
            yield from (part.strip() for part in value.split(";"))
        elif isinstance(value, str):
            yield from commands_of(value)


def test_every_command_of_a_card_or_a_stored_result_exists():
    cards = [t for card in list_cards() for t in (card.metrics, card.sampling, card.extra, card.network)]
    files = [json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "crystal_core").rglob("*.json")]
    commands = {
        command for table in [*cards, *files] if isinstance(table, Mapping) for command in named_in(table)
    }
    assert len(commands) > 30
    assert not {one: problem for one in commands if (problem := problem_of(one))}


def test_a_wrong_command_is_noticed():
    text = (
        "Run `crystal-core train --speed 3`.\n\n    crystal-core evaluate everything\n    python -m "
        "crystal_core.no_such # why\n"
    )
    assert [problem_of(one) for one in commands_of(text)] == [
        "no option --speed",
        "no such command",
        "there is no module crystal_core.no_such",
    ]


@pytest.mark.parametrize("path", COMMANDS)
def test_help_says_what_every_option_is_for(path):
    command = typer.main.get_command(build_app())
    for word in path.split():
        command = command.commands[word]
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", "")] == []
