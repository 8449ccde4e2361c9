"""Makes a stream of the image files of a camserver: a program beside it, or wherever its image folder is mounted.

    python -m maxdaq_tango.detectors.pilatus.streamer --folder /ramdisk --stream-port 9999 --port 8889

The driver says which series comes (`begin`) and that it is over (`finish`, `abort`); images are files that are renamed
into the folder. They are sent as STINS whose message numbers follow from the numbers in the file names, so that an
image which never came is a gap. The end message leaves behind the last image, or when the driver says that no more will
come.

A receiver that is slow or gone holds up nothing but the stream: what waits are names, and `finish` and `abort` return
at once. Files are deleted only when told to (`--delete`), one by one, and not before ZeroMQ has handed the image to the
network (`delivered_files.py`); what was not sent stays where it is.

Threads: one watches the folder, one reads and sends, one accepts HTTP, one serves each HTTP connection.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import zmq

from maxdaq_tango.detectors.pilatus import streamer_words
from maxdaq_tango.detectors.pilatus.delivered_files import DeliveredFiles
from maxdaq_tango.detectors.pilatus.folder_watch import FolderWatch
from maxdaq_tango.detectors.pilatus.image_files import EXTENSIONS, exposure_in, frame_of
from maxdaq_tango.detectors.pilatus.image_reading import read_image
from maxdaq_tango.detectors.pilatus.streamer_series import SeriesFiles
from maxdaq_tango.detectors.pilatus.streamer_words import MOST_FRAMES, SeriesWish, StreamerStatus
from maxdaq_tango.detectors.serving.program import new_parser, serve
from maxdaq_tango.detectors.streaming.control import Command, StreamerControl
from maxdaq_tango.detectors.streaming.outlet import StinsSeries, StreamOutlet
from maxdaq_tango.errors import DetectorRefused, WireError

log = logging.getLogger(__name__)

LOOK_S = 1.0
END_AFTER_ABORT_S = 0.5
"""How long the end message of an aborted series waits for a receiver with room."""
DELETE_LOOK_S = 0.05
"""Between two looks for images that have left, while some are to be deleted."""
AFTER_TROUBLE_S = 0.5
"""Pause of a thread after something that nobody foresaw, lest it fill the log."""


@dataclass
class _Series:
    """One series, from `begin` to its end message."""

    files: SeriesFiles
    aborted: threading.Event = field(default_factory=threading.Event)
    waiting: deque[str] = field(default_factory=deque)
    """Names of files to send, in the order in which they came."""
    header_sent: bool = False
    finishing: bool = False
    """No more files will come, but not all that came may have been heard of."""
    over: bool = False
    """Nor is there one that has not been heard of."""
    closed: bool = False
    """Nothing more will be sent."""
    unsent: int = 0
    """Frames that did not become messages: unreadable, or given up before they were read."""


class PilatusStreamer:
    """`with PilatusStreamer(folder) as streamer: ... streamer.port, streamer.stream_port ...`

    Ports 0 take free ones.
    """

    def __init__(
        self,
        folder: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        stream_port: int = 0,
        delete: bool = False,
        curve_key: str = "",
    ) -> None:
        self.folder, self._delete = os.path.abspath(folder), delete
        self._outlet = StreamOutlet(host, stream_port, key_file=curve_key, watch_peers=delete)
        self.stream_port = self._outlet.port
        try:
            self._watch = FolderWatch(self.folder)
        except OSError:
            self._outlet.close()
            raise
        self._stins = StinsSeries(self._outlet)
        self._changed = threading.Condition()  # guards everything below
        self._pending: deque[_Series] = deque()
        """Series that have something to send, the oldest first."""
        self._newest: _Series | None = None
        self._count = self._strangers = 0
        self._last_trouble = ""
        self._closing = False
        self._pause = threading.Event()  # set when it closes
        self._delivered = DeliveredFiles(self._outlet.lost_peers, self._tell)
        self._threads = [
            threading.Thread(target=self._watch_folder, name="pilatus-streamer-watch"),
            threading.Thread(target=self._send, name="pilatus-streamer-send"),
        ]
        commands = {
            streamer_words.BEGIN: Command(self.begin, SeriesWish),
            streamer_words.FINISH: Command(self.finish),
            streamer_words.ABORT: Command(self.abort),
            streamer_words.STATUS: Command(self.status, reads=True),
        }
        try:
            self._control = StreamerControl(host, port, commands)
        except OSError:
            self._watch.close()
            self._outlet.close()
            raise
        self.port = self._control.port

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._control.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and join; what has not been sent stays in the folder. May be called twice."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._pause.set()
            self._changed.notify_all()
        self._watch.wake()
        self._control.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._watch.close()
        self._outlet.close(int(END_AFTER_ABORT_S * 1000))

    # --- commands -----------------------------------------------------------------------------------------------------

    def begin(self, wish: SeriesWish) -> StreamerStatus:
        """Expect a series; its header leaves now. One that is still open is aborted."""
        files = SeriesFiles(wish, EXTENSIONS, MOST_FRAMES)
        if self._watch.trouble:
            raise DetectorRefused(
                f"stream {wish.base}", of="the Pilatus streamer", answer=self._watch.trouble, accepted="a folder"
            )
        with self._changed:
            self._abort()
            self._newest = _Series(files)
            self._pending.append(self._newest)
            self._count += 1
            self._changed.notify_all()
            return self._status()

    def finish(self) -> StreamerStatus:
        """No more images will come: the end follows behind those that are there. Returns at once."""
        with self._changed:
            series = self._newest
            if series is not None and not series.over:
                series.finishing = True
                self._watch.wake()
            return self._status()

    def abort(self) -> StreamerStatus:
        """Send nothing more but the end. Returns at once."""
        with self._changed:
            self._abort()
            return self._status()

    def status(self) -> StreamerStatus:
        """What it has to say."""
        with self._changed:
            return self._status()

    def _abort(self) -> None:
        series = self._newest
        if series is not None and not series.closed:
            series.over = True
            series.aborted.set()
            self._changed.notify_all()

    def _status(self) -> StreamerStatus:
        series = self._newest
        files = series.files if series is not None else None
        # The counts are those of the series whose header left last.
        running = series is not None and series.header_sent
        return StreamerStatus(
            folder=self.folder,
            stream_port=self.stream_port,
            trouble=self._watch.trouble,
            series=self._count,
            base=files.wish.base if files is not None else "",
            is_open=series is not None and not series.closed,
            files_seen=files.seen if files is not None else 0,
            frames_sent=self._stins.frames_sent if running else 0,
            frames_lost=self._stins.frames_lost + series.unsent if running and series is not None else 0,
            files_waiting=len(series.waiting) if series is not None else 0,
            files_deleted=self._delivered.deleted,
            files_kept=self._delivered.kept,
            strangers=self._strangers,
            last_trouble=self._last_trouble,
        )

    # --- the folder ---------------------------------------------------------------------------------------------------

    def _watch_folder(self) -> None:
        finishing: _Series | None = None
        while not self._closing:
            try:
                finishing = self._watch_once(finishing)
            except Exception as error:  # the root of a thread: whoever waits for images must hear of it
                self._unforeseen(error)

    def _watch_once(self, finishing: _Series | None) -> _Series | None:
        """One look; the series of which only what has not been heard yet is waited for."""
        names, missed = self._watch.wait(0.0 if finishing else LOOK_S)
        with self._changed:
            if self._closing:
                return None
            for name in names:
                self._came(name)
            series = self._newest
            if series is None or series.over:
                return None
            heard_all = series is finishing and not names
            if missed or heard_all:
                self._look_through_folder(series)
            if heard_all:
                series.over = True
                self._changed.notify_all()
            return series if series.finishing and not series.over else None

    def _came(self, name: str) -> None:
        """With the lock. A file that comes once more is sent once more: it is another one."""
        series = self._newest
        number = None if series is None or series.closed else series.files.number_of(name)
        if series is None or number is None:
            self._strangers += 1
            return
        if series.files.came(number):
            self._queue(series, name)

    def _queue(self, series: _Series, name: str) -> None:
        series.waiting.append(name)
        series.over = series.over or series.files.complete
        self._changed.notify_all()

    def _look_through_folder(self, series: _Series) -> None:
        """With the lock. Files whose events were lost, or have not been read yet."""
        try:
            names = os.listdir(self.folder)
        except OSError as error:
            self._last_trouble = str(error)
            return
        numbers = {number: name for name in names if (number := series.files.number_of(name)) is not None}
        for number in sorted(numbers):
            if series.files.found(number):
                self._queue(series, numbers[number])

    # --- the stream ---------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        while not self._closing:
            series, name = self._next()
            try:
                if series is not None:
                    self._go_on(series, name)
                self._delivered.tidy()
            except Exception as error:  # the root of a thread: a stream that rests without a word is the worst
                self._unforeseen(error)
                self._give_up(series, name)
        self._delivered.tidy()

    def _next(self) -> tuple[_Series | None, str | None]:
        """What to send from, and its next file; waits a moment where there is nothing to do."""
        with self._changed:
            if self._closing:
                return None, None
            series = self._pending[0] if self._pending else None
            name = self._next_name(series)
            if series is None or (name is None and series.header_sent and not series.over):
                self._changed.wait(DELETE_LOOK_S if self._delivered.must_look else LOOK_S)
            return series, name

    def _give_up(self, series: _Series | None, name: str | None) -> None:
        """What could not be sent is not tried again: the frame, or with its header or end the whole series."""
        with self._changed:
            if series is None or series.closed:
                return
            if name is not None:
                series.unsent += 1
            else:
                self._closed(series)

    def _unforeseen(self, error: Exception) -> None:
        log.error("the streamer goes on after what nobody foresaw", exc_info=error)
        self._tell(f"internal error, please report it: {error!r}")
        self._pause.wait(AFTER_TROUBLE_S)

    def _tell(self, trouble: str) -> None:
        with self._changed:
            self._last_trouble = trouble

    def _next_name(self, series: _Series | None) -> str | None:
        """With the lock."""
        if series is None or not series.header_sent or series.aborted.is_set() or not series.waiting:
            return None
        return series.waiting.popleft()

    def _go_on(self, series: _Series, name: str | None) -> None:
        """One message."""
        if not series.header_sent:
            wish = series.files.wish
            self._stins.begin(wish.filename, wish.metadata, lambda: self._enough(series))
            series.header_sent = True
        elif name is not None:
            self._send_file(series, name)
        elif series.over and (series.aborted.is_set() or not series.waiting):
            self._close(series)

    def _enough(self, series: _Series) -> bool:
        return self._closing or series.aborted.is_set()

    def _send_file(self, series: _Series, name: str) -> None:
        path, number = os.path.join(self.folder, name), series.files.number_of(name)
        assert number is not None
        try:
            image = read_image(path)
            wish, data = series.files.wish, image.data
            exposure_s = None if wish.gated else exposure_in(data)
            frame = frame_of(data, wish.extension, number, series.files.shape, exposure_s)
        except (OSError, WireError) as error:
            log.warning("image %s: %s", path, error)
            with self._changed:
                series.unsent += 1
                self._last_trouble = f"{name}: {error}"
            return
        series.files.shape = frame.format.shape
        sent = self._stins.frame(frame, lambda: self._enough(series), track=True, in_step=True)
        if self._delete and isinstance(sent, zmq.MessageTracker):
            self._delivered.handed_over(sent, path, image.inode, len(image.data))

    def _close(self, series: _Series) -> None:
        """The end message. Of an aborted series it is not waited for longer than a moment."""
        give_up_s = time.monotonic() + END_AFTER_ABORT_S
        sent = self._stins.end(lambda: self._closing or (series.aborted.is_set() and time.monotonic() > give_up_s))
        self._delivered.series_ended(sent)
        with self._changed:
            self._closed(series)

    def _closed(self, series: _Series) -> None:
        """With the lock."""
        series.unsent += len(series.waiting)  # given up, or come while the end was on its way
        series.waiting.clear()
        series.closed = series.over = True
        self._pending.popleft()


def main(arguments: list[str] | None = None) -> int:
    """Run one streamer until it is told to end."""
    parser = new_parser("pilatus-streamer", "Streams the image files of a Pilatus' camserver.")
    parser.add_argument("--stream-port", type=int, default=0, help="the stream; 0 = any free port")
    parser.add_argument("--folder", required=True, help="where images are renamed into")
    parser.add_argument("--delete", action="store_true", help="delete images that were given to the network")
    parser.add_argument("--no-delete", action="store_false", dest="delete", help="keep all images (the default)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return serve(
        parser.prog,
        given,
        lambda: PilatusStreamer(
            given.folder,
            host=given.host,
            port=given.port,
            stream_port=given.stream_port,
            delete=given.delete,
            curve_key=given.curve_key,
        ),
        lambda streamer: {"http": streamer.port, "stream": streamer.stream_port, "folder": streamer.folder},
    )


if __name__ == "__main__":
    sys.exit(main())
