"""The simulated SIMPLON detector: what every request answers and what every moment brings. No sockets, no threads.

Time comes in as an argument, in seconds of a monotonic clock. The owner (a server, or a test) calls

    answer = simulator.handle(request, now)        # answer.reply may be set later: trigger blocks for its burst
    simulator.run_due(now)                          # or step / perform / deliver, with the lock released in between
    message = simulator.queues.by_format["legacy"].take()                # what leaves by ZeroMQ

and holds one lock around every call. `docs/reference/simulated-eiger.md` says what is imitated and what is not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.detectors.eiger import parameters as tables
from maxdaq_tango.detectors.eiger.protocol import (
    API_VERSIONS,
    JSON_TYPE,
    TIFF_TYPE,
    Address,
    DetectorCommand,
    Module,
    Parameter,
    State,
    Task,
    decode_bulk,
    decode_command_argument,
    decode_value,
    encode_parameter,
    parse_path,
)
from maxdaq_tango.detectors.eiger.simulator_acquisition import Acquisition
from maxdaq_tango.detectors.eiger.simulator_headers import SeriesPlan, appendix_of
from maxdaq_tango.detectors.eiger.simulator_monitor import Monitor
from maxdaq_tango.detectors.eiger.simulator_queue import SendQueues
from maxdaq_tango.detectors.eiger.simulator_settings import DetectorSettings, Refusal, Settings
from maxdaq_tango.detectors.eiger.simulator_status import status_of
from maxdaq_tango.detectors.eiger.simulator_stream import Product, SeriesStream, unique_series_id
from maxdaq_tango.detectors.eiger.simulator_work import Work
from maxdaq_tango.detectors.eiger.tiff import encode_tiff
from maxdaq_tango.detectors.serving.messages import Answer, Reply, Request, json_reply, refused
from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import pixel_mask
from maxdaq_tango.errors import ConfigurationError, WireError

_ENDING = (DetectorCommand.DISARM, DetectorCommand.CANCEL, DetectorCommand.ABORT)
_ROI_4M = (2162, 2068)
NO_FAULTS = Faults()


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated detector is."""

    model: str = "eiger2"
    """eiger, eiger2 or pilatus4."""
    api_version: str = "1.8.0"
    rows: int = 1065
    columns: int = 1030
    seed: int = 1
    bit_depth: int | None = None
    """8, 16 or 32: pinned; None = as the settings make it."""
    initialise_time_s: float = 0.2
    arm_time_s: float = 0.0
    queue_bytes: int = 512 << 20
    """Room for messages that wait for the receiver; when it is full images are dropped and counted."""

    def __post_init__(self) -> None:
        if self.model not in tables.MODELS:
            raise ConfigurationError(f"simulate the model {self.model!r}", accepted=", ".join(tables.MODELS))
        if self.api_version not in API_VERSIONS:
            raise ConfigurationError(f"simulate SIMPLON {self.api_version!r}", accepted=", ".join(API_VERSIONS))
        if not 1 <= self.rows <= 16384 or not 1 <= self.columns <= 16384:
            raise ConfigurationError(f"simulate {self.rows} x {self.columns} pixels", accepted="1 to 16384 each")
        if self.bit_depth not in (None, 8, 16, 32):
            raise ConfigurationError(f"simulate {self.bit_depth} bits", accepted="8, 16, 32")


class EigerSimulator:
    """One detector. `now` is monotonic and may start anywhere; `utc_now` stamps what people read."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        faults: Faults = NO_FAULTS,
    ) -> None:
        self.options = options
        self.utc_now = utc_now
        mask = pixel_mask(options.seed, (options.rows, options.columns))
        self.settings = DetectorSettings(
            tables.MODELS[options.model],
            options.api_version,
            options.rows,
            options.columns,
            mask,
            bit_depth=options.bit_depth,
        )
        self.stream_settings = Settings(tables.stream_config(options.api_version))
        self.filewriter_settings = Settings(tables.filewriter_config(options.api_version))
        self.monitor = Monitor()
        self.accounts = AccountBook()
        """What has left, series by series; the owner says `accounts.sent` when a message has been handed to ZeroMQ."""
        self.queues = SendQueues(options.queue_bytes, self.accounts)
        self.acquisition = Acquisition(
            self.settings,
            self.queues,
            self._plan,
            initialise_time_s=options.initialise_time_s,
            arm_time_s=options.arm_time_s,
        )
        self.acquisition.faults = faults
        self.unique_id = ""
        """ULID of the newest series."""
        self._config_tables = {
            Module.DETECTOR: self.settings,
            Module.STREAM: self.stream_settings,
            Module.MONITOR: self.monitor.settings,
            Module.FILEWRITER: self.filewriter_settings,
        }

    # --- time --------------------------------------------------------------------------------------------------------

    def step(self, now: float) -> Work | None:
        """The next thing to do; see `Acquisition.step`."""
        self.monitor.step(now)
        return self.acquisition.step(now)

    def perform(self, work: Work, now: float) -> tuple[SeriesStream, Product]:
        """Do it; needs no lock. For the monitor a shot is rendered even when nothing streams."""
        return work.run(render=self.monitor.wants(now))

    def deliver(self, work: Work, result: tuple[SeriesStream, Product], now: float) -> None:
        """Hand the result back: messages go to the queue, pixels to the monitor, waiting answers are given."""
        stream, product = result
        if self.acquisition.deliver(work, stream, product) and work.shot is not None:
            self.monitor.offer(work.plan.series_id, work.shot.number, product.frames, now)

    def run_due(self, now: float) -> None:
        """Everything that is due at `now`, one after the other."""
        while (work := self.step(now)) is not None:
            self.deliver(work, self.perform(work, now), now)

    def next_due(self) -> float | None:
        """When `step` should be called at the latest; None = not before the next request."""
        times = [due for due in (self.acquisition.next_due(), self.monitor.next_due()) if due is not None]
        return min(times, default=None)

    def set_faults(self, faults: Faults) -> None:
        """Break or mend the detector. Faults of the stream count from the next arm, the others at once."""
        self.acquisition.faults = faults
        if faults.error_state and self.acquisition.state is not State.NA:
            self.acquisition.fail(faults.error_state)

    # --- requests ----------------------------------------------------------------------------------------------------

    def handle(self, request: Request, now: float) -> Answer:
        """One HTTP request. Never raises for what a client can send."""
        try:
            return self._handle(request, now)
        except Refusal as refusal:
            return Answer(refused(refusal.status, str(refusal)))
        except WireError as error:
            return Answer(refused(400, str(error)))

    def _handle(self, request: Request, now: float) -> Answer:
        if request.path.startswith("/data/"):
            raise Refusal(404, f"File {request.path.removeprefix('/data/')} does not exist")
        try:
            address = parse_path(request.path)
        except WireError as error:
            raise Refusal(404, str(error)) from error
        if address.module not in set(Module):
            raise Refusal(404, f"Module {address.module} does not exist", ", ".join(Module))
        if not address.version:
            return self._read_only(request, Parameter(value=self.options.api_version, value_type="string"))
        if address.version != self.options.api_version:
            raise Refusal(404, f"API version {address.version} is not served", self.options.api_version)
        if address.key in self.acquisition.faults.failing_keys:
            return Answer(refused(500, f"Internal error at {address.key} (asked for)"))
        match address.task:
            case Task.CONFIG:
                return self._config(request, address)
            case Task.STATUS:
                return self._status(request, address)
            case Task.COMMAND:
                return self._command(request, address, now)
            case Task.IMAGES if address.module == Module.MONITOR:
                self._only(request, "GET")
                return self.monitor.images(address.key, request.query, now)
            case Task.FILES if address.module == Module.FILEWRITER:
                self._only(request, "GET")
                return Answer(json_reply([]))
        raise Refusal(404, f"Task {address.task} does not exist in module {address.module}")

    def _config(self, request: Request, address: Address) -> Answer:
        settings = self._config_tables.get(Module(address.module))
        if settings is None:
            raise Refusal(404, f"Module {address.module} has no configuration")
        detector = settings is self.settings
        if address.key == "keys":
            self._only(request, "GET")
            return Answer(json_reply([] if detector and self.is_na else settings.keys()))
        if address.key == "" and address.module == Module.STREAM and self.options.api_version != "1.6.0":
            self._only(request, "PUT")
            values = decode_bulk(request.body)
            for key, value in values.items():
                settings.checked(key, value)  # all or nothing
            changed = [name for key, value in values.items() for name in settings.write(key, value)]
            return Answer(json_reply(changed))
        if detector and self.is_na:
            raise Refusal(404, f"Parameter {address.key} does not exist: the detector is not initialized", "initialize")
        match request.method:
            case "GET" | "HEAD":
                if detector and TIFF_TYPE in request.accept and settings.spec(address.key).value_type == "darray":
                    return Answer(Reply(body=encode_tiff(self.settings.array(address.key)), content_type=TIFF_TYPE))
                return Answer(Reply(body=encode_parameter(settings.envelope(address.key))))
            case "PUT":
                settings.spec(address.key)
                if detector:
                    self._only_idle(address.key)
                return Answer(json_reply(settings.write(address.key, decode_value(request.body))))
            case "DELETE" if detector:
                self._only_idle(address.key)
                return Answer(json_reply(self.settings.delete(address.key)))
        raise Refusal(405, f"{request.method} is not possible here", "GET, PUT")

    def _only_idle(self, key: str) -> None:
        if self.acquisition.state not in (State.IDLE, State.ERROR):
            raise Refusal(400, f"Parameter {key} cannot be changed in state {self.acquisition.state}", "state idle")

    @property
    def is_na(self) -> bool:
        """Not initialised: only the state can be read."""
        return self.acquisition.state in (State.NA, State.INITIALIZE)

    def _status(self, request: Request, address: Address) -> Answer:
        self._only(request, "GET")
        values = status_of(self, Module(address.module))
        if address.module == Module.DETECTOR and self.is_na:
            values = {"state": values["state"], "time": values["time"]}
        if address.key == "keys":
            # `error` is there but not listed, as on real detectors (fastcs-eiger, MISSING_KEYS).
            return Answer(json_reply(sorted(key for key in values if key != "error")))
        if address.key not in values:
            raise Refusal(404, f"Parameter {address.key} does not exist", ", ".join(sorted(values)))
        return self._read_only(request, values[address.key])

    # --- commands ----------------------------------------------------------------------------------------------------

    def _command(self, request: Request, address: Address, now: float) -> Answer:
        if address.key == "keys":
            self._only(request, "GET")
            return Answer(json_reply(_COMMANDS[Module(address.module)]))
        if address.key not in _COMMANDS[Module(address.module)]:
            raise Refusal(404, f"Command {address.key} does not exist in module {address.module}")
        self._only(request, "PUT")
        argument = decode_command_argument(request.body)
        match address.module, address.key:
            case Module.DETECTOR, command:
                return self._detector_command(DetectorCommand(command), argument, now)
            case Module.STREAM, _:
                self.stream_settings.reset()
                self.queues.clear()
            case Module.MONITOR, "clear":
                self.monitor.clear()
            case Module.MONITOR, _:
                self.monitor.initialize()
            case Module.FILEWRITER, "initialize":
                self.filewriter_settings.reset()
            case Module.SYSTEM, _:
                self.acquisition.restart()
                self.stream_settings.reset()
                self.monitor.initialize()
                self.filewriter_settings.reset()
        return Answer(Reply())

    def _detector_command(self, command: DetectorCommand, argument: Any, now: float) -> Answer:
        acquisition = self.acquisition
        if command is DetectorCommand.INITIALIZE:
            return acquisition.initialize(now)
        if self.is_na:
            raise Refusal(400, f"Command {command} failed: the detector is not initialized", "initialize first")
        if command in _ENDING:
            return acquisition.end_series(command, now)
        if command is DetectorCommand.ARM:
            return acquisition.arm(now)
        if command is DetectorCommand.TRIGGER:
            if argument is not None and (isinstance(argument, bool) or not isinstance(argument, int | float)):
                raise Refusal(400, "Command trigger: the argument is no number", '{"value": count time in s}')
            return acquisition.trigger(now, argument)
        if command is DetectorCommand.CHECK_CONNECTIONS:
            if acquisition.state is not State.IDLE:
                raise Refusal(400, f"Command {command} is not possible in state {acquisition.state}", "state idle")
            acquisition.restart()  # documented: the detector must be initialised again afterwards
            return Answer(json_reply([]))
        return Answer(Reply())

    # --- arm ---------------------------------------------------------------------------------------------------------

    def _plan(self, series_id: int, now: float) -> SeriesPlan:
        """Freeze everything that the messages of a series depend on."""
        values = self.settings.values
        moment = self.utc_now()
        values["data_collection_date"] = moment.isoformat(timespec="milliseconds")
        self.unique_id = unique_series_id(series_id, int(moment.timestamp() * 1000))
        stream = self.stream_settings.values
        shape = (self.options.rows, self.options.columns)
        rows, columns = _ROI_4M if values["roi_mode"] == "4M" else shape
        crop = np.s_[(shape[0] - rows) // 2 :, (shape[1] - columns) // 2 :]
        arrays = {
            key: self.settings.array(key)[crop][:rows, :columns]
            for key, spec in self.settings.specs.items()
            if spec.value_type == "darray" and key != "countrate_correction_table"
        }
        arrays["threshold/1/flatfield"] = arrays["flatfield"]
        arrays["threshold/1/pixel_mask"] = arrays["pixel_mask"]
        arrays["countrate_correction_table"] = self.settings.array("countrate_correction_table")
        return SeriesPlan(
            series_id=series_id,
            unique_id=self.unique_id,
            stream_format=stream.get("format", "legacy") if stream["mode"] == "enabled" else "",
            header_detail=stream["header_detail"],
            header_appendix=appendix_of(self.acquisition.faults, stream["header_appendix"]),
            image_appendix=stream["image_appendix"],
            compression=values["compression"],
            seed=self.options.seed,
            shape=(rows, columns),
            dtype=f"uint{values['bit_depth_image']}",
            channels=self.settings.channels,
            mask=arrays["pixel_mask"] if values["pixel_mask_applied"] else None,
            mask_to_zero=bool(values.get("mask_to_zero", False)),
            config=dict(values),
            arrays=arrays,
            armed_at=values["data_collection_date"],
            armed_s=now,
            subframes=self.settings.subframes,
            readout_s=self.settings.model.readout_time_s,
            frame_total=self._frame_total(),
            faults=self.acquisition.faults,
        )

    def _frame_total(self) -> int:
        values = self.settings.values
        if values["trigger_mode"] == "extg":
            return int(values["nimages"]) * (2 if values["extg_mode"] == "double" else 1)
        return int(values["nimages"] * values["ntrigger"])

    # --- small things ------------------------------------------------------------------------------------------------

    @staticmethod
    def _only(request: Request, method: str) -> None:
        if request.method != method and not (method == "GET" and request.method == "HEAD"):
            raise Refusal(405, f"{request.method} is not possible here", method)

    def _read_only(self, request: Request, parameter: Parameter) -> Answer:
        self._only(request, "GET")
        return Answer(Reply(body=encode_parameter(parameter), content_type=JSON_TYPE))


_COMMANDS: dict[Module, list[str]] = {
    Module.DETECTOR: [
        command.value
        for command in DetectorCommand
        # hv_reset belongs to CdTe sensors, and `wait` is undocumented
        if command not in (DetectorCommand.HV_RESET, DetectorCommand.WAIT)
    ],
    Module.STREAM: ["initialize"],
    Module.MONITOR: ["clear", "initialize"],
    Module.FILEWRITER: ["clear", "initialize"],
    Module.SYSTEM: ["restart"],
}
