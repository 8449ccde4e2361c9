from __future__ import annotations

import gzip
import io
from pathlib import Path

import cbor2
import pytest

from maxdaq_tango.errors import FileError, WireError
from maxdaq_tango.wire.capture import CaptureWriter, read_capture

MESSAGES = [[b'{"htype":"header"}', b""], [b"x" * 23], [b"y" * 24, b"z" * 300, b"w" * 70_000], []]


def written(tmp_path: Path) -> Path:
    path = tmp_path / "stream.cborseq.gz"
    with CaptureWriter(path) as writer:
        for message in MESSAGES:
            writer.write(message)
        assert writer.message_count == len(MESSAGES)
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert list(read_capture(written(tmp_path))) == MESSAGES
    assert list(read_capture(str(tmp_path / "stream.cborseq.gz"))) == MESSAGES


def test_the_file_is_a_plain_cbor_sequence_for_any_reader(tmp_path: Path) -> None:
    stream = io.BytesIO(gzip.decompress(written(tmp_path).read_bytes()))
    decoder = cbor2.CBORDecoder(stream)
    assert [decoder.decode() for _ in MESSAGES] == MESSAGES


def test_what_cbor2_writes_is_read_compressed_or_not() -> None:
    plain = b"".join(cbor2.dumps(message) for message in MESSAGES)
    for data in (plain, gzip.compress(plain)):
        assert list(read_capture(io.BytesIO(data))) == MESSAGES


def test_views_of_memory_are_recorded(tmp_path: Path) -> None:
    target = io.BytesIO()
    with CaptureWriter(target) as writer:
        writer.write([memoryview(b"abcdef")[1:3], bytearray(b"gh")])
    target.seek(0)
    assert list(read_capture(target)) == [[b"bc", b"gh"]]


def test_the_same_stream_makes_the_same_file(tmp_path: Path) -> None:
    first = written(tmp_path).read_bytes()
    (tmp_path / "again").mkdir()
    assert written(tmp_path / "again").read_bytes() == first


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(FileError, match="new name"):
        CaptureWriter(path)
    assert path.read_bytes() == before


def test_closing_twice_is_harmless_and_writing_afterwards_is_refused(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "c")
    writer.close()
    writer.close()
    with pytest.raises(FileError, match="closed"):
        writer.write([b"late"])
    assert list(read_capture(tmp_path / "c")) == []


def test_what_was_recorded_before_a_failure_can_be_read(tmp_path: Path) -> None:
    def record() -> None:
        with CaptureWriter(tmp_path / "c") as writer:
            writer.write([b"first"])
            raise RuntimeError("the stream broke")

    with pytest.raises(RuntimeError):
        record()
    assert list(read_capture(tmp_path / "c")) == [[b"first"]]


def test_a_missing_file_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="nowhere"):
        list(read_capture(tmp_path / "nowhere"))
    with pytest.raises(FileError):
        list(read_capture(tmp_path))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_gives_whole_messages_and_then_says_so(compressed: bool) -> None:
    messages = [[b"a" * 30, b"b"], [b"c" * 300]]
    items = [cbor2.dumps(message) for message in messages]
    plain = b"".join(items)
    whole = gzip.compress(plain, mtime=0) if compressed else plain
    for cut in range(len(whole)):
        got: list[list[bytes]] = []
        try:
            for message in read_capture(io.BytesIO(whole[:cut])):
                got.append(message)
        except WireError:
            pass
        else:
            assert not compressed or cut == 0
            assert cut in (0, len(items[0]))
        assert got == messages[: len(got)]


@pytest.mark.parametrize(
    "content",
    [
        b"\x89HDF\r\n\x1a\n",
        b"just text",
        cbor2.dumps({"a": 1}),
        cbor2.dumps([1, 2]),
        cbor2.dumps(["text"]),
        cbor2.dumps([[b"nested"]]),
        b"\x9f\x41a\xff",
        b"\x81\x5f\x41a\xff",
        b"\x9b" + b"\xff" * 8,
        b"\x81\x5b" + b"\xff" * 8 + b"abc",
        b"\x81\x5a\xff\xff\xff\xff" + b"abc",
        b"\x1f\x8b not gzip at all",
        b"\x1f",
    ],
)
def test_a_foreign_file_is_a_wire_error(content: bytes) -> None:
    with pytest.raises(WireError):
        list(read_capture(io.BytesIO(content)))


def test_bytes_damaged_inside_gzip_are_a_wire_error(tmp_path: Path) -> None:
    whole = written(tmp_path).read_bytes()
    for at in range(10, len(whole), 7):
        damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        with pytest.raises(WireError):
            list(read_capture(io.BytesIO(damaged)))


def test_a_message_of_too_many_parts_is_not_recorded() -> None:
    with CaptureWriter(io.BytesIO()) as writer, pytest.raises(WireError):
        writer.write([b""] * 2000)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("eiger1-1m.dectris-v1", [9] + [4] * 9),
        ("eiger2-4m.stins", [2] * 14),
        ("pilatus-831x1475-float32.stins", [2] * 9),
    ],
)
def test_recorded_streams_have_the_parts_that_are_documented(capture, name: str, counts: list[int]) -> None:  # type: ignore[no-untyped-def]
    assert [len(message) for message in capture(name)] == counts
