"""The CONFIG of a screening campaign: TOML tables, whose [generate] holds the options of 'generate'."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from crystal_core.cli._files import read_text
from crystal_core.cli._idle import refuse_idle
from crystal_core.cli.generate import generate, request_of
from crystal_core.errors import RequestError
from crystal_core.requests.screening import CHECKS, OF_RELAXING, RankBy, RelaxationLimits, Window

TABLES = ("generate", "filter", "relax", "rank")
# options of the command 'generate' that a campaign has on its own command line, or not at all
NOT_IN_CONFIG = ("out", "trajectory", "queue", "device", "threads", "quiet", "json")
FILES = ("fix", "start_from")
MAX_CONFIG_BYTES = 1_000_000


def read_campaign(path: Path) -> dict[str, Any]:
    """The fields of a screening request that a CONFIG names; ``n`` and ``seed`` only where it does.

    Raises:
        RequestError: no TOML, an unknown key or a wrong value; the sentence names the file and the key.
    """
    try:
        tables: dict[str, Any] = tomllib.loads(read_text(path, MAX_CONFIG_BYTES))
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path.name} is not TOML: {error}.") from None
    try:
        return dict(_fields(tables, path.parent))
    except RequestError as error:
        error.args = (f"{path.name}: {error}",)
        raise


def _fields(tables: dict[str, Any], folder: Path) -> Iterator[tuple[str, Any]]:
    _refuse_unknown("the file", tables, TABLES, "table")
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise RequestError(f"{name} must be a table, [{name}], not {table!r}.")
    options = _options(tables.get("generate", {}), folder)
    for name in ("n", "seed"):
        if options[name] is not None:
            yield name, options[name]
    yield "generate", request_of(options | {"n": 1, "seed": 0})
    yield from _filters(tables.get("filter", {}), relaxes="relax" in tables)
    if "relax" in tables:
        yield "relax", _built(RelaxationLimits, "relax", tables["relax"])
    if "rank" in tables:
        yield "rank", _built(RankBy, "rank", tables["rank"])


def _options(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The parameters of the command 'generate' by name, from a table that writes its options as keys."""
    app = typer.Typer()
    app.command()(generate)
    command = get_command(app)
    known: dict[str, Any] = {  # every way in which an option can be written
        name.lstrip("-"): parameter
        for parameter in command.params
        if parameter.name not in NOT_IN_CONFIG
        for name in parameter.opts
    }
    given = {key.replace("_", "-"): value for key, value in table.items()}
    _refuse_unknown("[generate]", given, known)
    words = [word for key, value in given.items() for word in _words(key, value, known[key], folder)]
    try:
        options = command.make_context("generate", words).params
    except typer.BadParameter as error:
        key = error.param.opts[0].lstrip("-") if error.param else ""
        raise RequestError(f"[generate] {key}: {error.message.rstrip('.')}.") from None
    defaults = {name: parameter.default for name, parameter in inspect.signature(generate).parameters.items()}
    spellings = {str(parameter.name): parameter.opts[0].lstrip("-") for parameter in command.params}
    refuse_idle(("generate", "generate"), options, defaults, spellings)
    return options


def _words(key: str, value: Any, option: Any, folder: Path) -> Iterator[str]:
    """The words of a command line that say ``key = value``."""
    name = option.opts[0]
    if option.is_flag:
        if not isinstance(value, bool):
            raise RequestError(f"[generate] {key} must be true or false, not {value!r}.")
        yield from [name] if value else []
        return
    for one in value if isinstance(value, list) and option.multiple else [value]:
        parts = one if isinstance(one, list) else [one]
        if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in parts):
            raise RequestError(f"[generate] {key} must be a text, a number or a list of them, not {value!r}.")
        text = ",".join(map(str, parts))
        # files are beside the file that names them, wherever the command is called
        yield f"{name}={folder / text if option.name in FILES else text}"


def _filters(table: Mapping[str, Any], *, relaxes: bool) -> Iterator[tuple[str, Any]]:
    """The checks, the predictor and the property windows."""
    from crystal_core.registry.property_cards import declared_properties
    from crystal_core.requests.screening import ScreeningRequest

    checks, predictor = table.get("checks", []), table.get("predictor", ScreeningRequest.predictor)
    if not isinstance(checks, list) or not all(isinstance(name, str) for name in checks):
        raise RequestError(f"[filter] checks must be a list of {', '.join(CHECKS)}, not {checks!r}.")
    for name in checks:
        if name not in CHECKS:
            raise RequestError(f"[filter] checks has no '{name}'; choose from {', '.join(CHECKS)}.")
    yield "checks", tuple(checks)
    yield "predictor", predictor
    known = [spec.name for spec in declared_properties(predictor)] if isinstance(predictor, str) else []
    possible = dict.fromkeys(["checks", "predictor", *(OF_RELAXING if relaxes else ()), *known])
    windows = {key: value for key, value in table.items() if key not in ("checks", "predictor")}
    for name in windows:
        if name in CHECKS:
            raise RequestError(f'[filter] {name} is a check; write checks = ["{name}"].')
    _refuse_unknown("[filter]", windows, possible)
    for name, window in windows.items():
        if not isinstance(window, dict):
            raise RequestError(
                f"[filter] {name} needs the values that pass, e.g. {name} = {{ min = 1, max = 2 }}, "
                f"not {window!r}."
            )
    yield "windows", {name: _built(Window, f"filter.{name}", window) for name, window in windows.items()}


def _built(cls: Any, name: str, table: Mapping[str, Any]) -> Any:
    """The dataclass of a table."""
    _refuse_unknown(f"[{name}]", table, [field.name for field in fields(cls)])
    try:
        return cls(**table)
    except RequestError as error:
        raise RequestError(f"[{name}]: {error}") from None
    except TypeError:
        raise RequestError(f"[{name}] lacks a key; it takes {_listed(cls)}.") from None


def _listed(cls: Any) -> str:
    return ", ".join(field.name for field in fields(cls))


def _refuse_unknown(where: str, table: Mapping[str, Any], known: Any, what: str = "key") -> None:
    unknown = [key for key in table if key not in known]
    if unknown:
        raise RequestError(f"{where} has no {what} '{unknown[0]}'; it takes {', '.join(known)}.")
