"""The control of a streamer: a few commands over HTTP, each typed, for its driver and for a person with curl.

    curl -s http://camera-pc:9998/streamer/api/status
    curl -s http://camera-pc:9998/streamer/api/stop -X POST

A command gets a JSON object and answers a JSON value with status 200. What it refuses comes back as the parts of the
error, status 409 (503 when the hardware cannot be reached, 504 when it was too slow); what nobody foresaw is 500.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgspec

from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply, Request, json_reply
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorTimeout, MaxdaqError
from maxdaq_tango.model.error_text import ErrorText

log = logging.getLogger(__name__)

PREFIX = "/streamer/api/"


@dataclass(frozen=True)
class Command:
    """What can be asked."""

    run: Callable[..., Any]
    """Gets the arguments, or nothing where there are none. Called in a thread of the connection; may block, and must
    let others pass: a stop comes while an arm lasts."""
    arguments: type[msgspec.Struct] | None = None
    reads: bool = False
    """Changes nothing: GET will do."""


class StreamerControl:
    """Serves commands. `with StreamerControl(host, port, commands) as control: ... control.port ...`

    Port 0 takes a free one.
    """

    def __init__(self, host: str, port: int, commands: Mapping[str, Command]) -> None:
        self._commands = dict(commands)
        self._answering = threading.Lock()
        self._listener = HttpListener(host, port, self._serve)
        self.port = self._listener.port

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up and join. A command under way must have been told to end. May be called twice."""
        self._listener.close()

    def _serve(self, request: Request) -> Reply:
        name = request.path.removeprefix(PREFIX)
        command = self._commands.get(name) if request.path.startswith(PREFIX) else None
        try:
            if command is None:
                raise ConfigurationError(f"serve {request.path}", accepted=self._accepted())
            if request.method != "POST" and not (command.reads and request.method == "GET"):
                raise ConfigurationError(f"{request.method} {request.path}", accepted="POST")
            if command.arguments is None:
                return json_reply(command.run())
            try:
                arguments = msgspec.json.decode(request.body or b"{}", type=command.arguments)
            except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
                fields = ", ".join(field.encode_name for field in msgspec.structs.fields(command.arguments))
                raise ConfigurationError(
                    f"{name}", answer=str(error), accepted=f"a JSON object with {fields}"
                ) from None
            return json_reply(command.run(arguments))
        except DetectorOffline as error:
            return _refusal(503, error)
        except DetectorTimeout as error:
            return _refusal(504, error)
        except MaxdaqError as error:
            return _refusal(409 if command else 404, error)
        except Exception as error:  # whatever a vendor's library does, the driver shall hear of it
            log.exception("%s failed", request.path)
            return _refusal(500, MaxdaqError(f"{name}", answer=f"internal error, please report it: {error!r}"))

    def _accepted(self) -> str:
        return ", ".join(
            f"{'GET' if command.reads else 'POST'} {PREFIX}{name}" for name, command in self._commands.items()
        )


def _refusal(status: int, error: MaxdaqError) -> Reply:
    return Reply(status, msgspec.json.encode(ErrorText.of_error(error)))
