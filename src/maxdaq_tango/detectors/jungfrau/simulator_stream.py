"""What slsReceiver makes of the frames of one acquisition: messages for each port, with what goes wrong. Pure.

A port is one UDP interface of one module, the detector one column of them: port i has rows i * h to (i + 1) * h - 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.detectors.jungfrau.protocol import MODULE_SHAPE, PACKETS_A_MODULE, GainMode
from maxdaq_tango.detectors.jungfrau.simulator_pixels import JungfrauPixels
from maxdaq_tango.detectors.simulation.damage import json_bomb, packed
from maxdaq_tango.detectors.simulation.delivery import END, OTHER_SERIES, Damage, Delivery, DeliveryPlan, Item
from maxdaq_tango.detectors.simulation.fault_words import parse_words
from maxdaq_tango.detectors.simulation.faults import SHORT, Faults
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.kernels.jungfrau import NOT_RECEIVED
from maxdaq_tango.model import Buffer, Encoding
from maxdaq_tango.wire import sls_json

TICKS_HZ = 10_000_000
MOST_MODULES, MOST_INTERFACES = 32, 2

MEANINGLESS: Mapping[str, str] = {
    "missing_header": "the stream has no header message",
    "second_header_at": "the stream has no header message",
    "filename": "no message names a file of ours",
    "thief_at": "PUB gives every subscriber all of it: a second one takes nothing away",
    "initialise_delay_s": "nothing is initialised: a client connects and is answered",
}
"""Faults of other simulators that cannot happen to this detector, and why."""


class JungfrauOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of detector."""

    modules: int = 1
    interfaces: int = 1
    rows: int = MODULE_SHAPE[0]
    """Of one module; a real one has 512."""
    columns: int = MODULE_SHAPE[1]
    seed: int = 1
    server_version: str = "10.0.1"
    """Of the detector server, which clients compare with their own."""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("modules", self.modules, MOST_MODULES),
            ("interfaces", self.interfaces, MOST_INTERFACES),
            ("rows", self.rows, 4096),
            ("columns", self.columns, 4096),
        ):
            if not 1 <= value <= most:
                raise ConfigurationError(f"simulate {value} {name}", accepted=f"1 to {most}")
        if self.rows % self.interfaces:
            raise ConfigurationError(
                f"divide {self.rows} rows among {self.interfaces} interfaces", accepted="an even number"
            )

    @property
    def ports(self) -> int:
        """ZeroMQ ports."""
        return self.modules * self.interfaces

    @property
    def port_shape(self) -> tuple[int, int]:
        """Rows and columns of one message."""
        return self.rows // self.interfaces, self.columns


class ReceiverFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only this detector and its receiver program can do wrong. Frames count from 0 in every acquisition."""

    packet_loss_frames: tuple[int, ...] = ()
    """Of these frames one port has lost packets: their pixels read 0xFFFF, `completeImage` is 0."""
    packet_loss_port: int = 0
    packet_loss_count: int = 16
    silent_port: int | None = None
    """This port sends nothing, not even an end."""
    high_voltage_fails: bool = False
    """Setting the high voltage is answered with an error."""
    overheated: bool = False
    """A temperature event has switched the chip off."""


NO_RECEIVER_FAULTS = ReceiverFaults()
OWN = frozenset(ReceiverFaults.__struct_fields__)


def parse_faults(words: Iterable[str]) -> tuple[Faults, ReceiverFaults]:
    """From words such as `drop=0.01` or `silent_port=1`; one that is meaningless here is refused with the reason."""
    given = list(words)
    names = [word.partition("=")[0].strip().replace("-", "_") for word in given]
    for name in names:
        check_meaning(SHORT.get(name, name))
    common = [word for word, name in zip(given, names, strict=True) if name not in OWN]
    own = [word for word, name in zip(given, names, strict=True) if name in OWN]
    return Faults.parse(common), parse_words(ReceiverFaults, own, {})


def check_meaning(name: str) -> None:
    """ConfigurationError for a fault that cannot happen to this detector."""
    if name in MEANINGLESS:
        raise ConfigurationError(f"switch on the fault {name}", of="a Jungfrau", answer=MEANINGLESS[name])


class Shot(msgspec.Struct, frozen=True):
    """One exposure that the receiver program has caught."""

    index: int
    """From 0 in the acquisition."""
    at_s: float
    """Since the detector was switched on."""
    exposure_s: float
    mode: GainMode
    beam: bool


class Outgoing(msgspec.Struct, frozen=True):
    """One delivery: a message for each port that sends it."""

    parts: dict[int, list[Buffer]]
    delivery: Delivery


class Acquisition:
    """From rx_start to rx_stop."""

    def __init__(
        self, number: int, options: JungfrauOptions, pixels: JungfrauPixels, faults: Faults, own: ReceiverFaults
    ) -> None:
        self.number = number
        self.first_frame: int | None = None
        """Frame number of its first exposure as the detector counts; None before that."""
        self.faults, self.own = faults, own
        self._options, self._pixels = options, pixels
        self._plan = DeliveryPlan(faults)
        self._shots: dict[int, Shot] = {}

    def image(self, shot: Shot) -> list[Outgoing]:
        """What leaves now that this exposure has been caught."""
        self._shots[shot.index] = shot
        going = [self._message(delivery) for delivery in self._plan.frame(shot.index)]
        self._shots = {index: self._shots[index] for index in self._plan.waiting}
        return going

    def end(self) -> list[Outgoing]:
        """What leaves at rx_stop."""
        going = [self._message(delivery) for delivery in self._plan.end()]
        if not self._plan.gone and not self.faults.missing_end:
            going += [self._message(END)] * (2 if self.faults.duplicate_end else 1)
        return going

    def _message(self, delivery: Delivery) -> Outgoing:
        ports = [port for port in range(self._options.ports) if port != self.own.silent_port]
        if delivery.item is Item.END:
            return Outgoing({port: sls_json.encode_end() for port in ports}, delivery)
        if delivery.item is Item.HEADER:  # of another acquisition, which has none: its first image is enough
            return Outgoing({}, delivery)
        shot = self._shots[delivery.number]
        whole = self._pixels.frame(delivery.pixels_of, shot.mode, beam=shot.beam)
        return Outgoing({port: self._image(port, shot, whole, delivery) for port in ports}, delivery)

    def _image(self, port: int, shot: Shot, whole: np.ndarray[Any, Any], delivery: Delivery) -> list[Buffer]:
        options, own = self._options, self.own
        rows = options.port_shape[0]
        pixels = whole[port * rows : (port + 1) * rows]
        packets = PACKETS_A_MODULE // options.interfaces
        lost = 0
        if shot.index in own.packet_loss_frames and port == own.packet_loss_port:
            lost = min(own.packet_loss_count, packets)
            pixels = with_lost_packets(pixels, lost, packets)
        format, blob = packed(pixels, Encoding.NONE, delivery.damage)
        first = self.first_frame or 0
        first += OTHER_SERIES if delivery.wrong_series else 0
        parts = sls_json.encode_image(
            first + delivery.wire_number,
            format,
            blob,
            place=(port, 0),
            modules=(options.ports, 1),
            first_number=first,
            is_whole=not lost,
            packets=packets - lost,
            exposure_ticks=round(shot.exposure_s * TICKS_HZ),
            timestamp_ticks=round(shot.at_s * TICKS_HZ),
            acqIndex=delivery.wire_number,
            modId=port // options.interfaces,
        )
        if delivery.damage is Damage.BOMB:
            parts[0] = json_bomb(parts[0], self.faults.bomb_depth)
        return parts


def with_lost_packets(pixels: np.ndarray[Any, Any], lost: int, packets: int) -> np.ndarray[Any, Any]:
    """The first `lost` of `packets` equal pieces never came: the receiver program fills them with ones."""
    filled = pixels.copy()
    filled.reshape(-1)[: -(-filled.size * lost // packets)] = NOT_RECEIVED
    return filled
