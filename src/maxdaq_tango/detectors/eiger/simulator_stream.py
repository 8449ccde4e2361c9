"""The simulated detector's stream: what leaves for a series, as message parts, and the bounded queue before the socket.

Everything about a series is frozen when it is armed, so messages can be made outside the simulator's lock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import cbor2
import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.eiger.parameters import HC_EV_ANGSTROM, HEADER_KEYS
from maxdaq_tango.detectors.simulation.faults import DeliveryPlan, Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Buffer, Encoding, FrameFormat
from maxdaq_tango.wire import dectris_v1, dectris_v2

Array = npt.NDArray[Any]

TICKS_HZ = 50_000_000
"""The detector counts time in steps of 20 ns."""
WRONG_SERIES_OFFSET = 1000
_ENCODINGS: Mapping[tuple[str, str], Encoding] = {
    ("legacy", "none"): Encoding.NONE,
    ("legacy", "lz4"): Encoding.LZ4_BLOCK,
    ("legacy", "bslz4"): Encoding.BSLZ4,
    ("cbor", "none"): Encoding.NONE,
    ("cbor", "lz4"): Encoding.LZ4_HDF5,
    ("cbor", "bslz4"): Encoding.BSLZ4,
}


class Kind(StrEnum):
    """What a message is, for the queue: only images may be dropped."""

    HEADER = "header"
    IMAGE = "image"
    END = "end"


class Message(msgspec.Struct, frozen=True):
    """One ZeroMQ message on its way to one of the two ports."""

    kind: Kind
    stream_format: str
    """legacy or cbor."""
    series_id: int
    parts: list[Buffer]

    @property
    def nbytes(self) -> int:
        """Of all parts."""
        return sum(len(part) for part in self.parts)


class Shot(msgspec.Struct, frozen=True):
    """One exposure, in seconds of the detector's clock."""

    number: int
    start_s: float
    stop_s: float


class SeriesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a series' messages depend on, taken from the settings at arm."""

    series_id: int
    unique_id: str
    stream_format: str
    """legacy, cbor, or "" when the stream is disabled."""
    header_detail: str
    header_appendix: str
    image_appendix: str
    compression: str
    seed: int
    shape: tuple[int, int]
    dtype: str
    channels: tuple[str, ...]
    mask: Array | None
    """Pixels to mask, None = do not mask any."""
    mask_to_zero: bool
    config: Mapping[str, Any]
    """All values of detector/config."""
    arrays: Mapping[str, Array]
    """By SIMPLON key: threshold/1/flatfield ..., countrate_correction_table."""
    armed_at: str
    """ISO 8601 with zone."""
    armed_s: float
    """Detector clock."""
    subframes: int
    readout_s: float
    frame_total: int
    faults: Faults


class Product(msgspec.Struct, frozen=True):
    """What one step of a series made."""

    messages: tuple[Message, ...]
    frames: Mapping[str, Array] = {}
    """Pixels by channel, for the monitor."""


class SeriesStream:
    """The messages of one series. One thread at a time, and calls in the order header, image ..., end."""

    def __init__(self, plan: SeriesPlan) -> None:
        self.plan = plan
        self._delivery = DeliveryPlan(plan.faults)
        self._shots: dict[int, Shot] = {}
        mask = np.zeros(plan.shape, dtype=np.uint32) if plan.mask is None else plan.mask
        self._patterns = {
            name: FramePattern(
                plan.seed,
                plan.shape,
                plan.dtype,
                channel=name,
                mask=mask,
                masked_value=0 if plan.mask_to_zero else None,
            )
            for name in plan.channels
        }

    def header(self) -> Product:
        """What leaves when the series is armed."""
        plan = self.plan
        if plan.faults.missing_header or self._delivery.gone:
            return Product(())
        if plan.stream_format == "legacy":
            parts = dectris_v1.encode_header(
                plan.series_id,
                detail=dectris_v1.HeaderDetail(plan.header_detail),
                config=self._v1_config(),
                flatfield=plan.arrays["threshold/1/flatfield"],
                pixel_mask=plan.arrays["threshold/1/pixel_mask"],
                countrate_table=plan.arrays["countrate_correction_table"],
                appendix=plan.header_appendix or None,
            )
        elif plan.stream_format == "cbor":
            parts = dectris_v2.encode_start(plan.series_id, plan.unique_id, self._v2_fields())
        else:
            return Product(())
        return Product((self._message(Kind.HEADER, parts),))

    def image(self, shot: Shot, *, render: bool = False) -> Product:
        """What leaves when an exposure is over; `render` also hands out the pixels when nothing is streamed."""
        plan = self.plan
        frames: dict[str, Array] = {}
        messages: list[Message] = []
        if render:
            frames = {name: pattern.frame(shot.number) for name, pattern in self._patterns.items()}
        if plan.stream_format:
            if shot.number in plan.faults.reorder_frames:
                self._shots[shot.number] = shot
            for delivery in self._delivery.frame(shot.number):
                messages.append(self._image_message(delivery, self._shots.get(delivery.number, shot), frames, shot))
        return Product(tuple(messages), frames)

    def end(self) -> Product:
        """What leaves when the series is over, however it ended."""
        plan = self.plan
        if not plan.stream_format:
            return Product(())
        messages = [self._image_message(late, self._shots[late.number], {}, None) for late in self._delivery.end()]
        if not self._delivery.gone and not plan.faults.missing_end:
            if plan.stream_format == "legacy":
                parts = dectris_v1.encode_end(plan.series_id)
            else:
                parts = dectris_v2.encode_end(plan.series_id, plan.unique_id)
            messages += [self._message(Kind.END, parts)] * (2 if plan.faults.duplicate_end else 1)
        return Product(tuple(messages))

    def _image_message(self, delivery: Any, shot: Shot, frames: Mapping[str, Array], current: Shot | None) -> Message:
        plan = self.plan
        encoding = _ENCODINGS[plan.stream_format, plan.compression]
        channels: dict[str, tuple[FrameFormat, bytes]] = {}
        for name in plan.channels if plan.stream_format == "cbor" else plan.channels[:1]:
            pixels = frames.get(name) if current is shot else None
            blob = encode_pixels(self._patterns[name].frame(shot.number) if pixels is None else pixels, encoding)
            if delivery.truncated:
                blob = blob[: len(blob) // 2]
            channels[name] = (FrameFormat(plan.shape, plan.dtype, encoding), blob)
        series_id = plan.series_id + (WRONG_SERIES_OFFSET if delivery.wrong_series else 0)
        real_s = max(0.0, shot.stop_s - shot.start_s - (plan.subframes - 1) * plan.readout_s)
        parts: list[Buffer]
        if plan.stream_format == "legacy":
            format, blob = channels[plan.channels[0]]
            parts = dectris_v1.encode_image(
                series_id,
                shot.number,
                format,
                blob,
                start_ns=_ticks(shot.start_s) * 20,
                stop_ns=_ticks(shot.stop_s) * 20,
                real_ns=_ticks(real_s) * 20,
                appendix=plan.image_appendix or None,
            )
        else:
            unique_id = unique_series_id(series_id, 0) if delivery.wrong_series else plan.unique_id
            parts = list(
                dectris_v2.encode_image(
                    series_id,
                    unique_id,
                    shot.number,
                    channels,
                    series_date=plan.armed_at,
                    start_time=(_ticks(shot.start_s - plan.armed_s), TICKS_HZ),
                    stop_time=(_ticks(shot.stop_s - plan.armed_s), TICKS_HZ),
                    real_time=(_ticks(real_s), TICKS_HZ),
                    user_data=plan.image_appendix or None,
                )
            )
        return self._message(Kind.IMAGE, parts)

    def _message(self, kind: Kind, parts: Any) -> Message:
        return Message(kind, self.plan.stream_format, self.plan.series_id, list(parts))

    def _v1_config(self) -> dict[str, Any]:
        config = {key: self.plan.config[key] for key in HEADER_KEYS}
        config["roi_mode"] = "" if config["roi_mode"] == "disabled" else config["roi_mode"]
        # As recorded: time from the start of one readout to the next, not of one image to the next.
        config["frame_period"] = config["frame_count_time"] + config["detector_readout_time"]
        return dict(sorted(config.items()))

    def _v2_fields(self) -> dict[str, Any]:
        plan, config = self.plan, self.plan.config
        thresholds = [name.removeprefix("threshold_") for name in plan.channels if name != "difference"]
        fields = {
            "arm_date": cbor2.CBORTag(0, plan.armed_at),
            "beam_center_x": config["beam_center_x"],
            "beam_center_y": config["beam_center_y"],
            "channels": list(plan.channels),
            "count_time": config["count_time"],
            "countrate_correction_enabled": config["countrate_correction_applied"],
            "countrate_correction_lookup_table": self._lookup_table(),
            "detector_description": config["description"],
            "detector_serial_number": config["detector_number"],
            "detector_translation": list(config["detector_translation"]),
            "flatfield": {f"threshold_{n}": plan.arrays[f"threshold/{n}/flatfield"] for n in thresholds},
            "flatfield_enabled": config["flatfield_correction_applied"],
            "frame_time": config["frame_time"],
            "goniometer": {
                axis: {"increment": config[f"{axis}_increment"], "start": config[f"{axis}_start"]}
                for axis in ("chi", "kappa", "omega", "phi", "two_theta")
            },
            "image_dtype": plan.dtype,
            "image_size_x": plan.shape[1],
            "image_size_y": plan.shape[0],
            "incident_energy": config["incident_energy"],
            "incident_wavelength": HC_EV_ANGSTROM / config["incident_energy"],
            "number_of_images": plan.frame_total,
            "pixel_mask": {f"threshold_{n}": plan.arrays[f"threshold/{n}/pixel_mask"] for n in thresholds},
            "pixel_mask_enabled": config["pixel_mask_applied"],
            "pixel_size_x": config["x_pixel_size"],
            "pixel_size_y": config["y_pixel_size"],
            "saturation_value": config["countrate_correction_count_cutoff"],
            "sensor_material": config["sensor_material"],
            "sensor_thickness": config["sensor_thickness"],
            # Of all thresholds, enabled or not: so sent the EIGER2 16M of the tickit-devices wheel.
            "threshold_energy": {
                f"threshold_{n}": config[f"threshold/{n}/energy"]
                for n in range(1, 5)
                if f"threshold/{n}/energy" in config
            },
            "virtual_pixel_interpolation_enabled": config["virtual_pixel_correction_applied"],
        }
        if plan.header_appendix:
            fields["user_data"] = plan.header_appendix
        return fields

    def _lookup_table(self) -> Array:
        """Corrected count for each observed count up to the cutoff, at most 65536 entries."""
        cutoff = min(int(self.plan.config["countrate_correction_count_cutoff"]), 65535)
        observed = np.arange(cutoff + 1, dtype=np.float64)
        rate = observed / self.plan.config["count_time"]
        corrected: Array = np.minimum(observed / np.maximum(1 - rate * 5e-8, 0.05), 2.0**32 - 1).astype(np.uint32)
        return corrected


class SendQueue:
    """Messages waiting for one socket, bounded in bytes; when it is full images are dropped and counted, nothing else.

    Not thread-safe: the simulator's owner holds the lock.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.dropped = 0
        """Images dropped since arm (`stream/status/dropped`)."""
        self.purged = 0
        """Images thrown away by abort since the start."""
        self._messages: deque[Message] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def offer(self, message: Message) -> bool:
        """Queue a message; False when it was dropped."""
        size = message.nbytes
        if message.kind is Kind.IMAGE and self.used_bytes + size > self.capacity_bytes:
            self.dropped += 1
            return False
        self._messages.append(message)
        self.used_bytes += size
        return True

    def take(self) -> Message | None:
        """The oldest message, None when there is none."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self.used_bytes -= message.nbytes
        return message

    def purge_images(self) -> None:
        """Throw away the images that have not left yet; headers and ends stay."""
        kept = [message for message in self._messages if message.kind is not Kind.IMAGE]
        self.purged += len(self._messages) - len(kept)
        self._messages = deque(kept)
        self.used_bytes = sum(message.nbytes for message in kept)

    def clear(self) -> None:
        """Throw away everything (the stream module's `initialize`)."""
        self._messages.clear()
        self.used_bytes = 0


class SendQueues:
    """One queue for each stream format, because each has a port: an unread port must not hold up the other."""

    def __init__(self, capacity_bytes: int) -> None:
        self.by_format = {name: SendQueue(capacity_bytes) for name in ("legacy", "cbor")}

    def offer(self, message: Message) -> bool:
        """Queue a message for its port; False when it was dropped."""
        return self.by_format[message.stream_format].offer(message)

    def purge_images(self) -> None:
        """Throw away the images that have not left yet."""
        for queue in self.by_format.values():
            queue.purge_images()

    def clear(self) -> None:
        """Throw away everything."""
        for queue in self.by_format.values():
            queue.clear()

    def reset_dropped(self) -> None:
        """A new series begins."""
        for queue in self.by_format.values():
            queue.dropped = 0

    @property
    def dropped(self) -> int:
        """Images dropped since arm."""
        return sum(queue.dropped for queue in self.by_format.values())

    @property
    def purged(self) -> int:
        """Images thrown away by abort since the start."""
        return sum(queue.purged for queue in self.by_format.values())

    @property
    def used_bytes(self) -> int:
        """Of all messages that wait."""
        return sum(queue.used_bytes for queue in self.by_format.values())

    def __len__(self) -> int:
        return sum(len(queue) for queue in self.by_format.values())


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def unique_series_id(series_id: int, time_ms: int) -> str:
    """A ULID: 48 bits of time, then the series number where others put random bits (no two series share both)."""
    value = (time_ms & (1 << 48) - 1) << 80 | series_id & (1 << 80) - 1
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def _ticks(seconds: float) -> int:
    return max(0, math.floor(seconds * TICKS_HZ))
