"""What is said about room and rate before a run, and how it is learnt."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from full_disk import MOUNT, can_mount
from maxdaq_tango.errors import FileError
from maxdaq_tango.model import Counters, FileNaming, Receipt, RunRequest, StreamFormat, Verdict
from maxdaq_tango.receiver.outlook import Free, Outlook, Policies, Policy, free_at
from maxdaq_tango.transaction.ports import Need

MB = 10**6
REFUSE = Policies(room=Policy.REFUSE, rate=Policy.REFUSE)
WARN = Policies()
IGNORE = Policies(room=Policy.IGNORE, rate=Policy.IGNORE)


def request(**changes: Any) -> RunRequest:
    settings: dict[str, Any] = {
        "sources": ("tcp://a:1",),
        "stream_format": StreamFormat.STINS,
        "destination": "/data/a.h5",
        "expected_frames": 1000,
        "frame_nbytes": 8 * MB,
        "frame_period_s": 0.01,
        "memory_bytes": 1 << 30,
    }
    return RunRequest(**{**settings, **changes})


def outlook(free_mb: int, spill_mb: int | None = None, *, one_disk: bool = False) -> Outlook:
    def free(path: str) -> Free:
        if path.startswith("/spill"):
            return Free(nbytes=(spill_mb or 0) * MB, device=1 if one_disk else 2)
        return Free(nbytes=free_mb * MB, device=1)

    return Outlook(free)


def over(written: int = 100, nbytes: int = 8 * MB, ratio: float = 1.0, seconds: float = 4.0, full: int = 0) -> Any:
    receipt = Receipt(
        verdict=Verdict.COMPLETE,
        frames_written=written,
        bytes_written=int(written * nbytes * ratio),
        seconds=seconds,
        settings={"frame_nbytes": nbytes},
    )
    return receipt, Counters(queue_full_count=full)


def test_a_run_that_does_not_fit_is_refused_with_what_is_needed_free_and_accepted():
    looks = outlook(4000)
    with pytest.raises(FileError) as caught:
        looks.judge(request(), REFUSE)
    for part in ("1000 frames, 8 GB (counted unpacked), to /data/a.h5", "4 GB are free", "499 frames", "RoomPolicy"):
        assert part in str(caught.value)
    assert looks.warnings == ()


def test_by_default_it_is_warned_of_and_on_request_ignored():
    looks = outlook(4000)
    looks.judge(request(), WARN)
    (warning,) = looks.warnings
    assert "only 4 GB are free there" in warning
    looks.judge(request(), IGNORE)
    assert looks.warnings == ()


def test_one_that_fits_is_not_spoken_of_and_takes_back_the_warning_of_the_last():
    looks = outlook(8100)
    looks.judge(request(expected_frames=2000), WARN)
    assert looks.warnings
    looks.judge(request(), REFUSE)
    assert looks.warnings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": ""},
        {"save_raw": False},
        {"expected_frames": None},
        {"frame_nbytes": None},
        {"naming": FileNaming.STREAM},
    ],
)
def test_of_what_has_no_file_or_no_known_size_nothing_is_asked(changes):
    def free(path: str) -> Free:
        raise AssertionError("the file system was asked")

    Outlook(free).judge(request(**changes), REFUSE)


def test_packing_of_the_last_runs_of_such_frames_counts_the_worst_of_them():
    looks = outlook(4000)
    looks.learn(*over(ratio=0.1))
    looks.learn(*over(ratio=0.4))
    looks.learn(*over(ratio=0.2))
    looks.judge(request(), REFUSE)  # 3.2 GB
    with pytest.raises(FileError, match=r"8 GB \(counted unpacked\)"):
        looks.judge(request(frame_nbytes=4 * MB, expected_frames=2000), REFUSE)  # of other frames nobody knows
    looks.learn(*over(ratio=0.6))
    with pytest.raises(FileError, match=r"4.8 GB \(packed as in the last runs\)"):
        looks.judge(request(), REFUSE)


def test_a_run_that_wrote_nothing_teaches_nothing():
    looks = outlook(1)
    looks.learn(*over(written=0, full=3))
    assert (looks.ratio(8 * MB), looks.able_bytes_hz) == (1.0, None)


def test_what_the_spill_directory_takes_is_no_reason_to_refuse_but_told():
    looks = outlook(4000, 5000)
    looks.judge(request(spill_directory="/spill"), REFUSE)
    assert "only 4 GB are free there; the rest goes to /spill" in looks.warnings[0]
    with pytest.raises(FileError, match="1 GB in /spill"):
        outlook(4000, 1000).judge(request(spill_directory="/spill"), REFUSE)


def test_what_is_needed_and_free_is_there_for_whoever_adds_it_up():
    looks = outlook(9000, 1000)
    looks.judge(request(), WARN)
    assert looks.need == Need(nbytes=8_001_024_000, free_nbytes=9000 * MB)
    looks.judge(request(spill_directory="/spill"), WARN)
    assert looks.need == Need(nbytes=8_001_024_000, free_nbytes=10_000 * MB)
    for nobody_asks in (request(destination=""), request(frame_nbytes=None)):
        looks.judge(nobody_asks, WARN)
        assert looks.need is None
    looks.judge(request(), IGNORE)
    assert looks.need is None


def test_a_spill_directory_on_the_same_disk_is_no_room_at_all():
    with pytest.raises(FileError, match="499 frames at most"):
        outlook(4000, 4000, one_disk=True).judge(request(spill_directory="/spill"), REFUSE)


def test_a_file_system_that_cannot_be_asked_is_told_and_refuses_nothing():
    def free(path: str) -> Free:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    looks = Outlook(free)
    looks.judge(request(), REFUSE)
    assert "nobody can tell how much room there is" in looks.warnings[0]


def test_a_rate_that_was_too_much_once_is_refused_with_what_it_could():
    looks = outlook(10**6)
    looks.learn(*over(seconds=2.0, full=1))  # 400 MB/s, and it was too slow
    with pytest.raises(FileError) as caught:
        looks.judge(request(), REFUSE)
    for part in ("100 frames/s, 800 MB/s", "400 MB/s at best", "50 frames/s at most", "RatePolicy"):
        assert part in str(caught.value)
    looks.judge(request(), WARN)
    assert "400 MB/s at best" in looks.warnings[0]
    looks.judge(request(), IGNORE)
    assert looks.warnings == ()
    looks.judge(request(frame_period_s=0.02), REFUSE)


def test_who_was_never_too_slow_may_be_faster_than_was_asked_of_it():
    looks = outlook(10**6)
    looks.learn(*over(seconds=8.0))
    looks.judge(request(), REFUSE)
    assert looks.warnings == ()


def test_the_best_run_counts_also_where_another_was_too_slow():
    looks = outlook(10**6)
    looks.learn(*over(seconds=0.999, full=1))  # too short to tell
    looks.judge(request(), REFUSE)
    looks.learn(*over(seconds=4.0, full=1))
    looks.learn(*over(seconds=1.0))  # 800 MB/s
    looks.judge(request(), REFUSE)
    assert looks.warnings == ()


def test_a_run_that_memory_holds_is_never_too_fast():
    looks = outlook(10**6)
    looks.learn(*over(seconds=4.0, full=1))
    looks.judge(request(expected_frames=60), REFUSE)
    assert looks.warnings == ()


def test_one_that_waits_for_triggers_is_warned_of_and_not_refused():
    looks = outlook(10**6)
    looks.learn(*over(seconds=4.0, full=1))
    looks.judge(request(triggered=True), REFUSE)
    assert "100 frames/s at most, 800 MB/s" in looks.warnings[0]


def test_the_room_is_that_of_the_disk_on_which_the_folder_will_be(tmp_path):
    there, not_yet = free_at(str(tmp_path)), free_at(str(tmp_path / "a" / "b"))
    assert there.device == not_yet.device == tmp_path.stat().st_dev
    status = os.statvfs(tmp_path)
    assert abs(not_yet.nbytes - status.f_bavail * status.f_frsize) < 1 << 30


def test_a_disk_that_is_too_small_is_found_so(tmp_path):
    if not can_mount("tmpfs"):
        pytest.skip("a small disk cannot be mounted here")
    (tmp_path / "small").mkdir()
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from test_outlook import REFUSE, Outlook, request\n"
        "at = {'destination': 'small/new/a.h5', 'frame_nbytes': 1_000_000}\n"
        "Outlook().judge(request(expected_frames=20, **at), REFUSE)\n"
        "Outlook().judge(request(expected_frames=30, **at), REFUSE)\n"
    )
    folders = (str(Path(__file__).parent), str(Path(__file__).parents[2]))
    script = f'{MOUNT["tmpfs"]} && exec "$0" -c "$1" "$2" "$3"'
    command = ["unshare", "-m", "sh", "-c", script, sys.executable, code, *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    last = done.stderr.splitlines()[-1]
    assert "FileError: write 30 frames, 30 MB (counted unpacked), to small/new/a.h5: only 25.2 MB are free" in last
    assert "25 frames at most" in last


def test_a_file_system_that_does_not_answer_holds_up_no_run():
    answer, asked = threading.Event(), list[threading.Thread]()

    def free(path: str) -> Free:
        asked.append(threading.current_thread())
        answer.wait(10.0)
        return Free(nbytes=100_000 * MB, device=1)

    looks = Outlook(free, look_s=0.1)
    try:
        for _ in range(2):
            looks.judge(request(), REFUSE)
            assert "nobody can tell how much room there is (its file system does not answer)" in looks.warnings[0]
            assert looks.need is None
        assert len(asked) == 1, "it is not asked again before it has answered"
    finally:
        answer.set()
        asked[0].join()
    looks.judge(request(), REFUSE)
    assert looks.warnings == ()
