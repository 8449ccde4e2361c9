"""What is wrong inside a damaged frame, and that nothing else is."""

from __future__ import annotations

import json

import cbor2
import numpy as np
import pytest

from maxdaq_tango.detectors.simulation.damage import cbor_bomb, json_bomb, packed
from maxdaq_tango.detectors.simulation.delivery import Damage
from maxdaq_tango.detectors.simulation.pattern import expected_frame
from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import Encoding
from maxdaq_tango.wire import dectris_v2
from maxdaq_tango.wire.blobs import check_blob

SHAPE = (96, 80)
PIXELS = expected_frame(1, 5, SHAPE)
ENCODINGS = [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5]


@pytest.mark.parametrize("encoding", ENCODINGS)
class TestPacked:
    def test_a_healthy_frame_is_what_it_was(self, encoding: Encoding) -> None:
        format, blob = packed(PIXELS, encoding)
        assert np.array_equal(decode_pixels(format, (blob,)), PIXELS)

    def test_a_cut_blob_cannot_be_unpacked(self, encoding: Encoding) -> None:
        format, blob = packed(PIXELS, encoding, Damage.TRUNCATED)
        with pytest.raises(WireError):
            decode_pixels(format, (blob,))

    def test_a_wrong_size_is_seen_from_outside(self, encoding: Encoding) -> None:
        format, blob = packed(PIXELS, encoding, Damage.SIZE)
        assert format.shape == SHAPE
        with pytest.raises(WireError):
            check_blob(format, blob)

    def test_a_wrong_length_of_a_block_is_inside_only(self, encoding: Encoding) -> None:
        blob = packed(PIXELS, encoding, Damage.BLOCK_LENGTH)[1]
        whole = packed(PIXELS, encoding)[1]
        assert len(blob) == len(whole)
        assert blob[:12] == whole[:12]
        assert blob != whole

    def test_one_bit_is_turned_over(self, encoding: Encoding) -> None:
        blob, whole = packed(PIXELS, encoding, Damage.BITS)[1], packed(PIXELS, encoding)[1]
        assert sum((a ^ b).bit_count() for a, b in zip(blob, whole, strict=True)) == 1

    def test_another_type_and_another_shape_are_told_truly(self, encoding: Encoding) -> None:
        format, blob = packed(PIXELS, encoding, Damage.DTYPE)
        assert format.dtype == "uint32"
        assert np.array_equal(decode_pixels(format, (blob,)), PIXELS)
        format, blob = packed(PIXELS, encoding, Damage.SHAPE)
        assert format.shape == (48, 80)
        assert np.array_equal(decode_pixels(format, (blob,)), PIXELS[:48])


def test_a_frame_of_one_row_gets_two() -> None:
    assert packed(PIXELS[:1], Encoding.NONE, Damage.SHAPE)[0].shape == (2, 80)


def test_a_json_bomb_is_json_and_keeps_the_rest() -> None:
    part = json_bomb(b'{"htype":"image","frame":3}', 30)
    value = json.loads(part)
    assert value.pop("bomb") == json.loads("[" * 30 + "]" * 30)
    assert value == {"htype": "image", "frame": 3}


def test_a_cbor_bomb_is_cbor_and_keeps_the_rest() -> None:
    (message,) = dectris_v2.encode_end(3, "X")
    value = cbor2.loads(cbor_bomb(message, 30))
    depth, inner = 0, value["bomb"]
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth == 30
    assert value["series_unique_id"] == "X"
    with pytest.raises(ValueError, match="map"):
        cbor_bomb(b"\xd9\xd9\xf7\x80", 3)
