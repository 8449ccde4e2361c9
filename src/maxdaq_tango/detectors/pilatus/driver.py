"""Our words into camserver's, and the streamer beside it told what to expect.

Camserver makes files; the streamer (`streamer.py`, on the computer where the files appear) makes a stream of them. A
series of ours is one or, with software triggers, several exposure commands, whose files are numbered through: each
command names its file `<base>_<first number>`. MAX IV's own pilatus-streamer can take the place of both: it is told
nothing beside the commands, which it passes on to camserver, and begins a new series at each of them.

Source: see `protocol.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

from maxdaq_tango.detectors.contract import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range
from maxdaq_tango.detectors.pilatus import protocol, streamer_words
from maxdaq_tango.detectors.pilatus.client import CamserverClient
from maxdaq_tango.detectors.pilatus.configuration import PilatusConfiguration
from maxdaq_tango.detectors.pilatus.exposure_series import ExposureSeries, vendor_command
from maxdaq_tango.detectors.pilatus.protocol import Code
from maxdaq_tango.detectors.pilatus.streamer_side import StreamerSide
from maxdaq_tango.detectors.pilatus.streamer_words import SeriesWish, StreamerStatus
from maxdaq_tango.detectors.streaming.link import StreamerLink
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.model import AcquisitionSettings, StreamDescription, StreamFormat, TriggerMode

STREAM_PORT = 9999
FORMATS = ("cbf", "tif")
TRIGGER_MARGIN_S = 10.0
STATE_LOOK_S = 1.0
"""Between two questions for camserver's state, while it is idle."""
TRIM_PATIENCE_S = 3.0
"""How long `configure` waits for chips that are being trimmed: that may take minutes, and a transaction waits."""
_FREE = "an idle detector: stop or abort first"


class PilatusDriver:
    """One Pilatus at one camserver; fulfils `DetectorDriver`.

    `stop`, `abort` and `report` may be called from any thread at any time, the rest by one thread at a time.
    """

    takes_exposures = True

    def __init__(
        self,
        host: str,
        port: int = protocol.DEFAULT_PORT,
        *,
        streamer_host: str = "",
        streamer_port: int = 0,
        stream_host: str = "",
        stream_port: int = 0,
        image_path: str = "",
        file_format: str = "cbf",
        gap_fill: int = -1,
        generation: int | None = None,
    ) -> None:
        """Nothing is sent before `connect`.

        `streamer_port` 0: there is no streamer of ours, and frames come from `stream_port` all the same (MAX IV's own
        streamer). Hosts that are "" are `host`; `stream_port` 0 is what the streamer says. `image_path` is the image
        folder as camserver names it; "" = as the streamer does. `generation` None: as the detector's name says.
        """
        if file_format not in FORMATS:
            raise ConfigurationError(f"take files of format '{file_format}'", accepted=", ".join(FORMATS))
        if gap_fill not in (0, -1):
            raise ConfigurationError(f"fill gaps with {gap_fill}", accepted="0, -1")
        if generation is not None and generation not in protocol.READOUT_S:
            raise ConfigurationError(f"drive a Pilatus{generation}", accepted="2, 3")
        self._client = CamserverClient(host, port)
        self._settings = PilatusConfiguration(self._client, gap_fill=gap_fill, generation=generation)
        link = StreamerLink(streamer_host or host, streamer_port) if streamer_port else None
        self._streamer = StreamerSide(link) if link is not None else None
        self._stream_host, self._stream_port = stream_host or streamer_host or host, stream_port
        self._image_path, self._extension = image_path, f".{file_format}"
        self._names = itertools.count(1)
        self._wanted: AcquisitionSettings | None = None
        self._series: ExposureSeries | None = None
        self._ended = threading.Event()  # somebody ended the armed series; the next arm clears it
        self._trigger_free = threading.Lock()
        self._closing_series = threading.Lock()
        self._state_word, self._next_state_look_s = "", 0.0
        self._trouble: DetectorError | None = None
        """What the last look at an idle detector met with."""
        self._failed_series: DetectorRefused | None = None
        """An exposure that nobody waited for has failed; to be told until the series is ended."""
        self._owes_kill = False
        """A series of ours was to be ended, and camserver could not be reached."""

    # --- getting to know it -------------------------------------------------------------------------------------------

    def connect(self) -> DetectorIdentity:
        """Find out who answers, take control, and look whether the streamer is there.

        An exposure that is under way goes on, and is reported as such; then nothing else is asked, and the settings are
        read with the next `configure`. It is ended where `stop` or `abort` were asked for while camserver was away.
        """
        self._client.connect()
        try:
            self._series = self._failed_series = None
            identity, state = self._settings.identify()
            if protocol.is_exposing_word(state):
                self._client.assume_exposing()
            if self._owes_kill:
                self._client.kill(self._settings.generation)
                self._owes_kill, state = False, "idle"
            if not self._client.is_exposing:
                self._settings.take_over()
            if self._streamer is not None:
                self._streamer.tell(streamer_words.STATUS)
            self._state_word, self._next_state_look_s = state, 0.0
            return identity
        except BaseException:
            self._client.close()
            raise

    def close(self) -> None:
        """Hang up; an exposure goes on."""
        self._client.close()
        if self._streamer is not None:
            self._streamer.close()

    def limits(self) -> dict[str, Range]:
        """By our names."""
        self._must_be_connected("tell the limits")
        return self._settings.limits()

    def readout_time_s(self) -> float:
        """Dead time between two frames."""
        return self._settings.readout_s

    @property
    def settings(self) -> PilatusConfiguration:
        """Thresholds and the words for image headers. Not to be changed while a series is armed."""
        return self._settings

    @property
    def streamer_status(self) -> StreamerStatus | None:
        """As it was seen last; None without one of ours."""
        return self._streamer.last_status if self._streamer is not None else None

    @property
    def is_idle(self) -> bool:
        """Nothing is armed, camserver does not expose, and nobody waits for an answer of it."""
        return self._series is None and not self._client.is_exposing and not self._client.asking

    def recover(self) -> None:
        """Out of camserver's error state; what is wrong with the streamer or its folder is looked at again."""
        if _is_error(self._state_word):
            self._client.ask("ResetCam", timeout_s=protocol.SLOW_ANSWER_S)
        self._next_state_look_s, self._failed_series = 0.0, None

    # --- the series ---------------------------------------------------------------------------------------------------

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply the settings, read them back, and say what will be sent. A series left armed is taken back first."""
        self._must_be_connected("configure")
        if self.report().state is HardwareState.ACQUIRING:
            raise self._refused("configure", "an exposure is under way", _FREE)
        with self._settings.alone("configure", TRIM_PATIENCE_S):
            return self._configure(settings)

    def _configure(self, settings: AcquisitionSettings) -> StreamDescription:
        self.abort()
        self._wanted = None
        if self._streamer is None:
            self._must_be_one_command(settings)
        status = self._streamer.quiet() if self._streamer is not None else None
        folder = self._image_path or (status.folder if status is not None else "")
        self._settings.apply(settings, folder)
        self._wanted = settings
        port = self._stream_port or (status.stream_port if status is not None else STREAM_PORT)
        return StreamDescription(
            sources=(f"tcp://{self._stream_host}:{port}",),
            stream_format=StreamFormat.STINS,
            frame_count=settings.frame_count,
            frame_period_s=self._settings.period_s,
            shape=self._settings.shape,
            dtype="int32",
            metadata=self._settings.everything(),
        )

    def _must_be_one_command(self, settings: AcquisitionSettings) -> None:
        _, images = vendor_command(settings)
        if images < settings.frame_count or images > protocol.MOST_IMAGES:
            raise self._refused(
                f"take {settings.frame_count} images in {settings.trigger_mode.value} mode",
                "the streamer of MAX IV begins a new series at each exposure command",
                f"one software trigger and {protocol.MOST_IMAGES} images at most, or a streamer of this package "
                "(property StreamerPort)",
            )

    def arm(self) -> ArmedSeries:
        """Tell the streamer what will come, so that the header leaves; external triggers count from here."""
        self._must_be_connected("arm")
        if self._series is not None or self._client.is_exposing:
            raise self._refused("arm", "a series is armed or under way", _FREE)
        if self._wanted is None:
            raise self._refused("arm", "it has not been configured", "configure first")
        # Never a name that an earlier life of this program gave, whose files may still lie there.
        base = time.strftime("maxdaq%Y%m%d-%H%M%S", time.gmtime()) + f"-{next(self._names)}"
        series = ExposureSeries(self._wanted, base, self._extension)
        self._ended.clear()
        self._failed_series = None
        if self._streamer is not None:
            self._streamer.last_status = None
            wish = SeriesWish(
                base=base,
                extension=self._extension,
                frames=self._wanted.frame_count,
                gated=self._wanted.trigger_mode is TriggerMode.EXTERNAL_MULTI_GATE,
                metadata=self._settings.everything(),
            )
            self._streamer.tell(streamer_words.BEGIN, wish)
        self._series = series
        if not series.by_software:
            try:
                self._client.start(series.line(0))
                series.started = True
            except DetectorError:
                self._close_series(streamer_words.ABORT)
                raise
        if self._ended.is_set():  # perhaps before there was a series to end, or before the start
            self._end(streamer_words.ABORT)
            raise self._refused("arm", "ended meanwhile", "arm again")
        return ArmedSeries(series=None, frame_count=self._wanted.frame_count)

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """One exposure command; returns after its last image, or quietly when the series is stopped or aborted."""
        series = self._series
        self._must_be_connected("trigger")
        if series is None:
            raise self._refused("trigger", "no series is armed", "arm first")
        if not series.by_software:
            raise self._refused("trigger", f"{series.command} waits for external signals", "INTERNAL or SOFTWARE")
        if not self._trigger_free.acquire(blocking=False):
            raise self._refused("trigger", "an earlier trigger still runs")
        try:
            if self._ended.is_set() or series.triggers_given >= series.triggers:
                raise self._refused("trigger", "all triggers of the series have been given", "arm first")
            if exposure_time_s is not None:
                self._settings.set_exposure(exposure_time_s, series.settings.latency_time_s)
            parts = list(series.parts())
            series.triggers_given += 1
            for first, count in parts:
                self._expose(series.line(first), count)
                if self._ended.is_set():
                    return
        except DetectorError:
            if not self._ended.is_set():
                raise
        finally:
            self._trigger_free.release()
        if series.triggers_given >= series.triggers and not self._ended.is_set():
            self._close_series(streamer_words.FINISH, series)

    def _expose(self, line: str, count: int) -> None:
        """One command, to its end."""
        if count != self._settings.images:
            self._settings.set_images(count)
        self._client.start(line)
        if self._ended.is_set():
            self._client.kill(self._settings.generation)  # the stop came before the start
        else:
            self._wait_for_end(line, count * self._settings.period_s + TRIGGER_MARGIN_S)

    def _wait_for_end(self, line: str, timeout_s: float) -> None:
        how = self._client.wait_finished(timeout_s)
        if how is None:
            raise DetectorTimeout(
                line, of=self._client.address, answer=f"it has not said that it is finished in {timeout_s:g} s"
            )
        if not how.ok:
            raise self._refused(line, f"{how.code} ERR {how.text}")

    def stop(self) -> None:
        """Camserver can only be killed; what it has written is sent, and then the end. Harmless when idle."""
        self._end(streamer_words.FINISH)

    def abort(self) -> None:
        """End at once; frames that no receiver has taken yet are given up. Harmless when idle."""
        self._end(streamer_words.ABORT)

    def _end(self, ending: str) -> None:
        self._ended.set()
        self._failed_series = None
        owed = self._series is not None
        try:
            self._must_be_connected("end the series")
            self._client.kill(self._settings.generation)
        except DetectorError as error:
            # One that is refused is somebody else's, and we have no control: with the next connection we may.
            self._owes_kill = self._owes_kill or owed or isinstance(error, DetectorRefused)
            raise
        finally:
            self._close_series(ending)

    def _close_series(self, ending: str, only: ExposureSeries | None = None) -> None:
        """Tell the streamer, once. With `only`: unless another series is armed by now."""
        with self._closing_series:
            series = self._series
            if series is None or (only is not None and series is not only):
                return
            self._series = None
            if self._streamer is not None:
                self._streamer.tell(ending)

    # --- looking ------------------------------------------------------------------------------------------------------

    def report(self) -> DetectorReport:
        """What is known without disturbing camserver; it is asked for its state only while it is idle."""
        if self._client.why_offline:
            return DetectorReport(state=HardwareState.OFFLINE, message=self._client.why_offline)
        try:
            return self._look()
        except DetectorOffline as error:
            # Of camserver, or of the streamer: without either nothing can be taken.
            return DetectorReport(state=HardwareState.OFFLINE, message=str(error))
        except DetectorError as error:
            return DetectorReport(state=HardwareState.ERROR, message=str(error))

    def _look(self) -> DetectorReport:
        # Counted only within a series: a look from before an Arm must not count for the series after it.
        series, acquired = self._series, None
        started = series is not None and series.started  # before the next: else one that begins meanwhile would be over
        exposing = self._client.is_exposing
        if series is not None and started and not exposing:
            self._finish_external(series)
            series = None
        if series is not None and self._streamer is not None:
            acquired = self._streamer.tell(streamer_words.STATUS).files_seen
            series.began = series.began or acquired > 0
        if exposing or self._trigger_free.locked():
            waits = series is not None and not series.by_software and not series.began
            state = HardwareState.ARMED if waits else HardwareState.ACQUIRING
            message = f"{series.command}, waiting for a signal" if waits and series is not None else "exposing"
            return DetectorReport(state=state, message=message, frames_acquired=acquired)
        if series is not None:
            ready = series.by_software and series.triggers_given < series.triggers
            return DetectorReport(
                state=HardwareState.ARMED, message="armed", ready_for_trigger=ready, frames_acquired=acquired
            )
        if self._failed_series is not None:
            raise self._failed_series
        if self._streamer is not None and self._streamer.is_being_taken():
            return DetectorReport(state=HardwareState.ACQUIRING, message="images wait for the receiver")
        return self._look_at_idle()

    def _finish_external(self, series: ExposureSeries) -> None:
        """7 has come: nobody waits for it as `trigger` does."""
        how = self._client.wait_finished(0.0)
        if how is not None and not how.ok and not self._ended.is_set():
            self._failed_series = self._refused(series.line(0), f"{how.code} ERR {how.text}")
        self._close_series(streamer_words.FINISH, series)

    def _look_at_idle(self) -> DetectorReport:
        line = self._client.asking
        if protocol.command_named(line.partition(" ")[0]) in protocol.SLOW:
            return DetectorReport(state=HardwareState.CONFIGURING, message=line)
        now_s = time.monotonic()
        if now_s >= self._next_state_look_s and not line:
            self._next_state_look_s = now_s + STATE_LOOK_S
            self._trouble = None
            try:
                self._ask_for_state()
            except DetectorError as error:
                self._trouble = error
        if self._trouble is not None:  # it stays true until the next question
            raise self._trouble
        state = HardwareState.ERROR if _is_error(self._state_word) else HardwareState.IDLE
        return DetectorReport(state=state, message=self._state_word or "idle")

    def _ask_for_state(self) -> None:
        if self._streamer is not None:
            self._streamer.look()
        with contextlib.suppress(DetectorTimeout):  # somebody else was faster to ask
            setup = self._client.ask("CamSetup", (Code.CAMERA_SETUP,), patience_s=0.0)
            self._state_word = protocol.state_in(setup.text)

    # --- small things -------------------------------------------------------------------------------------------------

    def _must_be_connected(self, asked: str) -> None:
        if self._client.why_offline:
            raise DetectorOffline(
                asked, of=self._client.address, answer=self._client.why_offline, accepted="connect first"
            )

    def _refused(self, asked: str, answer: str, accepted: str = "") -> DetectorRefused:
        return DetectorRefused(asked, of=self._client.address, answer=answer, accepted=accepted)


def _is_error(word: str) -> bool:
    return "err" in word
