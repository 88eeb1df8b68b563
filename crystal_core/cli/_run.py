"""Shared by all commands: exit codes, one JSON object on stdout, plain sentences on stderr."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, cast, get_args

import typer
from typer.core import TyperGroup

from crystal_core.cli import options
from crystal_core.cli._idle import refuse_idle
from crystal_core.errors import CrystalCoreError
from crystal_core.interruption import Interruption, exit_code, raise_interrupts, termination, words_of

P = ParamSpec("P")
SECONDS_BETWEEN_LINES = 30.0  # of progress, where there is no terminal


class OneSentence(TyperGroup):
    """The root of all commands: a wrong option or argument is one sentence on stderr, with exit code 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        def run() -> Any:
            return super(OneSentence, self).main(
                args, prog_name, complete_var, False, windows_expand_args, **extra
            )

        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.Abort:
            say("Interrupted.")
            code = 130
        except Exception as error:
            sentence = getattr(error, "format_message", None)
            if sentence is None:
                raise
            context = getattr(error, "ctx", None)
            text = " ".join(sentence().split())
            # an error without text: a call without a command, whose help is printed already
            if text:
                say(
                    text
                    + ("" if text.endswith((".", "?")) else ".")
                    + (f" See '{context.command_path} --help'." if context else "")
                )
            code = getattr(error, "exit_code", 2)
        sys.exit(code or 0)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into the contract's exit codes: 2 wrong request, 3 missing part, 130 interrupt, 1 else.

    SIGTERM ends a command as Ctrl+C does, with exit code 143.
    A command that has no progress to tell takes ``--quiet`` too, so that scripts need not know which do.
    """
    signature = inspect.signature(function, eval_str=True)
    telling = "quiet" in signature.parameters
    name = (function.__module__.rpartition(".")[2], function.__name__)
    defaults = {key: parameter.default for key, parameter in signature.parameters.items()}
    spellings = {key: _option(key, parameter.annotation) for key, parameter in signature.parameters.items()}

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        if not telling:
            kwargs.pop("quiet", None)
        raise_interrupts()
        try:
            with warnings.catch_warnings(), termination():
                if not os.environ.get("CRYSTAL_DEBUG"):
                    # libraries warn developers; stderr here is for sentences and progress
                    warnings.simplefilter("ignore")
                refuse_idle(name, kwargs, defaults, spellings)
                function(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise  # typer's own ways to end: they carry their code
        except CrystalCoreError as error:
            say(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as interrupt:
            say(words_of(interrupt))
            raise typer.Exit(exit_code(interrupt)) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None
        except Exception as error:
            if os.environ.get("CRYSTAL_DEBUG"):
                raise
            logging.getLogger(__name__).debug("unexpected", exc_info=True)
            say(f"{sentence_of(error)} Set CRYSTAL_DEBUG=1 to see where.")
            raise typer.Exit(1) from None

    if not telling:
        quiet = inspect.Parameter(
            "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=options.Quiet
        )
        signature = signature.replace(parameters=[*signature.parameters.values(), quiet])
    guarded.__signature__ = signature  # type: ignore[attr-defined]
    guarded.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return guarded


def _option(name: str, annotation: Any) -> str:
    """The name of a parameter on the command line."""
    for part in get_args(annotation)[1:]:
        # typer keeps the first name of an annotated option as its default
        if isinstance(getattr(part, "default", None), str):
            return part.default
    return f"--{name.replace('_', '-')}"


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function (text, done, of) that shows progress; it does nothing if quiet.

    On a terminal it draws a bar; elsewhere it writes a line per new text and every 30 s.
    """
    if quiet:
        yield lambda _text, _done, _of: None
        return
    if not sys.stderr.isatty():
        last, last_time = "", 0.0

        def line(text: str, done: int, of: int) -> None:
            nonlocal last, last_time
            if text != last or time.monotonic() > last_time + SECONDS_BETWEEN_LINES:
                last, last_time = text, time.monotonic()
                say(f"{text} ({100 * done // max(1, of)} %)")

        yield line
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda text, done, of: bar.update(
            task, description=escape(text), completed=done, total=max(1, of)
        )


def interruptible() -> Interruption:
    """An interruption that ends loops early and says so, as the report that follows takes a while."""
    return Interruption(
        lambda: say("Stopped; the report covers what is finished. Interrupt again to end without it.")
    )


def conclude(
    report: Mapping[str, Any], stop: Interruption, show: Callable[[Any], None], *, json: bool
) -> None:
    """Print a report, and then go on with the interruption that ended its loops, if there was one."""
    if json:
        emit(report)
    else:
        show(report)
        if stop:
            typer.echo(f"Interrupted; covers {report['covers']}.")
    stop.end()


def goes_on_card(stop: Interruption, *, write_card: bool) -> bool:
    """Whether a result goes on a card; that of an interrupted run never does, and people are told."""
    if stop and write_card:
        say("The run was interrupted, so no card is written.")
    return write_card and not stop


def sentence_of(error: Exception) -> str:
    """The message of an error that ends no command: our sentence, or type and text of an unexpected one."""
    if isinstance(error, CrystalCoreError):
        return str(error)
    return f"Something unexpected went wrong: {type(error).__name__}: {error}."


def error_line(source: str, error: str) -> str:
    """A line on what is wrong with an item; an error that names its source does so once."""
    return error if error.startswith(source) else f"{source}: {error}"


def set_threads(threads: int | None) -> None:
    """Set the CPU threads of the networks; None changes nothing."""
    if threads:
        from crystal_core.device import use_threads

        use_threads(threads)


def emit(data: Mapping[str, Any]) -> None:
    """Print ``data`` as the one JSON object on stdout."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def refiner_step(tau: float | None) -> int | None:
    """A step of the refiner; the request refuses anything but a whole number."""
    return int(tau) if tau is not None and tau == int(tau) else cast("int | None", tau)
