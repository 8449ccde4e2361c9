"""Image files as camserver writes them, whole or damaged. Pure: bytes, and no file.

    .cbf          the PILATUS_1.2 mini header, byte-offset packed
    .tif .tiff    4096 bytes of header, then signed 32-bit pixels
    .img .raw     the pixels alone

Source: see `protocol.py`; fabio's PilatusHeader for the words of the mini header.
"""

from __future__ import annotations

import struct
from datetime import datetime

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.simulation.delivery import Damage
from maxdaq_tango.kernels.cbf import START_OF_PIXELS, make_cbf

WRITABLE = (".cbf", ".tif", ".tiff", ".img", ".raw")
TIFF_HEADER = 4096
COUNT_CUTOFF = 1_048_575


class ImageText(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of an image says beside its pixels."""

    detector: str
    exposure_s: float
    period_s: float
    threshold_ev: float
    energy_ev: float
    gain: str
    image_path: str
    header_string: str
    mx: dict[str, str]

    def lines(self, taken: datetime) -> str:
        """The mini header."""
        lines = [
            f"Detector: {self.detector}",
            taken.isoformat(timespec="milliseconds").removesuffix("+00:00"),
            "Pixel_size 172e-6 m x 172e-6 m",
            "Silicon sensor, thickness 0.000450 m",
            f"Exposure_time {self.exposure_s:.7f} s",
            f"Exposure_period {self.period_s:.7f} s",
            "Tau = 0 s",
            f"Count_cutoff {COUNT_CUTOFF} counts",
            f"Threshold_setting: {self.threshold_ev:.0f} eV",
            f"Gain_setting: {self.gain.removesuffix('G')} gain",
            f"Energy {self.energy_ev:.0f} eV",
            "N_excluded_pixels = 0",
            "Excluded_pixels: (nil)",
            "Flat_field: (nil)",
            f"Image_path: {self.image_path}",
        ]
        if self.header_string:
            lines.append(f"Comment: {self.header_string}")
        lines += [f"{key} {_shown(key, value)}" for key, value in self.mx.items()]
        return "\n".join(f"# {line}" for line in lines)


def _shown(key: str, value: str) -> str:
    """With brackets and units where the convention has them."""
    if key == "Beam_xy":
        return f"({', '.join(value.split())}) pixels"
    units = {"Wavelength": "A", "Detector_distance": "m", "Detector_Voffset": "m"}
    if unit := units.get(key):
        return f"{value} {unit}"
    angle = key.endswith(("_angle", "_increment", "_2theta")) or key in ("Alpha", "Kappa", "Phi", "Chi", "Omega")
    return f"{value} deg." if angle else value


def image_file(pixels: npt.NDArray[np.int32], extension: str, text: str, damage: Damage = Damage.NONE) -> bytes:
    """The bytes of a file with these pixels; `damage` as in the messages of other simulators."""
    if damage is Damage.SHAPE:
        pixels = pixels[: max(1, len(pixels) // 2)] if len(pixels) > 1 else np.repeat(pixels, 2, axis=0)
    pixels = np.ascontiguousarray(pixels)
    if extension == ".cbf":
        data, start = _cbf(pixels, text, damage)
    elif extension in (".tif", ".tiff"):
        data, start = _tiff(pixels, text, damage), TIFF_HEADER
    else:
        data, start = pixels.astype("<i4").tobytes() + (b"\0\0\0\0" if damage is Damage.SIZE else b""), 0
    # Packed pixels are a byte or more each; behind them lies padding, whose loss would hurt nobody.
    middle = start + (pixels.size if extension == ".cbf" else pixels.nbytes) // 2
    if damage is Damage.TRUNCATED:
        return data[:middle]
    if damage is Damage.BITS:
        return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]
    return data


def _cbf(pixels: npt.NDArray[np.int32], text: str, damage: Damage) -> tuple[bytes, int]:
    data = make_cbf(pixels, text)
    if damage is Damage.DTYPE:
        data = data.replace(b'"signed 32-bit integer"', b'"unsigned 16-bit integer"', 1)
    if damage is Damage.SIZE:
        stated = f"X-Binary-Number-of-Elements: {pixels.size}\r".encode()
        data = data.replace(stated, f"X-Binary-Number-of-Elements: {pixels.size + 1}\r".encode(), 1)
    return data, data.index(START_OF_PIXELS) + len(START_OF_PIXELS)


def _tiff(pixels: npt.NDArray[np.int32], text: str, damage: Damage) -> bytes:
    rows, columns = pixels.shape
    described = text.encode("latin-1") + b"\0"
    bits = 16 if damage is Damage.DTYPE else 32
    nbytes = pixels.nbytes + (4 if damage is Damage.SIZE else 0)
    entries = [
        (256, 4, 1, columns),
        (257, 4, 1, rows),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (270, 2, len(described), 0),
        (273, 4, 1, TIFF_HEADER),
        (277, 3, 1, 1),
        (278, 4, 1, rows),
        (279, 4, 1, nbytes),
        (339, 3, 1, 2),
    ]
    after = 8 + 2 + 12 * len(entries) + 4
    described = described[: TIFF_HEADER - after - 1] + b"\0" if after + len(described) > TIFF_HEADER else described
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, count, value in entries:
        if tag == 270:
            count, value = len(described), after
        head += struct.pack("<HHII", tag, kind, count, value)
    head += struct.pack("<I", 0) + described
    return head.ljust(TIFF_HEADER, b"\0") + pixels.astype("<i4").tobytes() + bytes(nbytes - pixels.nbytes)
