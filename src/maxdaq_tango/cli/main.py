"""`maxdaq`: the entry point. Finds the command, imports that one alone, and turns errors into one sentence.

`maxdaq --help` must be quick and must not promise what is not installed, so the commands are a table here and a module
is imported only when its command is called. (Typer's own classes for that changed place between its versions; a table
works with all of them.)

Exit status: 0 it worked; 1 it did not; 2 it was asked wrongly; 130 and 143 Ctrl-C and SIGTERM ended it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from maxdaq_tango.errors import ConfigurationError, MaxdaqError


class Command(NamedTuple):
    """One line of the table."""

    panel: str
    summary: str


COMMANDS = {
    "demo": Command("Start here", "Take a series with a simulated Eiger, check every pixel, tidy up."),
    "up": Command("Run", "Start what a topology file describes, and keep it running."),
    "simulate": Command("Run", "Start one simulated detector."),
    "receive": Command("Run", "Take one series from a stream into a file, without Tango."),
    "record": Command("Data", "Write a stream down as it comes, message by message."),
    "replay": Command("Data", "Send a recorded stream again."),
    "check": Command("Data", "Compare a file with its receipt, frame by frame."),
    "recover": Command("Data", "Make readable what a killed receiver has left."),
    "keys": Command("Data", "Make a pair of keys for streams of our own (CURVE)."),
    "explain": Command("Data", "Tell what happened to a run that is not COMPLETE, and the likely cause."),
    "bench": Command("Look closer", "Measure this machine."),
    "soak": Command("Look closer", "Take random acquisitions with random faults; compare every receipt."),
}
"""Each is a module `maxdaq_tango.cli.NAME` with a function of the same name; one that is not there is not offered."""

DEBUG_OPTION = "--debug"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `maxdaq` with `arguments` (those of the process when None) and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG_OPTION in words
    words = [word for word in words if word != DEBUG_OPTION]
    wanted = next((word for word in words if not word.startswith("-")), None)
    try:
        application(wanted)(words, prog_name="maxdaq")
    except KeyboardInterrupt:
        print("maxdaq: interrupted", file=sys.stderr)
        sys.exit(130)
    except MaxdaqError as error:
        _fail(error, 2 if isinstance(error, ConfigurationError) else 1, words, debug)
    except Exception as error:
        _fail(error, 1, words, debug)
    sys.exit(0)


def application(wanted: str | None) -> typer.Typer:
    """All commands as a Typer application, of which only `wanted` can be run (all when a shell asks to complete)."""
    application = typer.Typer(
        name="maxdaq",
        help="Control and data acquisition for X-ray area detectors, with Tango.",
        epilog="A first look: maxdaq demo",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    application.callback()(_global_options)
    completing = "_MAXDAQ_COMPLETE" in os.environ
    for name, command in COMMANDS.items():
        module = f"{__package__}.{name}"
        if importlib.util.find_spec(module) is None:
            continue
        function: Callable[..., Any] = _not_loaded
        if name == wanted or completing:
            function = getattr(importlib.import_module(module), name)
        application.command(
            name,
            short_help=command.summary,
            help=_paragraphs(function),
            rich_help_panel=command.panel,
            no_args_is_help=False,
        )(function)
    return application


def _paragraphs(function: Callable[..., Any]) -> str:
    """The docstring with its lines joined: a terminal breaks them where it wants."""
    text = inspect.getdoc(function) or ""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _not_loaded() -> None:
    """Stands in the list of commands for one that was not asked for."""


def _version(wanted: bool) -> None:
    if wanted:
        from maxdaq_tango import __version__

        typer.echo(f"maxdaq {__version__}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG_OPTION, help="Show where in the program an error arose.")] = False,
) -> None:
    """`--debug` may stand anywhere; `main` has taken it out already, here it is only explained."""


def _fail(error: Exception, status: int, words: list[str], debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    expected = isinstance(error, MaxdaqError)
    text = str(error) if expected else f"unexpected {type(error).__name__}: {error}. `--debug` shows where"
    if "--json" in words:
        print(json.dumps({"error": text, "kind": type(error).__name__}), flush=True)
    print(f"maxdaq: {text}", file=sys.stderr, flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
