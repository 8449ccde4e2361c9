"""A series under way in the streamer: the threads that begin acquisitions and take frames.

One thread a module takes frames out of the library, judges, packs and hands them to the module's sender; one more
begins acquisitions and sees when they are over. All live as long as the series.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.xspectrum_lambda.adapter import LambdaSystem, ModuleReceiver, TakenFrame
from maxdaq_tango.detectors.xspectrum_lambda.module_sender import ModuleSender
from maxdaq_tango.detectors.xspectrum_lambda.protocol import ModuleStatus
from maxdaq_tango.detectors.xspectrum_lambda.series import ModuleNumbers, SeriesPlan
from maxdaq_tango.errors import DetectorError
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Buffer, Encoding, FrameFormat
from maxdaq_tango.wire import stins
from maxdaq_tango.wire.lambda_modules import encode_image

log = logging.getLogger(__name__)

TAKE_S = 0.05
"""Longest wait for a frame: what sees the end of a series."""
LOOK_S = 0.005
"""Between two looks whether the detector is busy, while a short acquisition may end any moment."""
LONG_LOOK_S = 0.05
DRAIN_S = 3.0
"""After a stop: for frames that are still in the library, or that have no room in the queue."""
STRAGGLERS_S = 0.5
"""For frames that the library has not put together yet when the detector is done, since the last one that came."""
MOST_TOLD = 10
"""Lines of the log of each module in a series."""
GIVE_UP_S = 20.0
"""A detector that is done waits so long for a receiver that takes nothing; less than a driver waits for a trigger."""
LOST_S = 5.0
"""A detector that cannot be asked for so long has lost the series."""


class _Module:
    """What one module has brought."""

    def __init__(self, receiver: ModuleReceiver, sender: ModuleSender, subframes: int, format: FrameFormat) -> None:
        self.receiver, self.sender, self.format = receiver, sender, format
        self.numbers = ModuleNumbers(subframes)
        self.faulty = 0
        self.empty_since = 0.0
        """When the last look that found no frame began."""
        self.came_at = 0.0
        """When the last frame did."""
        self.told = 0
        """Lines of the log about it."""
        self.holds = False
        """A frame that came is not in the queue yet."""
        self.gave_up = False
        """Nobody takes its frames: those that find no room are given up."""
        self.fell_short = False
        """The acquisition before was not complete here: stragglers of this one are not waited for again."""

    def status(self) -> ModuleStatus:
        return ModuleStatus(
            taken=self.numbers.taken,
            sent=self.sender.sent,
            faulty=self.faulty,
            strays=self.numbers.strays,
            given_up=self.sender.given_up,
            queued_bytes=self.sender.nbytes,
        )


class Acquisition:
    """One armed series. `begin` it; it ends by itself, or by `end`. `close` waits for its threads."""

    def __init__(
        self,
        series: int,
        first_msg_number: int,
        system: LambdaSystem,
        senders: Sequence[ModuleSender],
        plan: SeriesPlan,
        shape: tuple[int, int],
        *,
        encoding: Encoding = Encoding.BSLZ4,
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        self.series, self.plan = series, plan
        self.error = ""
        """Why it ended, where it was not as planned and nobody asked for it."""
        self._system = system
        self._first_msg_number = first_msg_number
        self._on_over = on_over
        format = FrameFormat(shape, plan.dtype, encoding)
        self._modules = [
            _Module(receiver, sender, plan.subframes, format)
            for receiver, sender in zip(system.modules, senders, strict=True)
        ]
        self._changed = threading.Condition()  # guards everything below, and the numbers of the modules
        self._triggers = 0
        self._bursts_done = 0
        self._bursting = False
        self._ended = self._aborted = self._over = self._taking_over = False
        self._end_by = 0.0
        self._threads = [threading.Thread(target=self._run, name="lambda-series")]
        self._takers = [
            threading.Thread(target=self._take, args=(module,), name=f"lambda-take-{module.receiver.number}")
            for module in self._modules
        ]

    # ---- from outside ----

    def begin(self, filename: str, metadata: Sequence[Mapping[str, Any]]) -> None:
        """The headers leave; external series wait for their edges from now on. `metadata` is one a module."""
        for module, told in zip(self._modules, metadata, strict=True):
            module.sender.begin(self.series, [*stins.encode_header(self._first_msg_number, filename, told)])
        for thread in (*self._takers, *self._threads):
            thread.start()

    def trigger(self) -> bool:
        """Begin a burst and wait until the detector has finished with it; False: none is left, or one is under way."""
        with self._changed:
            if not self.ready_for_trigger:
                return False
            self._triggers += 1
            mine = self._triggers
            self._changed.notify_all()
            last = mine == self.plan.bursts
            self._changed.wait_for(lambda: self._over or (self._bursts_done >= mine and not last))
        return True

    def end(self, *, abort: bool = False) -> None:
        """End it and wait until it is over. Frames that were made are still sent, unless it is aborted."""
        with self._changed:
            self._aborted = self._aborted or abort
            if not self._ended:
                self._ended, self._end_by = True, time.monotonic() + DRAIN_S
            self._changed.notify_all()
        if abort:
            for module in self._modules:
                module.sender.drop(images_only=True)
        if not self.is_over:
            try:
                self._system.stop()
            except DetectorError as error:  # then it ends without the detector; the next call meets the same
                self._fail(f"{error}")
        self.close()

    def close(self) -> None:
        """Wait for the threads; they end when the series is over."""
        for thread in (*self._threads, *self._takers):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join()

    @property
    def is_over(self) -> bool:
        """Nothing more comes from the detector."""
        return self._over

    @property
    def is_acquiring(self) -> bool:
        """A burst is under way; of an external series: its first frame has come."""
        if self._over:
            return False
        if not self.plan.waits_for_software:
            return self.frames_acquired > 0
        return self._bursting or self._bursts_done == self.plan.bursts

    @property
    def ready_for_trigger(self) -> bool:
        """A trigger given now would start an exposure."""
        plan = self.plan
        free = not self._ended and not self._over and self._triggers == self._bursts_done < plan.bursts
        return free and plan.waits_for_software

    @property
    def frames_acquired(self) -> int:
        """The detector has made so many, as far as any module told."""
        return max(module.numbers.next_frame for module in self._modules)

    @property
    def next_msg_number(self) -> int:
        """Of the header of the next series, once this one is over."""
        return self._first_msg_number + self.frames_acquired + 2

    def modules(self) -> tuple[ModuleStatus, ...]:
        """What each has brought."""
        return tuple(module.status() for module in self._modules)

    # ---- acquisitions ----

    def _run(self) -> None:
        try:
            self._run_bursts()
        except DetectorError as error:
            self._fail(str(error))
        except Exception as error:  # the root of a thread: who waits for it must not wait for ever
            log.exception("series %d", self.series)
            self._fail(f"internal error, please report it: {type(error).__name__}: {error}")
        finally:
            self._finish()

    def _run_bursts(self) -> None:
        plan = self.plan
        for burst in range(plan.bursts):
            if plan.waits_for_software:
                self._await_trigger(burst)
            if self._ended:
                return
            self._bursting = True
            began = time.monotonic()
            for shot in range(plan.shots):
                if not self._wait_until(began + shot * plan.shot_period_s):
                    break
                with self._changed:
                    for module in self._modules:
                        module.numbers.begin((burst * plan.shots + shot) * plan.exposures, plan.exposures)
                self._system.start()
                if self._ended:
                    self._system.stop()  # the stop may have come before the start
                self._await_shot()
                if self._ended:
                    break
            with self._changed:
                self._bursting = False
                self._bursts_done = burst + 1
                self._changed.notify_all()

    def _await_trigger(self, bursts: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._triggers > bursts)

    def _wait_until(self, moment: float) -> bool:
        """False: somebody ended the series."""
        with self._changed:
            while not self._ended and (left := moment - time.monotonic()) > 0:
                self._changed.wait(left)
            return not self._ended

    def _await_shot(self) -> None:
        """Until the detector is not busy any more and all that it made is out of the library."""
        plan = self.plan
        look_s = LOOK_S if plan.exposures * plan.exposure_time_s < 1.0 else LONG_LOOK_S
        complete = plan.exposures * plan.subframes
        failing_since: float | None = None
        while True:
            with self._changed:
                if all(module.numbers.shot_taken >= complete for module in self._modules):
                    break
                self._changed.wait(look_s)
                if self._ended and time.monotonic() > self._end_by:
                    return
            try:
                asked_at = time.monotonic()
                if not self._system.is_busy():
                    self._await_empty(asked_at)
                    return
                failing_since = None
            except DetectorError:
                failing_since = failing_since or asked_at
                if asked_at - failing_since > LOST_S or self._ended:
                    raise
        # Every frame has come; a start now could be refused if the detector had not noticed that it is done.
        deadline = time.monotonic() + DRAIN_S
        while self._system.is_busy() and time.monotonic() < deadline and not self._ended:
            with self._changed:
                self._changed.wait(LOOK_S)
        self._await_empty(time.monotonic())

    def _await_empty(self, since: float) -> None:
        """Until all that the detector made is in the queues, or counted as given up."""
        complete = self.plan.exposures * self.plan.subframes

        def is_empty(module: _Module) -> bool:
            if module.holds or module.numbers.shot_taken >= complete:
                return not module.holds
            patience_s = 0.0 if self._ended or module.fell_short else STRAGGLERS_S
            return module.empty_since > max(since, module.came_at) + patience_s

        with self._changed:
            while not all(map(is_empty, self._modules)):
                now = time.monotonic()
                # After the end of a stop frames come out of the library at its pace, and are counted.
                if self._ended and now > self._end_by + (0.0 if self._aborted else DRAIN_S):
                    break
                for module in self._modules:
                    stalled = module.holds and now - max(since, module.sender.moved_at) > GIVE_UP_S
                    module.gave_up = module.gave_up or stalled
                self._changed.wait(TAKE_S)
            for module in self._modules:
                module.fell_short = module.numbers.shot_taken < complete
        if gave_up := [module.receiver.number for module in self._modules if module.gave_up]:
            self._fail(f"nobody took a frame of modules {gave_up} for {GIVE_UP_S:g} s: what found no room is given up")

    def _finish(self) -> None:
        with self._changed:
            self._taking_over = True
            if not self._ended:  # a frame that came late may wait for room so long
                self._end_by = time.monotonic() + DRAIN_S
            self._changed.notify_all()
        for thread in self._takers:
            thread.join()
        end = stins.encode_end(self._first_msg_number + self.frames_acquired + 1)
        for module in self._modules:
            module.sender.end([*end])
        with self._changed:
            self._over = True
            self._bursting = False
            self._changed.notify_all()
        self._on_over()

    def _fail(self, reason: str) -> None:
        with self._changed:
            self.error = self.error or reason
            if not self._ended:
                self._ended, self._end_by = True, time.monotonic() + DRAIN_S
            self._changed.notify_all()

    # ---- frames ----

    def _take(self, module: _Module) -> None:
        while not self._taking_over:
            looked_at = time.monotonic()
            message, came = None, False
            try:
                with module.receiver.frame(TAKE_S) as frame:
                    came = frame is not None
                    if frame is not None:
                        message = self._message(module, frame)
            except DetectorError as error:
                # A receiver that fails is as one that is silent: its module is missing, the others are not.
                self._tell(module, str(error))
                with self._changed:
                    self._changed.wait_for(lambda: self._taking_over, TAKE_S)
            except Exception as error:  # the root of a thread: without it the series would never end
                log.exception("take a frame of module %d", module.receiver.number)
                self._fail(f"internal error, please report it: {type(error).__name__}: {error}")
            if message is not None:
                module.sender.image(*message, lambda: self._is_enough(module))
            with self._changed:
                module.holds = False
                if not came:
                    module.empty_since = looked_at
                self._changed.notify_all()

    def _is_enough(self, module: _Module) -> bool:
        ending = self._ended or self._taking_over
        return self._aborted or module.gave_up or (ending and time.monotonic() > self._end_by)

    def _message(self, module: _Module, frame: TakenFrame) -> tuple[list[Buffer], int] | None:
        """Made while the frame lies in the library, packed, so that its pixels are copied once."""
        pixels = usable_pixels(frame, module.format)
        with self._changed:
            number = module.numbers.frame_number(frame.nr, frame.subframe) if pixels is not None else None
            module.faulty += pixels is None
            module.came_at = time.monotonic()
            module.holds = number is not None
            self._changed.notify_all()
        if pixels is None:
            came = f"{frame.pixels.nbytes} bytes of {frame.pixels.dtype}"
            self._tell(module, f"frame {frame.nr} is {frame.status}, {came}, and is not sent")
        if pixels is None or number is None:
            return None
        if self._is_enough(module):
            module.sender.give_up()
            return None
        blob = encode_pixels(pixels, module.format.encoding)
        msg_number = self._first_msg_number + 1 + number
        return encode_image(msg_number, number, len(self._modules), module.format, blob), len(blob)

    def _tell(self, module: _Module, what: str) -> None:
        """In the log, as long as that can be read: there may be thousands a second."""
        module.told += 1
        if module.told <= MOST_TOLD:
            last = "; no word of the next" if module.told == MOST_TOLD else ""
            log.warning("series %d, module %d: %s%s", self.series, module.receiver.number, what, last)


def usable_pixels(frame: TakenFrame, format: FrameFormat) -> npt.NDArray[Any] | None:
    """The pixels of a frame that is whole, of the type and size of its module; else None.

    A frame that is not is not sent: the receiver leaves the module blank there and says so, while half of it would look
    like data. Plain bytes are taken for what they must be, as the C++ library hands out no more than those.
    """
    pixels = frame.pixels
    if not frame.is_whole or pixels.nbytes != format.chunk_nbytes:
        return None
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels).view(np.dtype(format.dtype))
    return pixels if pixels.dtype == np.dtype(format.dtype) else None
