"""Would a Prepare be taken? Every reason why not, and a file system that does not answer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maxdaq_tango import __version__
from maxdaq_tango.model import BUSY_STATES, AcquisitionState, Counters
from maxdaq_tango.receiver import disk_room
from maxdaq_tango.receiver.disk_room import DiskRoom, Room, look_at
from maxdaq_tango.receiver.health import EngineHealth, Health, judge
from maxdaq_tango.receiver.stage_times import STAGES, stage_times

WELL = Room(path="/data", free_bytes=10**12)
FULL = Room(path="/scratch", free_bytes=0, problem="only 0 MiB are free")


def judged(**changes: Any) -> Health:
    usual: dict[str, Any] = {
        "trouble": "",
        "starting": False,
        "preparing": False,
        "state": AcquisitionState.IDLE,
        "failure": "",
        "engine": EngineHealth(alive=True, pid=7),
        "roots": (WELL,),
    }
    return judge(**{**usual, **changes})


def test_a_receiver_at_rest_is_ready() -> None:
    health = judged()
    assert (health.ready, health.why_not, health.concerns, health.version) == (True, (), (), __version__)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trouble": "property Roots"}, "property Roots"),
        ({"starting": True}, "starting"),
        ({"preparing": True}, "being prepared"),
        *(({"state": state}, state.value) for state in sorted(BUSY_STATES)),
        ({"roots": (FULL,)}, "/scratch: only 0 MiB"),
    ],
)
def test_why_it_is_not(changes: dict[str, Any], why: str) -> None:
    health = judged(**changes)
    assert not health.ready
    assert len(health.why_not) == 1
    assert why in health.why_not[0]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"roots": (WELL, FULL)}, "/scratch"),
        ({"roots": ()}, "Roots is empty"),
        ({"failure": "no such folder"}, "no such folder"),
        ({"engine": EngineHealth(alive=False)}, "the next Prepare starts one"),
        ({"engine": EngineHealth(alive=True, silent_s=6)}, "no sign of life for 6 s"),
    ],
)
def test_what_prevents_nothing_is_a_concern(changes: dict[str, Any], what: str) -> None:
    health = judged(**changes)
    assert health.ready
    assert len(health.concerns) == 1
    assert what in health.concerns[0]


def test_the_room_of_a_folder(tmp_path: Path) -> None:
    room = look_at(str(tmp_path))
    assert room.free_bytes is not None
    assert room.free_bytes > 0
    gone = look_at(str(tmp_path / "gone"))
    assert (gone.free_bytes, gone.problem) == (None, "it cannot be looked at: No such file or directory")


def test_a_folder_with_too_little_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_room, "LEAST_BYTES", 1 << 62)
    assert look_at(str(tmp_path)).problem.endswith(" MiB are free")


def test_a_file_system_that_does_not_answer_hides_no_other_and_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_room, "SILENT_S", 0.0)
    answer, seen = threading.Event(), threading.Event()

    def look(path: str) -> Room:
        if path == "/hangs":
            answer.wait(60)
        else:
            seen.set()
        return Room(path=path, free_bytes=5)

    disk = DiskRoom(look)
    disk.start(["/hangs", "/well"])
    try:
        assert seen.wait(10)
        pause = threading.Event()
        for _ in range(500):
            hangs, well = disk.rooms()
            if well.free_bytes == 5:
                break
            pause.wait(0.01)
        assert well == Room(path="/well", free_bytes=5)
        assert "has not answered" in hangs.problem
        assert hangs.free_bytes is None
    finally:
        answer.set()
        disk.close()
    assert disk.rooms() == (Room(path="/hangs", free_bytes=5), well)


def test_every_stage_has_its_count_and_its_seconds() -> None:
    fields = {field.name: number for number, field in enumerate(msgspec.structs.fields(Counters))}
    told = msgspec.json.decode(stage_times(Counters(**fields)))
    assert list(told) == ["idle", "queue", "take", "room", "pool", "write", "checkpoint"]
    for stage, (count, spent) in STAGES.items():
        assert told[stage] == {"count": fields[count], "seconds": fields[spent] / 1e6}
