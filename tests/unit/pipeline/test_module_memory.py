"""Memory that what waits for modules, or for a header, may take: also where a message is mostly head."""

from __future__ import annotations

import tracemalloc

import numpy as np

from maxdaq_tango.model import DamagedFrame, Encoding, FrameFormat
from maxdaq_tango.pipeline.assembly import Assembler
from maxdaq_tango.pipeline.budget import PLAIN_HEAD_BYTES, head_cost
from maxdaq_tango.wire import sls_json
from maxdaq_tango.wire.marked import mark
from maxdaq_tango.wire.sls_json import SlsJsonDecoder
from module_parts import part, seen, whole
from receiving import Harness, wait_for_bytes

LIMIT = 8 << 20


def test_what_is_read_from_heads_counts_with_the_parts_that_wait() -> None:
    format = FrameFormat((1, 1), "uint8", Encoding.NONE)
    decoder, assembler = SlsJsonDecoder(), Assembler(2, wait_s=1.0, limit_bytes=LIMIT, holds=lambda number: False)
    how = {"modules": (2, 1), "first_number": 0, "junk": [[[]]] * 5000}
    messages = [sls_json.encode_image(n, format, b"1", **how) for n in range(4)]  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        for message in messages:
            assembler.put(decoder.decode([mark(0), *message]), 0.0)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(assembler) == 4
    assert 1 << 20 < taken <= assembler.nbytes


def test_an_ordinary_head_costs_nothing_beyond_its_part() -> None:
    plain, long = (Assembler(2, wait_s=1.0, limit_bytes=LIMIT, holds=lambda number: False) for _ in range(2))
    plain.put(part(0, 0, head_nbytes=PLAIN_HEAD_BYTES), 0.0)
    long.put(part(0, 0, head_nbytes=PLAIN_HEAD_BYTES + 1000), 0.0)
    assert long.nbytes - plain.nbytes == head_cost(PLAIN_HEAD_BYTES + 1000) > 30_000


def test_no_blank_module_is_made_of_whatever_size_a_packed_part_states() -> None:
    huge = FrameFormat((1 << 15, 1 << 15), "uint32", Encoding.BSLZ4)
    made = Assembler(2, wait_s=1.0, limit_bytes=LIMIT, holds=lambda number: False, most_blank_bytes=LIMIT)
    made.put(part(0, 0, format=huge, blob=b"packed"), 0.0)
    tracemalloc.start()
    try:
        (damaged,) = made.flush()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(damaged, DamagedFrame)
    assert (damaged.frame.frame_number, str(LIMIT) in str(damaged)) == (0, True)
    assert most < 1 << 20


def test_a_frame_whose_modules_are_all_there_needs_no_blank_and_may_be_larger() -> None:
    made = Assembler(2, wait_s=1.0, limit_bytes=LIMIT, holds=lambda number: False, most_blank_bytes=1)
    (frame,) = [*made.put(part(0, 0), 0.0), *made.put(part(0, 1), 0.0)]
    np.testing.assert_array_equal(seen(frame), whole(0, 2))  # type: ignore[arg-type]


def test_a_frame_that_overtakes_its_header_counts_with_its_head(harness: Harness) -> None:
    other = harness.add_sender()
    harness.prepare(sources=(harness.sender.endpoint, other.endpoint), memory_bytes=1 << 20, expected_frames=2)
    other.number = 1
    other.image(0, extras={"junk": [[]] * 10_000})
    other.image(1)
    wait_for_bytes(harness, other.nbytes)
    harness.sender.header()
    harness.sender.number = 3
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.frames_written, receipt.frames_out_of_series, receipt.frames_missing) == (1, 1, (0,))
