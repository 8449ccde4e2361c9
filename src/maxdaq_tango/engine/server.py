"""The engine: `python -m maxdaq_tango.engine --control-fd N --counters-fd M --blackbox-fd L --preview-fd K`.

It serves one owner over an inherited socket pair. When the owner goes away without a word, or SIGTERM comes, the run
that is on is stopped in order (a few seconds for what is still on the way), its file is closed and the engine ends.
"""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from maxdaq_tango import __version__
from maxdaq_tango.engine.counters import CountersMemory
from maxdaq_tango.engine.preview_memory import PreviewMemory
from maxdaq_tango.engine.protocol import Answer, Ask, ErrorText, Told, Verb
from maxdaq_tango.errors import ConfigurationError, EngineError, MaxdaqError
from maxdaq_tango.files import write_scan_master
from maxdaq_tango.kernels.framing import compile_kernels
from maxdaq_tango.model import RunRequest, ScanMaster, encoded
from maxdaq_tango.pipeline import Receiver, RunReport
from maxdaq_tango.pipeline.blackbox import BlackBox
from maxdaq_tango.pipeline.memory import keep_freed_memory
from maxdaq_tango.pipeline.newest import NewestFrame
from maxdaq_tango.pipeline.sampler import Sampler

LAST_WORDS_S = 10.0
"""How long a run may go on after the owner is gone."""

log = logging.getLogger(__name__)


class EngineServer:
    """Dispatches what the owner asks; every method runs in the main thread, `_tell` also in the collector's."""

    def __init__(
        self, control: socket.socket, counters: CountersMemory, blackbox: BlackBox, preview: PreviewMemory
    ) -> None:
        self._control = control
        self._send_lock = threading.Lock()  # answers and tellings must not mix on the wire
        newest = NewestFrame()
        self._sampler = Sampler(newest, preview.settings, preview.show)
        self._receiver = Receiver(
            self._tell, counters.write, software=f"maxdaq-tango {__version__}", blackbox=blackbox, newest=newest
        )
        self._decisions: dict[str, str] = {}
        self._verbs: dict[Verb, Callable[[dict[str, Any]], None]] = {
            Verb.PREPARE: self._prepare,
            Verb.EXPECT: lambda words: self._receiver.expect(words.get("series"), words.get("frames")),
            Verb.STOP: lambda words: self._receiver.stop(str(words.get("finished", ""))),
            Verb.ABORT: lambda words: self._receiver.abort(str(words.get("reason", ""))),
            Verb.LINK: self._link,
            Verb.RESET: lambda words: self._receiver.reset(),
        }

    def serve(self) -> None:
        """Until SHUTDOWN or the end of the conversation, in whatever way it ends: then the file is closed."""
        self._sampler.start()
        try:
            self._converse()
        finally:
            self._receiver.stop()
            if not self._receiver.join(LAST_WORDS_S):
                self._receiver.abort("the owner of the engine is gone")
            self._receiver.close()
            self._sampler.close()

    def _converse(self) -> None:
        decoder = msgspec.json.Decoder(Ask)
        with self._control.makefile("rb") as lines:
            try:
                for line in lines:
                    ask = decoder.decode(line)
                    if ask.verb is Verb.SHUTDOWN:
                        self._send(Answer(id=ask.id))
                        return
                    self._send(Answer(id=ask.id, error=self._answer(ask)))
            except (OSError, msgspec.MsgspecError, UnicodeError) as error:
                # An owner that was killed leaves half a line, or, with something unread, a reset instead of an end.
                log.warning("the owner is gone, or is none: %s", error)

    def _answer(self, ask: Ask) -> ErrorText | None:
        try:
            self._verbs[ask.verb](ask.arguments)
        except MaxdaqError as error:
            return ErrorText.of_error(error)
        except Exception as error:  # the door of the process: the owner must hear of a bug, not wait for ever
            log.exception("while doing %s", ask.verb)
            return ErrorText.of_error(EngineError(f"do '{ask.verb}'", answer=f"{type(error).__name__}: {error}"))
        return None

    def _prepare(self, words: dict[str, Any]) -> None:
        try:
            request = msgspec.convert(words, RunRequest)
        except msgspec.ValidationError as error:
            raise ConfigurationError("prepare a run", answer=str(error), accepted="the fields of RunRequest") from None
        self._receiver.prepare(request)

    def _link(self, words: dict[str, Any]) -> None:
        try:
            master = msgspec.convert(words["master"], ScanMaster)
        except (msgspec.ValidationError, KeyError) as error:
            raise ConfigurationError("write a scan master", answer=str(error), accepted="a ScanMaster") from None
        write_scan_master(master, words["roots"], f"maxdaq-tango {__version__}")

    def _tell(self, report: RunReport) -> None:
        if "backend" in report.decisions and report.decisions != self._decisions:
            self._decisions = report.decisions
            log.info("run %s decided: %s", report.run_id, "; ".join(f"{k}: {v}" for k, v in report.decisions.items()))
        if report.receipt is not None:
            receipt = report.receipt
            log.info(
                "run %s series %s: %s, %s received, %s written, %d missing, %d bytes in %.3f s, file %s%s",
                receipt.run_id, receipt.series, receipt.verdict.value, receipt.frames_received, receipt.frames_written,
                receipt.frames_missing_count, receipt.bytes_received, receipt.seconds, receipt.file or "none",
                "".join(f"; {reason}" for reason in receipt.reasons),
            )  # fmt: skip
        self._send(msgspec.convert(report, Told, from_attributes=True))

    def _send(self, message: Answer | Told) -> None:
        line = encoded(message) + b"\n"
        with self._send_lock:
            try:
                self._control.sendall(line)
            except OSError:
                log.warning("the owner is gone; not told: %s", line[:200])


def main() -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(prog="python -m maxdaq_tango.engine")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--counters-fd", type=int, required=True)
    parser.add_argument("--blackbox-fd", type=int, required=True)
    parser.add_argument("--preview-fd", type=int, required=True)
    parser.add_argument("--name", default="engine")
    arguments = parser.parse_args()
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {arguments.name} %(levelname)s %(message)s")
    control = socket.socket(fileno=arguments.control_fd)
    # Ctrl-C in a terminal reaches the whole process group; the owner decides what it means for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: control.shutdown(socket.SHUT_RD))
    compile_kernels()  # now, as it would take the first frames' time
    gc.freeze()  # or the collector of garbage looks through all of numba while frames come
    counters, blackbox = CountersMemory(arguments.counters_fd), BlackBox(arguments.blackbox_fd)
    EngineServer(control, counters, blackbox, PreviewMemory(arguments.preview_fd)).serve()
