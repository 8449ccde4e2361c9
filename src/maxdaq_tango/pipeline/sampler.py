"""Makes a small picture of the newest frame now and then, in a thread of its own.

Saving is first, so it decides by itself how often: ten times a second at most, and so seldom that it costs a fiftieth
of a core. A frame that cannot be shown changes nothing; the log tells of the first one of each series.

The thread holds one frame while it works on it, packed and unpacked. Unpacking and reducing release the GIL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.kernels.orientation import turned
from maxdaq_tango.kernels.preview import preview_factor, reduced
from maxdaq_tango.model import Preview, PreviewSettings
from maxdaq_tango.pipeline.listeners import warn
from maxdaq_tango.pipeline.newest import NewestFrame, Taken

LEAST_INTERVAL_S = 0.1
SHARE = 0.02
"""Of one core."""

MOST_BYTES = 256 << 20
"""Of the unpacked frame, which is in no budget: the largest detectors have 72 MB. Packed, a kilobyte states more."""


def interval_s(cost_s: float) -> float:
    """From one picture to the next when the last one has cost so much processor time."""
    return max(LEAST_INTERVAL_S, cost_s / SHARE)


def preview_of(taken: Taken, settings: PreviewSettings) -> Preview:
    """The frame as it is stored, made small.

    WireError when it is damaged, packed as nothing here can unpack, or unpacked larger than MOST_BYTES.
    """
    frame = taken.frame
    if frame.format.nbytes > MOST_BYTES:
        raise WireError("show a frame", answer=f"{frame.format.nbytes} bytes", accepted=f"at most {MOST_BYTES}")
    pixels = turned(decode_pixels(frame.format, frame.blobs), taken.orientation)
    factor = preview_factor(pixels.shape, settings.size_px)
    return Preview(reduced(pixels, factor, settings.method), frame.frame_number, taken.run_number, factor)


class Sampler:
    """See the module. `settings` is asked for every picture; `show` gets each one. Both are called from the thread."""

    def __init__(
        self, newest: NewestFrame, settings: Callable[[], PreviewSettings], show: Callable[[Preview], None]
    ) -> None:
        self._newest = newest
        self._settings = settings
        self._show = show
        self._told_of_run = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preview", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; the picture in hand is still made. Harmless twice, and without `start`."""
        self._closing.set()
        self._newest.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._newest.wait():
            began = time.monotonic()
            cost_s = self._look()
            if self._closing.wait(max(0.0, began + interval_s(cost_s) - time.monotonic())):
                return

    def _look(self) -> float:
        """Returns the processor time that it took, s."""
        began = time.thread_time()
        taken = self._newest.take()
        if taken is not None:
            try:
                self._show(preview_of(taken, self._settings()))
            except Exception as error:  # whatever it is, frames are taken and stored all the same
                self._tell(taken, error)
        return time.thread_time() - began

    def _tell(self, taken: Taken, error: Exception) -> None:
        if taken.run_number != self._told_of_run:
            self._told_of_run = taken.run_number
            warn(f"no preview of frame {taken.frame.frame_number}, nor word of the next: {error}")
