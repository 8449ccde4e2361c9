"""What detector the simulated camserver is, and the images it makes: a piece of work for outside of any lock. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec
import numpy as np

from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.detectors.pilatus.simulator_exposure import Exposure
from maxdaq_tango.detectors.pilatus.simulator_files import image_file
from maxdaq_tango.detectors.simulation.delivery import Delivery, Item
from maxdaq_tango.detectors.simulation.pattern import DEAD, FramePattern
from maxdaq_tango.errors import ConfigurationError


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What detector it is."""

    rows: int = 619
    columns: int = 487
    seed: int = 1
    generation: int = 3
    image_path: str = "/tmp/"
    """Where images go until a client says otherwise."""
    trim_time_s: float = 0.2
    """SetThreshold and its kin; 5 to 96 s on real detectors."""

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= 16_384 or not 1 <= self.columns <= 16_384:
            raise ConfigurationError(f"simulate {self.rows} x {self.columns} pixels", accepted="1 to 16384 each")
        if self.generation not in protocol.READOUT_S:
            raise ConfigurationError(f"simulate a Pilatus{self.generation}", accepted="2 or 3")
        if not 0 <= self.trim_time_s <= 600:
            raise ConfigurationError(f"simulate trimming of {self.trim_time_s} s", accepted="0 to 600 s")

    @property
    def detector(self) -> str:
        """As it names itself."""
        name = "PILATUS3" if self.generation == 3 else "PILATUS"
        return f"{name} {self.columns}x{self.rows} (simulated), S/N {self.generation}0-0001"


class Placing(msgspec.Struct, frozen=True):
    """One file to put into the image folder, as a whole."""

    delivery: Delivery
    path: str
    data: bytes


class Work(msgspec.Struct, frozen=True):
    """An image to make outside of any lock: it depends on nothing but what is in here."""

    exposure: Exposure
    number: int
    deliveries: tuple[Delivery, ...]
    pattern: FramePattern
    taken: datetime

    def placings(self) -> list[Placing]:
        """Files in the order in which they appear. A kill while they are made takes none of them back."""
        plan, made = self.exposure.plan, []
        for delivery in self.deliveries:
            if delivery.item is not Item.IMAGE:
                continue
            name = plan.name(delivery.wire_number)
            folder = plan.folder
            if delivery.wrong_series:
                name = f"other_{name}"
            pixels = self.pattern.frame(delivery.pixels_of)
            if plan.gap_fill == 0:
                pixels = np.where(self.pattern.mask != 0, 0, pixels)
            if plan.flag_bad_pixels:
                pixels = np.where(self.pattern.mask & DEAD != 0, -2, pixels)
            extension = name[name.rindex(".") :]
            data = image_file(pixels.astype(np.int32), extension, plan.text.lines(self.taken), delivery.damage)
            made.append(Placing(delivery, folder + name, data))
        return made
