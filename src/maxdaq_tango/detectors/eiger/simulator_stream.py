"""The simulated detector's stream: what leaves for a series, as message parts.

Everything about a series is frozen when it is armed, so messages can be made outside the simulator's lock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.eiger.simulator_headers import SeriesPlan, v1_config, v2_fields
from maxdaq_tango.detectors.eiger.simulator_queue import Message
from maxdaq_tango.detectors.simulation.damage import cbor_bomb, json_bomb, packed
from maxdaq_tango.detectors.simulation.delivery import (
    END,
    HEADER,
    OTHER_SERIES,
    Damage,
    Delivery,
    DeliveryPlan,
    Item,
)
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.model import Buffer, Encoding, FrameFormat
from maxdaq_tango.wire import dectris_v1, dectris_v2

Array = npt.NDArray[Any]

TICKS_HZ = 50_000_000
"""The detector counts time in steps of 20 ns."""
_ENCODINGS: Mapping[tuple[str, str], Encoding] = {
    ("legacy", "none"): Encoding.NONE,
    ("legacy", "lz4"): Encoding.LZ4_BLOCK,
    ("legacy", "bslz4"): Encoding.BSLZ4,
    ("cbor", "none"): Encoding.NONE,
    ("cbor", "lz4"): Encoding.LZ4_HDF5,
    ("cbor", "bslz4"): Encoding.BSLZ4,
}


class Shot(msgspec.Struct, frozen=True):
    """One exposure, in seconds of the detector's clock."""

    number: int
    start_s: float
    stop_s: float


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
        if plan.faults.missing_header or not plan.stream_format:
            return Product(())
        return Product((self._message(HEADER, Shot(-1, 0.0, 0.0)),))

    def image(self, shot: Shot, *, render: bool = False) -> Product:
        """What leaves when an exposure is over; `render` also hands out the pixels when nothing is streamed."""
        plan = self.plan
        frames: dict[str, Array] = {}
        messages: list[Message] = []
        if render:
            frames = {name: pattern.frame(shot.number) for name, pattern in self._patterns.items()}
        if plan.stream_format:
            self._shots[shot.number] = shot
            for delivery in self._delivery.frame(shot.number):
                own = delivery.pixels_of == shot.number
                messages.append(self._message(delivery, self._shots[delivery.number], frames if own else {}))
            self._shots = {number: self._shots[number] for number in self._delivery.waiting}
        return Product(tuple(messages), frames)

    def end(self) -> Product:
        """What leaves when the series is over, however it ended."""
        plan = self.plan
        if not plan.stream_format:
            return Product(())
        messages = [self._message(late, self._shots[late.number]) for late in self._delivery.end()]
        if not self._delivery.gone and not plan.faults.missing_end:
            messages += [self._message(END, Shot(-1, 0.0, 0.0))] * (2 if plan.faults.duplicate_end else 1)
        return Product(tuple(messages))

    def _message(self, delivery: Delivery, shot: Shot, frames: Mapping[str, Array] | None = None) -> Message:
        plan = self.plan
        series_id, unique_id = plan.series_id, plan.unique_id
        if delivery.wrong_series:
            series_id += OTHER_SERIES
            unique_id = unique_series_id(series_id, 0)
        parts: Sequence[Buffer]
        match delivery.item, plan.stream_format:
            case Item.HEADER, "legacy":
                parts = dectris_v1.encode_header(
                    series_id,
                    detail=dectris_v1.HeaderDetail(plan.header_detail),
                    config=v1_config(plan),
                    flatfield=plan.arrays["threshold/1/flatfield"],
                    pixel_mask=plan.arrays["threshold/1/pixel_mask"],
                    countrate_table=plan.arrays["countrate_correction_table"],
                    appendix=plan.header_appendix or None,
                )
            case Item.HEADER, _:
                parts = dectris_v2.encode_start(series_id, unique_id, v2_fields(plan))
            case Item.END, "legacy":
                parts = dectris_v1.encode_end(series_id)
            case Item.END, _:
                parts = dectris_v2.encode_end(series_id, unique_id)
            case _, "legacy":
                parts = self._v1_image(delivery, shot, series_id, frames or {})
            case _:
                parts = self._v2_image(delivery, shot, series_id, unique_id, frames or {})
        return Message(plan.stream_format, plan.series_id, list(parts), delivery)

    def _v1_image(
        self, delivery: Delivery, shot: Shot, series_id: int, frames: Mapping[str, Array]
    ) -> Sequence[Buffer]:
        plan = self.plan
        format, blob = self._packed(plan.channels[0], delivery, frames)
        parts = dectris_v1.encode_image(
            series_id,
            delivery.wire_number,
            format,
            blob,
            start_ns=_ticks(shot.start_s) * 20,
            stop_ns=_ticks(shot.stop_s) * 20,
            real_ns=_ticks(self._real_s(shot)) * 20,
            appendix=plan.image_appendix or None,
        )
        if delivery.damage is Damage.BOMB:
            parts[0] = json_bomb(parts[0], plan.faults.bomb_depth)
        return parts

    def _v2_image(
        self, delivery: Delivery, shot: Shot, series_id: int, unique_id: str, frames: Mapping[str, Array]
    ) -> Sequence[Buffer]:
        plan = self.plan
        parts = dectris_v2.encode_image(
            series_id,
            unique_id,
            delivery.wire_number,
            {name: self._packed(name, delivery, frames) for name in plan.channels},
            series_date=plan.armed_at,
            start_time=(_ticks(shot.start_s - plan.armed_s), TICKS_HZ),
            stop_time=(_ticks(shot.stop_s - plan.armed_s), TICKS_HZ),
            real_time=(_ticks(self._real_s(shot)), TICKS_HZ),
            user_data=plan.image_appendix or None,
        )
        if delivery.damage is Damage.BOMB:
            parts[0] = cbor_bomb(parts[0], plan.faults.bomb_depth)
        return parts

    def _packed(self, channel: str, delivery: Delivery, frames: Mapping[str, Array]) -> tuple[FrameFormat, bytes]:
        pixels = frames.get(channel)
        if pixels is None:
            pixels = self._patterns[channel].frame(delivery.pixels_of)
        return packed(pixels, _ENCODINGS[self.plan.stream_format, self.plan.compression], delivery.damage)

    def _real_s(self, shot: Shot) -> float:
        return max(0.0, shot.stop_s - shot.start_s - (self.plan.subframes - 1) * self.plan.readout_s)


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def unique_series_id(series_id: int, time_ms: int) -> str:
    """A ULID: 48 bits of time, then the series number where others put random bits (no two series share both)."""
    value = (time_ms & (1 << 48) - 1) << 80 | series_id & (1 << 80) - 1
    return "".join(_CROCKFORD[value >> shift & 31] for shift in range(125, -1, -5))


def _ticks(seconds: float) -> int:
    return max(0, math.floor(seconds * TICKS_HZ))
