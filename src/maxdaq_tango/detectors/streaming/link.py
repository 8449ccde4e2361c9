"""A driver's line to its streamer: typed calls with a deadline, and every failure one of our errors.

A few connections, made when they are needed, so that a stop passes while an arm lasts in another thread.
"""

from __future__ import annotations

import ssl
from typing import TypeVar

import httpx
import msgspec

from maxdaq_tango.detectors.streaming.control import PREFIX
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.model.error_text import ErrorText

CONNECT_TIMEOUT_S = 3.0
MOST_CONNECTIONS = 4
KEEP_ALIVE_S = 2.0
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""There is no TLS here, and reading all certificates costs 23 ms and 3.5 MiB a thread."""

T = TypeVar("T")


class StreamerLink:
    """The control of one streamer, from its driver. Any thread may call.

    Raises DetectorRefused (it said no), DetectorTimeout and DetectorOffline, nothing else.
    """

    def __init__(self, host: str, port: int) -> None:
        """Nothing is sent before the first call."""
        self.url = f"http://{host}:{port}"
        self._client: httpx.Client | None = None

    def call(
        self, command: str, answer: type[T], arguments: msgspec.Struct | None = None, *, timeout_s: float = 5.0
    ) -> T:
        """Ask, and wait at most `timeout_s` for the answer; it is checked to be an `answer`."""
        client = self._client
        if client is None:
            client = self._client = self._connect()
        asked = command if arguments is None else f"{command} {_shown(arguments)}"
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        body = b"{}" if arguments is None else msgspec.json.encode(arguments)
        try:
            response = client.post(PREFIX + command, content=body, timeout=timeout)
        except httpx.ConnectTimeout as error:
            raise DetectorOffline(asked, of=self.url, answer=f"no connection in {CONNECT_TIMEOUT_S:g} s") from error
        except httpx.TimeoutException as error:
            raise DetectorTimeout(asked, of=self.url, answer=f"no answer in {timeout_s:g} s") from error
        except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: another thread has closed the client
            answered = str(error) or type(error).__name__
            raise DetectorOffline(asked, of=self.url, answer=answered, accepted="a streamer that runs") from error
        if response.status_code != httpx.codes.OK:
            raise self._refusal(asked, response)
        try:
            return msgspec.json.decode(response.content, type=answer)
        except (msgspec.MsgspecError, UnicodeError) as error:
            shown = response.text[:200]
            raise DetectorRefused(
                asked, of=self.url, answer=f"{shown} ({error})", accepted="a streamer of ours"
            ) from None

    def close(self) -> None:
        """Let go of the connections; a call under way ends with DetectorOffline. May be used again afterwards."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connect(self) -> httpx.Client:
        limits = httpx.Limits(
            max_connections=MOST_CONNECTIONS, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE_S
        )
        return httpx.Client(base_url=self.url, limits=limits, trust_env=False, verify=_TRUSTS_NOBODY)

    def _refusal(self, asked: str, response: httpx.Response) -> DetectorError:
        try:
            error = msgspec.json.decode(response.content, type=ErrorText)
        except (msgspec.MsgspecError, UnicodeError):
            return DetectorRefused(asked, of=self.url, answer=f"HTTP {response.status_code}: {response.text[:200]}")
        kinds = {503: DetectorOffline, 504: DetectorTimeout}
        kind = kinds.get(response.status_code, DetectorRefused)
        return kind(error.asked or asked, of=error.of or self.url, answer=error.answer, accepted=error.accepted)


def _shown(arguments: msgspec.Struct) -> str:
    text = msgspec.json.encode(arguments).decode()
    return text if len(text) <= 200 else text[:197] + "..."
