from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maxdaq_tango.model import Receipt, Verdict
from maxdaq_tango.pipeline import blackbox
from maxdaq_tango.pipeline.blackbox import (
    HEAD_NBYTES,
    LONGEST_NBYTES,
    MOST_CORRUPT,
    RING_NBYTES,
    BlackBox,
    blackbox_path,
    create_blackbox_file,
    decoded,
    write_blackbox,
)
from maxdaq_tango.pipeline.noting import NOTED, keep
from receiving import Harness


def whats(box: BlackBox) -> list[str]:
    return [record["what"] for record in box.records()]


def test_what_is_noted_can_be_read_in_order_by_whoever_shares_the_memory() -> None:
    handle = create_blackbox_file()
    writer, reader = BlackBox(handle), BlackBox(handle)
    os.close(handle)
    writer.note("state", state="ARMED", message="é\n")
    writer.note("end", series="7")
    first, second = reader.records()
    assert (first["what"], first["state"], first["message"]) == ("state", "ARMED", "é\n")
    assert (second["what"], second["series"]) == ("end", "7")
    assert first["at"] <= second["at"]


def test_a_new_run_does_not_show_the_one_before() -> None:
    box = BlackBox()
    box.note("old")
    box.begin()
    assert box.records() == []
    box.note("new")
    assert whats(box) == ["new"]


def test_it_is_bounded_and_keeps_the_newest() -> None:
    box = BlackBox()
    count = 3 * RING_NBYTES // 1000
    for number in range(count):
        box.note("n", number=number, padding="x" * 1000)
    kept = [record["number"] for record in box.records()]
    assert kept == list(range(kept[0], count))
    assert 0.9 * RING_NBYTES < len(kept) * 1040 < RING_NBYTES


@pytest.mark.parametrize("bad", ["x" * LONGEST_NBYTES, object()])
def test_what_cannot_be_told_is_told_by_its_kind(bad: Any) -> None:
    box = BlackBox()
    box.note("header", value=bad)
    (record,) = box.records()
    assert record["what"] == "header"
    assert "left_out_bytes" in record


def test_of_a_message_the_first_bytes_are_kept_as_text() -> None:
    box = BlackBox()
    box.note_message("header", [b'{"a": 1}', b"\x00\xff" * HEAD_NBYTES, b"never"])
    (record,) = box.records()
    assert record["parts"] == [8, 2 * HEAD_NBYTES, 5]
    assert record["head"].startswith('{"a": 1}\n....')
    assert len(record["head"]) == HEAD_NBYTES + 1


def test_a_flood_of_corrupt_messages_does_not_push_out_the_rest() -> None:
    box = BlackBox()
    box.note("header")
    for _ in range(10 * MOST_CORRUPT):
        box.note_corrupt([b"x" * HEAD_NBYTES], "no")
    assert whats(box) == ["header", *["corrupt"] * MOST_CORRUPT]


def test_a_writer_that_died_in_mid_write_spoils_no_line_but_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    box = BlackBox()
    for number in range(RING_NBYTES // 500):
        box.note("n", number=number, padding="x" * 1000)
    before = box.records()
    count = 0

    class Dead:
        size = blackbox._WHERE.size
        unpack_from = blackbox._WHERE.unpack_from

        def pack_into(self, *_: Any) -> None:
            nonlocal count
            count += 1
            raise KeyboardInterrupt  # the bytes are there, the line is not

    with monkeypatch.context() as patch:
        patch.setattr(blackbox, "_WHERE", Dead())
        with pytest.raises(KeyboardInterrupt):
            box.note("half", padding="y" * 50_000)
    assert count == 1
    assert box.records() == before


@pytest.mark.parametrize(
    ("file", "box"),
    [("/d/scan.h5", "/d/scan.blackbox.jsonl"), ("/d/.scan.nxs.part", "/d/scan.blackbox.jsonl")],
)
def test_it_lies_beside_the_data(file: str, box: str) -> None:
    assert str(blackbox_path(Path(file))) == box


def test_an_older_black_box_is_never_written_over(tmp_path: Path) -> None:
    first = write_blackbox(tmp_path / "a.h5", [{"at": 1, "what": "x"}])
    second = write_blackbox(tmp_path / "a.h5", [{"at": 2, "what": "y"}])
    assert (first.name, second.name) == ("a.blackbox.jsonl", "a.blackbox.2.jsonl")
    assert decoded(first.read_bytes().splitlines()) == [{"at": 1, "what": "x"}]


def test_lines_that_are_none_of_ours_are_left_out() -> None:
    assert decoded([b"{", b"7", b'{"at": "x", "what": "y"}', b"", b'{"at": 1, "what": "y"}']) == [
        {"at": 1, "what": "y"}
    ]


def test_an_incomplete_run_leaves_what_happened_beside_its_file(harness: Harness) -> None:
    harness.prepare(expected_frames=4)
    harness.sender.header(exptime=0.5)
    harness.sender.image(0)
    harness.sender.skip()
    harness.sender.image(2)
    harness.sender.send([b"nonsense"])
    harness.sender.skip()
    harness.sender.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    records = decoded((harness.folder / "a.blackbox.jsonl").read_bytes().splitlines())
    kinds = [record["what"] for record in records]
    assert kinds[0] == "prepared"
    assert kinds[-1] == "receipt"
    assert {"header", "corrupt", "end", "gap", "state", "second", "connected"} <= set(kinds)
    assert "nonsense" in next(record["head"] for record in records if record["what"] == "corrupt")
    assert '"exptime":0.5' in next(record["head"] for record in records if record["what"] == "header").replace(" ", "")
    gap = next(record for record in records if record["what"] == "gap")
    assert (gap["first"], gap["last"]) == (1, 1)
    second = next(record for record in records if record["what"] == "second")
    assert set(NOTED) <= set(second)
    assert {"take_us", "pool_us", "write_us", "checkpoint_us", "messages_queued"} <= set(NOTED)
    assert records[-1]["receipt"]["frames_missing_ranges"] == [[1, 1], [3, 3]]


def test_a_complete_run_leaves_none_and_neither_does_one_without_data(harness: Harness) -> None:
    harness.prepare()
    harness.sender.series(3)
    assert harness.receipt().verdict is Verdict.COMPLETE
    assert sorted(path.name for path in harness.folder.iterdir()) == ["a.h5", "a.manifest.json"]
    harness.prepare(destination="")
    harness.receiver.abort("enough")
    assert harness.receipt().verdict is Verdict.ABORTED
    assert sorted(path.name for path in harness.folder.iterdir()) == ["a.h5", "a.manifest.json"]


def test_requests_and_their_reasons_are_noted(harness: Harness) -> None:
    harness.prepare(expected_frames=4)
    harness.receiver.expect(None, 5)
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_written(1)
    harness.receiver.abort("a shutter closed")
    harness.receipt()
    records = decoded((harness.folder / "a.blackbox.jsonl").read_bytes().splitlines())
    asked = [record for record in records if record["what"] == "request"]
    assert [(one["name"], one.get("frames"), one.get("reason")) for one in asked] == [
        ("expect", 5, None),
        ("abort", None, "a shutter closed"),
    ]


def test_a_folder_that_takes_no_file_is_told_and_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").write_bytes(b"data")
    receipt = Receipt(verdict=Verdict.FAILED, file=str(tmp_path / "a.h5"))

    def full(file: Path, records: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maxdaq_tango.pipeline.noting.write_blackbox", full)
    assert "No space left on device" in keep(BlackBox(), receipt)
