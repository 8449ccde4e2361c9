"""The streamer of an ORCA: the process beside the camera that owns the DCAM library, and pushes STINS.

    python -m maxdaq_tango.detectors.orca.streamer --library libdcamapi.so.4 --port 9998 --stream-port 9999

prints one line of JSON with its ports when it is ready. A camera that is not there is looked for at each `connect`.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from maxdaq_tango.detectors.orca.acquisition import Acquisition
from maxdaq_tango.detectors.orca.camera import OrcaCamera
from maxdaq_tango.detectors.orca.capture_reader import Series
from maxdaq_tango.detectors.orca.configuration import configure_camera
from maxdaq_tango.detectors.orca.dcam import LIBRARY
from maxdaq_tango.detectors.orca.plan import CapturePlan
from maxdaq_tango.detectors.orca.properties import CaptureStatus, Property
from maxdaq_tango.detectors.orca.protocol import (
    ANY_TRIGGER,
    CameraIdentity,
    Configured,
    Connected,
    Counts,
    Limits,
    Named,
    PropertyState,
    Region,
    Selection,
    SetProperty,
    Status,
    TriggerWish,
    property_number,
)
from maxdaq_tango.detectors.orca.sender import FrameSender
from maxdaq_tango.detectors.serving.program import new_parser, serve
from maxdaq_tango.detectors.streaming.control import Command, StreamerControl
from maxdaq_tango.detectors.streaming.outlet import StreamOutlet
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings
from maxdaq_tango.model.hardware import HardwareState

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""How long a receiver may take nothing: then the series is told to be over, and the next one gives up the rest."""
FREE = "a series to end: stop or abort it"


class OrcaStreamer:
    """A running streamer. `with OrcaStreamer(library=path) as streamer: ... streamer.port, streamer.stream_port ...`

    Port 0 takes a free one.
    """

    def __init__(
        self,
        *,
        library: str = LIBRARY,
        camera: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        stream_port: int = 0,
        curve_key: str = "",
        ring_nbytes: int = 512 << 20,
        pool_nbytes: int = 512 << 20,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._library, self._patience_s = library, patience_s
        self.camera = OrcaCamera(library, camera, ring_nbytes=ring_nbytes)
        self._doing = threading.Lock()
        """Held by whoever changes something; a trigger, stop, abort or look does not need it."""
        self._identity: CameraIdentity | None = None
        self._trouble = "the camera was not looked for yet"
        self._configured: tuple[CapturePlan, Configured] | None = None
        self._acquisition: Acquisition | None = None
        self._aborts = 0
        self._series_count = 0
        self._outlet = StreamOutlet(host, stream_port, key_file=curve_key)
        self.stream_port = self._outlet.port
        self.sender = FrameSender(self._outlet, pool_nbytes=pool_nbytes)
        try:
            self._control = StreamerControl(host, port, self._commands())
        except BaseException:
            self._outlet.close()
            raise
        self.port = self._control.port

    def _commands(self) -> dict[str, Command]:
        return {
            "connect": Command(self.connect),
            "configure": Command(self.configure, AcquisitionSettings),
            "arm": Command(self.arm),
            "trigger": Command(self.trigger, TriggerWish),
            "stop": Command(self.stop),
            "abort": Command(self.abort),
            "status": Command(self.status, reads=True),
            "properties": Command(self.properties, reads=True),
            "selected": Command(self.selected, Selection),
            "region": Command(self.region, reads=True),
            "property": Command(self.property, Named),
            "set_property": Command(self.set_property, SetProperty),
            "set_region": Command(self.set_region, Region),
        }

    def __enter__(self) -> Self:
        self.sender.start()
        self._control.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the series, let go of the camera, join every thread. May be called twice."""
        self._end_series()
        self._control.close()
        self._end_series()  # a command that was on its way may have begun one
        if self._acquisition is not None:
            self._acquisition.join()
        self.sender.close()
        self._outlet.close()
        self.camera.close()

    def _end_series(self) -> None:
        try:
            self.abort()
        except DetectorError as error:
            log.warning("the last series: %s", error)

    # --- commands ----------------------------------------------------------------------------------------------------

    def connect(self) -> Connected:
        """Open library and camera where they are not open, or where something is wrong. A series under way goes on."""
        with self._doing:
            if not self._is_sound():
                self._reopen()
            assert self._identity is not None
            least, most = self.camera.limits(Property.EXPOSURE_TIME)
            return Connected(
                identity=self._identity,
                library=self._library,
                exposure_time_s=Limits(least, most),
                readout_time_s=self.camera.value_or(Property.TIMING_READOUT_TIME, 0.0),
            )

    def _is_sound(self) -> bool:
        try:
            return self.camera.is_open and self.camera.status() is not CaptureStatus.ERROR
        except DetectorError as error:
            log.warning("the camera is opened again: %s", error)
            return False

    def _reopen(self) -> None:
        if self._acquisition is not None:
            self._acquisition.abort()
            self._acquisition.join()
        self._configured = None
        try:
            self._identity = self.camera.open()
        except DetectorError as error:
            self._trouble = str(error)
            raise

    def configure(self, settings: AcquisitionSettings) -> Configured:
        """Apply the settings and read them back. A series that is only armed is taken back."""
        with self._doing:
            self._leave_armed("configure")
            self._clear_way()
            plan, format, period_s, metadata = configure_camera(self.camera, settings, self._name())
            described = Configured(
                format=format,
                frame_count=plan.frame_count,
                frame_period_s=period_s,
                stream_port=self.stream_port,
                metadata={**metadata, **self._texts()},
            )
            self._configured = (plan, described)
            return described

    def _texts(self) -> dict[str, str]:
        identity = self._identity
        return {"model": identity.model, "serial_number": identity.serial_number} if identity else {}

    def arm(self) -> int:
        """Attach the ring, begin the capture where triggers come from elsewhere, send the header."""
        with self._doing:
            if self._is_busy():
                raise DetectorRefused("arm", of=self._name(), answer="a series is under way", accepted=FREE)
            if self._configured is None:
                raise DetectorRefused(
                    "arm", of=self._name(), answer="nothing is configured", accepted="configure first"
                )
            plan, configured = self._configured
            self._clear_way()
            aborts = self._aborts
            format = self.camera.format()
            slots = self.camera.attach(format)
            series = Series(
                plan=plan,
                format=format,
                slots=slots,
                exposure_time_s=float(configured.metadata["exptime"]),
                period_s=configured.frame_period_s,
                metadata=configured.metadata,
            )
            self.sender.prepare(format.blob_nbytes)
            acquisition = Acquisition(self.camera, self.sender, series)
            try:
                acquisition.arm()
            except BaseException:
                self.camera.release()
                raise
            self._acquisition = acquisition
            self._series_count += 1
            if self._aborts != aborts:
                acquisition.abort()
                raise DetectorRefused("arm", of=self._name(), answer="ended meanwhile", accepted="arm again")
            return plan.frame_count

    def trigger(self, wish: TriggerWish = ANY_TRIGGER) -> None:
        """One burst; see `Acquisition.trigger`."""
        acquisition = self._acquisition
        if acquisition is None:
            raise DetectorRefused("trigger", of=self._name(), answer="nothing is armed", accepted="arm first")
        acquisition.trigger(wish.exposure_time_s)
        if isinstance(acquisition.failure, DetectorError):
            raise acquisition.failure
        if acquisition.failure is not None:
            raise DetectorRefused("trigger", of=self._name(), answer=repr(acquisition.failure))

    def stop(self) -> None:
        """End after the running frame; the rest is still sent. Harmless when idle."""
        self._aborts += 1
        if self._acquisition is not None:
            self._acquisition.stop()

    def abort(self) -> None:
        """End at once; what a receiver has not taken is given up. Harmless when idle."""
        self._aborts += 1
        if self._acquisition is not None:
            self._acquisition.abort()

    # --- looks and properties ----------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Never raises: a camera that has gone is a state."""
        acquisition, camera = self._acquisition, self.camera
        counts = acquisition.counts() if acquisition else Counts()
        series, slots = self._series_count, acquisition.series.slots if acquisition else 0
        known = Status(state=HardwareState.OFFLINE, counts=counts, series=series, ring_slots=slots)
        if not camera.is_open:
            return replace(known, state=HardwareState.OFFLINE, message=self._trouble)
        try:
            capture = camera.status()
            if capture is CaptureStatus.ERROR:
                camera.value(Property.EXPOSURE_TIME)  # a camera that has gone says so here
        except DetectorOffline as error:
            return replace(known, state=HardwareState.OFFLINE, message=str(error))
        except DetectorError as error:
            return replace(known, state=HardwareState.ERROR, message=str(error))
        state, words = self._state(capture), [capture.name]
        if acquisition is not None and acquisition.failure:
            words.append(f"the last series failed: {acquisition.failure}")
        if counts.lost_in_ring or counts.lost_in_camera or counts.not_sent:
            words.append(
                f"lost {counts.lost_in_camera} in the camera and {counts.lost_in_ring} in the ring, "
                f"{counts.not_sent} not taken by a receiver"
            )
        if counts.waiting:
            words.append(f"{counts.waiting} frames wait for the receiver")
        return replace(
            known,
            state=state,
            message="; ".join(words),
            ready_for_trigger=acquisition is not None and acquisition.ready_for_trigger,
            capture_status=capture.name,
        )

    def _state(self, capture: CaptureStatus) -> HardwareState:
        if capture is CaptureStatus.ERROR:
            return HardwareState.ERROR
        if self._acquisition is None:
            return HardwareState.IDLE
        if not self._is_busy():
            # What is still being taken belongs to the series; what nobody takes holds up nothing.
            taken = self._acquisition.is_being_taken(self._patience_s)
            return HardwareState.ACQUIRING if taken else HardwareState.IDLE
        return HardwareState.ACQUIRING if self._acquisition.is_acquiring else HardwareState.ARMED

    def properties(self) -> list[PropertyState]:
        """All that the camera has."""
        return [self.camera.state_of(number) for number in sorted(self.camera.ids)]

    def selected(self, wanted: Selection) -> list[PropertyState]:
        """Some of them, without those that the camera lacks."""
        numbers = [property_number(name) for name in wanted.names]
        return [self.camera.state_of(number) for number in numbers if self.camera.has(number)]

    def region(self) -> Region:
        """The part of the sensor that is read."""
        return self.camera.region()

    def property(self, which: Named) -> PropertyState:
        """One of them."""
        return self.camera.state_of(which.number)

    def set_property(self, wanted: SetProperty) -> PropertyState:
        """Write one; what was configured before has to be configured anew."""
        with self._doing:
            self._must_be_free(f"set {wanted.name} to {wanted.value}")
            number = wanted.number
            if isinstance(wanted.value, str):
                self.camera.set_choice(number, wanted.value)
            else:
                self.camera.set(number, wanted.value)
            self._configured = None
            return self.camera.state_of(number)

    def set_region(self, region: Region) -> Region:
        """Read a part of the sensor."""
        with self._doing:
            self._must_be_free("set the region")
            self._configured = None
            return self.camera.set_region(region)

    def told(self) -> dict[str, int | str]:
        """What the program says when it is ready."""
        return {"http": self.port, "stream": self.stream_port, "trouble": "" if self.camera.is_open else self._trouble}

    # --- inside ------------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return self._acquisition is not None and not self._acquisition.hardware_done

    def _must_be_free(self, asked: str) -> None:
        if self._is_busy():
            raise DetectorRefused(asked, of=self._name(), answer="a series is under way", accepted=FREE)
        self._clear_way()

    def _leave_armed(self, asked: str) -> None:
        acquisition = self._acquisition
        if acquisition is None or acquisition.hardware_done:
            return
        if acquisition.is_acquiring:
            raise DetectorRefused(asked, of=self._name(), answer="a series is under way", accepted=FREE)
        acquisition.abort()

    def _clear_way(self) -> None:
        """What the last series left must be gone: frames that wait for the receiver, buffers."""
        if not self.camera.is_open:
            raise DetectorOffline("use the camera", of=self._name(), answer=self._trouble, accepted="connect first")
        if self._acquisition is not None and not self._acquisition.let_out(self._patience_s):
            log.warning("what a receiver did not take of series %d is given up", self._series_count)

    def _name(self) -> str:
        return f"{self._identity.model} {self._identity.serial_number}" if self._identity else self._library


def main(arguments: list[str] | None = None) -> int:
    """Run one streamer until it is told to end."""
    parser = new_parser("orca-streamer", "Streams the frames of a Hamamatsu ORCA as STINS.")
    parser.add_argument("--stream-port", type=int, default=0, help="the stream; 0 = any free port")
    parser.add_argument("--library", default=LIBRARY, metavar="PATH", help="Hamamatsu's, or a simulated one")
    parser.add_argument("--camera", type=int, default=0, help="which one of those that the library finds")
    parser.add_argument("--ring-mib", type=int, default=512, help="memory that the camera writes into")
    parser.add_argument("--pool-mib", type=int, default=512, help="memory for frames that wait for the receiver")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)

    def make() -> OrcaStreamer:
        streamer = OrcaStreamer(
            library=given.library,
            camera=given.camera,
            host=given.host,
            port=given.port,
            stream_port=given.stream_port,
            curve_key=given.curve_key,
            ring_nbytes=given.ring_mib << 20,
            pool_nbytes=given.pool_mib << 20,
        )
        try:
            streamer.connect()
        except DetectorError as error:
            log.warning("%s; it is looked for again when a driver connects", error)
        return streamer

    return serve(parser.prog, given, make, OrcaStreamer.told)


if __name__ == "__main__":
    sys.exit(main())
