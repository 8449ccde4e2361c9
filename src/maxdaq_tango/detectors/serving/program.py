"""A simulator or streamer as a program: options that all have, one line of JSON when it is ready, and how it ends.

It ends on SIGTERM, on SIGINT, and with --exit-with-parent when its standard input is closed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import zmq

from maxdaq_tango.errors import ConfigurationError

Server = TypeVar("Server")


def new_parser(name: str, description: str) -> argparse.ArgumentParser:
    """With the options that every program has; it adds its own."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="HTTP; 0 = any free port")
    parser.add_argument("--curve-key", default="", metavar="FILE", help="key file: the streams speak CURVE")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    return parser


def serve(
    name: str,
    given: argparse.Namespace,
    make: Callable[[], AbstractContextManager[Server]],
    ready: Callable[[Server], dict[str, Any]],
) -> int:
    """Run what `make` makes until it is told to end; returns the exit status. `ready`: what is said beside the host."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        with make() as server:
            if given.exit_with_parent:
                # Daemon: nothing can wake a thread that reads standard input, and it holds nothing.
                threading.Thread(
                    target=_wait_for_end_of_input, args=(ended,), name=f"{name} parent", daemon=True
                ).start()
            print(json.dumps({**ready(server), "host": given.host}), flush=True)
            ended.wait()
    except ConfigurationError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except (OSError, zmq.ZMQError) as error:
        print(f"{name}: cannot serve on {given.host}: {error}", file=sys.stderr)
        return 1
    return 0


def _wait_for_end_of_input(ended: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    ended.set()
