"""Every step between the wire and the file, by the same suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.files.calibration import Calibration
from maxdaq_tango.kernels.cbf import make_cbf
from maxdaq_tango.kernels.compression import HAS_BSZSTD, decode_pixels, encode_pixels
from maxdaq_tango.kernels.jungfrau import convert_with_numpy
from maxdaq_tango.kernels.mono12p import pack_mono12, pack_mono12p
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.kernels.time_over_threshold import ARRAY
from maxdaq_tango.kernels.time_over_threshold import convert_with_numpy as energies_with_numpy
from maxdaq_tango.model import Encoding, Frame, FrameFormat, Orientation
from maxdaq_tango.model.conversion import Conversion, ConvertTo
from maxdaq_tango.pipeline.conversion import Convert
from maxdaq_tango.pipeline.stitching import ModulePlaces, Stitch
from maxdaq_tango.pipeline.transforms import (
    ConvertTimeOverThreshold,
    Lz4BlockAsChunk,
    MaskRectangle,
    Orient,
    Pack,
    Transform,
    Unpack,
    Verify,
    fill_value,
    masked_value,
)
from maxdaq_tango.testing.transform_contract import TransformContract

ROWS, COLUMNS = 7, 10
PLANE = (ROWS, COLUMNS)
BSZSTD = pytest.param(
    Encoding.BSZSTD, marks=pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard")
)


def counts(number: int, shape: tuple[int, ...] = PLANE, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).poisson(900, shape).astype(dtype)


def framed(pixels: np.ndarray[Any, Any], encoding: Encoding, *, in_modules: bool = False) -> Frame:
    chunk = (1, *pixels.shape[1:]) if in_modules else ()
    format = FrameFormat(pixels.shape, str(pixels.dtype), encoding, chunk)
    parts = pixels[:, None] if in_modules else [pixels]
    return Frame(series="", frame_number=1, format=format, blobs=tuple(encode_pixels(part, encoding) for part in parts))


class _Packed(TransformContract):
    """A packing that is unpacked here."""

    encoding: Encoding
    dtype = "uint16"

    def transform(self) -> Transform:
        return Unpack()

    def frames(self) -> Sequence[Frame]:
        format = FrameFormat(PLANE, self.dtype, self.encoding)
        return [
            Frame(series="", frame_number=1, format=format, blobs=(self.packed(self.pixels(number)),))
            for number in range(3)
        ]

    def pixels(self, number: int) -> np.ndarray[Any, Any]:
        return counts(number, dtype=self.dtype)

    def packed(self, pixels: np.ndarray[Any, Any]) -> bytes:
        raise NotImplementedError

    def expected(self, frame: Frame) -> np.ndarray[Any, Any]:
        return next(
            pixels for number in range(3) if self.packed(pixels := self.pixels(number)) == bytes(frame.blobs[0])
        )


class TestUnpackCbf(_Packed):
    encoding, dtype = Encoding.CBF, "int32"

    def packed(self, pixels: np.ndarray[Any, Any]) -> bytes:
        return make_cbf(pixels)


class TestUnpackMono12p(_Packed):
    encoding = Encoding.MONO12P

    def packed(self, pixels: np.ndarray[Any, Any]) -> bytes:
        return pack_mono12p(pixels)


class TestUnpackMono12(_Packed):
    encoding = Encoding.MONO12

    def packed(self, pixels: np.ndarray[Any, Any]) -> bytes:
        return pack_mono12(pixels)


class _OfPixels(TransformContract):
    """Frames in every packing that the receiver unpacks."""

    encodings = (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5)

    @pytest.fixture(params=encodings, autouse=True)
    def _encoding(self, request: pytest.FixtureRequest) -> None:
        self.encoding = request.param

    def pixels(self, number: int) -> np.ndarray[Any, Any]:
        return counts(number)

    def frames(self) -> Sequence[Frame]:
        return [framed(self.pixels(number), self.encoding) for number in range(3)]

    def expected(self, frame: Frame) -> np.ndarray[Any, Any]:
        return self.of(decode_pixels(frame.format, frame.blobs))

    def of(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return pixels


class TestVerify(_OfPixels):
    def transform(self) -> Transform:
        return Verify()


class TestOrient(_OfPixels):
    orientation = Orientation(1, fliplr=True)

    def transform(self) -> Transform:
        return Orient(self.orientation)

    def of(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return orient(pixels, self.orientation)


class TestMaskRectangle(_OfPixels):
    unfit = (
        FrameFormat((2, 10), "uint16", Encoding.NONE),
        FrameFormat((3, *PLANE), "uint16", Encoding.NONE, (1, *PLANE)),
    )

    def transform(self) -> Transform:
        return MaskRectangle((1, 3, 4, COLUMNS))

    def of(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        pixels = pixels.copy()
        pixels[1:3, 4:] = masked_value("uint16")
        return pixels


class TestTimeOverThreshold(_OfPixels):
    unfit = (
        FrameFormat(PLANE, "uint16", Encoding.NONE),
        FrameFormat((COLUMNS, ROWS), "int32", Encoding.NONE),
    )

    @pytest.fixture(autouse=True)
    def _table(self, tmp_path: Path) -> None:
        self.table = np.random.default_rng(1).normal(8, 1, (*PLANE, 950)).astype("f4")
        self.path = tmp_path / "table.npz"
        np.savez(self.path, **{ARRAY: self.table})

    def transform(self) -> Transform:
        return ConvertTimeOverThreshold(str(self.path))

    def pixels(self, number: int) -> np.ndarray[Any, Any]:
        return counts(number, dtype="int32")  # some are beyond the table

    def of(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = np.zeros(pixels.size, "f4")
        energies_with_numpy(pixels.reshape(-1), self.table.reshape(pixels.size, -1), out)
        return out.reshape(pixels.shape)


class TestStitch(_OfPixels):
    """Three modules, one of them turned and one without a place."""

    places = ModulePlaces((20, 30), ((0, 0, 0), (2, 15, 1), (-1, -1, 0)))

    def transform(self) -> Transform:
        return Stitch(self.places)

    def frames(self) -> Sequence[Frame]:
        return [framed(counts(number, (3, *PLANE)), self.encoding, in_modules=True) for number in range(3)]

    def of(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        canvas = np.full(self.places.shape, fill_value("uint16"), "u2")
        canvas[:ROWS, :COLUMNS] = pixels[0]
        canvas[2 : 2 + COLUMNS, 15 : 15 + ROWS] = np.rot90(pixels[1], -1)
        return canvas


class TestPack(TransformContract):
    @pytest.fixture(
        params=[
            Encoding.BSLZ4,
            BSZSTD,
        ],
        autouse=True,
    )
    def _encoding(self, request: pytest.FixtureRequest) -> None:
        self.encoding = request.param

    def transform(self) -> Transform:
        return Pack(self.encoding)

    def frames(self) -> Sequence[Frame]:
        return [framed(counts(number, (2, *PLANE)), Encoding.NONE, in_modules=True) for number in range(3)]

    def expected(self, frame: Frame) -> np.ndarray[Any, Any]:
        return decode_pixels(frame.format, frame.blobs)


class TestLz4BlockAsChunk(TransformContract):
    takes_any_bytes = True  # `Verify` comes before it, where that is asked for

    def transform(self) -> Transform:
        return Lz4BlockAsChunk()

    def frames(self) -> Sequence[Frame]:
        return [framed(counts(number), Encoding.LZ4_BLOCK) for number in range(3)]

    def expected(self, frame: Frame) -> np.ndarray[Any, Any]:
        return decode_pixels(frame.format, frame.blobs)


class TestConvert(TransformContract):
    """Pixels of two modules of a Jungfrau, in all gains."""

    shape = (2, *PLANE)
    unfit = (
        FrameFormat(shape, "uint32", Encoding.NONE, (1, *PLANE)),
        FrameFormat(shape, "uint16", Encoding.BSLZ4, (1, *PLANE)),
        FrameFormat((3, *PLANE), "uint16", Encoding.NONE, (1, *PLANE)),
    )

    @pytest.fixture(params=[ConvertTo.ENERGY, ConvertTo.PHOTONS, ConvertTo.COUNTS], autouse=True)
    def _to(self, request: pytest.FixtureRequest) -> None:
        rng = np.random.default_rng(7)
        size = (3, *self.shape)
        pedestal = np.array([3000, 15000, 15500])[:, None, None, None] + rng.normal(0, 20, size)
        gain = np.array([40, -1.5, -0.1])[:, None, None, None] * rng.normal(1, 0.01, size)
        bad = np.zeros(self.shape, bool)
        bad[-1, -1, -1] = True
        self.calibration = Calibration(pedestal.astype("f4"), gain.astype("f4"), bad)
        self.to = request.param

    def transform(self) -> Transform:
        return Convert(Conversion(to=self.to, calibration="a.h5", photon_energy_ev=8000.0), self.calibration)

    def frames(self) -> Sequence[Frame]:
        made = []
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 1 << 14, self.shape).astype("u2")
            pixels[:, 1] |= 0x4000
            pixels[:, 2] |= 0xC000
            pixels[0, 0, :3] = 0xFFFF, 0xC000, 0x8123
            made.append(framed(pixels, Encoding.NONE, in_modules=True))
        return made

    def expected(self, frame: Frame) -> np.ndarray[Any, Any]:
        unit_kev = 1.0 if self.to is ConvertTo.ENERGY else 8.0
        pixels = decode_pixels(frame.format, frame.blobs)
        out = np.zeros(pixels.size, self.to.dtype)
        planes = [a.reshape(3, -1) for a in (self.calibration.pedestal, self.calibration.scale(unit_kev))]
        convert_with_numpy(pixels.reshape(-1), *planes, out)
        return out.reshape(pixels.shape)
