"""Between us and slsdet: one thread for all calls, our errors, names of the shared memory, a library that hangs."""

from __future__ import annotations

import os
import sys
import threading
import types
from typing import Any

import pytest

from maxdaq_tango.detectors.jungfrau import simulated_slsdet
from maxdaq_tango.detectors.jungfrau.adapter import SlsAdapter, load_library, plain
from maxdaq_tango.detectors.jungfrau.call_thread import CallThread
from maxdaq_tango.detectors.jungfrau.protocol import GainMode, RunStatus
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorRefused, DetectorTimeout

SIMULATED = "maxdaq_tango.detectors.jungfrau.simulated_slsdet"


@pytest.fixture
def adapter(simulated: Any):
    adapter = SlsAdapter(simulated.host, library=SIMULATED)
    adapter.connect()
    yield adapter
    adapter.close()


def test_a_library_that_is_missing_is_one_sentence() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_library("slsdet_that_nobody_has")
    text = str(refusal.value)
    assert "slsdet_that_nobody_has" in text
    assert "pip install" in text
    assert "\n" not in text


def test_a_module_that_is_no_such_library_is_told_by_what_it_lacks() -> None:
    with pytest.raises(ConfigurationError, match="it has no Jungfrau, freeSharedMemory"):
        load_library("json")


def test_values_become_plain_and_enums_our_own(adapter: SlsAdapter) -> None:
    assert adapter.get("status") is RunStatus.IDLE
    adapter.set("gainmode", GainMode.FIX_G1)
    assert adapter.get("gainmode") is GainMode.FIX_G1
    adapter.set("gainmode", GainMode.DYNAMIC)
    assert adapter.get("detsize") == [48, 32]
    assert plain([simulated_slsdet.Geometry(1, 2), {"a": GainMode.FIX_G2}, None]) == [[1, 2], {"a": "FIX_G2"}, None]


def test_refusals_and_absence_are_told_apart(adapter: SlsAdapter) -> None:
    with pytest.raises(DetectorRefused, match="60 - 200"):
        adapter.set("highvoltage", 10)
    with pytest.raises(DetectorRefused, match="frozen"):
        adapter.set("colour", 1)
    absent = SlsAdapter("127.0.0.1:1", library=SIMULATED)
    with pytest.raises(DetectorOffline, match="Cannot connect"):
        absent.connect()
    with pytest.raises(DetectorOffline, match="not connected"):
        absent.get("status")
    absent.close()


def test_another_major_version_says_which_library_is_wanted(start: Any) -> None:
    adapter = SlsAdapter(start("--server-version", "9.1.0").host, library=SIMULATED)
    with pytest.raises(DetectorRefused) as refusal:
        adapter.connect()
    assert "9.1.0 is incompatible" in refusal.value.answer
    assert "major version" in refusal.value.accepted
    adapter.close()


class Recorder:
    """A library that notes in which thread, and under which name of the memory, it is called."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.names: list[str | None] = []
        self.go_on = threading.Event()
        self.module: Any = types.ModuleType("recorded_slsdet")
        recorder = self

        class Jungfrau:
            def __init__(self, number: int) -> None:
                recorder.note()

            @property
            def hostname(self) -> str:
                recorder.note()
                return "x"

            @hostname.setter
            def hostname(self, value: str) -> None:
                recorder.note()

            @property
            def frames(self) -> int:
                recorder.go_on.wait(10)
                return 1

            def start(self) -> None:
                recorder.note()

            stop = rx_start = rx_stop = start

        self.module.__dict__.update({name: getattr(simulated_slsdet, name) for name in simulated_slsdet.ENUMS})
        self.module.Jungfrau = Jungfrau
        self.module.freeSharedMemory = lambda *_: self.note()

    def note(self) -> None:
        self.threads.add(threading.get_ident())
        self.names.append(os.environ.get("SLSDETNAME"))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "recorded_slsdet", recorder.module)
    monkeypatch.delenv("SLSDETNAME", raising=False)
    return recorder


def test_all_calls_of_all_threads_are_made_in_one(recorder: Recorder) -> None:
    adapter = SlsAdapter("x", library="recorded_slsdet", memory_name="beamline_jf")
    adapter.connect()
    threads = [threading.Thread(target=adapter.call, args=("start",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    adapter.close()
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads
    assert recorder.names[:3] == ["beamline_jf"] * 3  # while memory is opened, and only then
    assert recorder.names[3] is None
    assert "SLSDETNAME" not in os.environ


def test_a_library_that_hangs_is_a_timeout_for_whoever_waits_and_goes_on_when_it_comes_back(recorder: Recorder) -> None:
    adapter = SlsAdapter("x", library="recorded_slsdet")
    adapter.connect()
    with pytest.raises(DetectorTimeout, match="read frames"):
        adapter.get("frames", 0.05)
    before = len(recorder.names)
    with pytest.raises(DetectorTimeout, match=r"it is at: read frames"):
        adapter.call("start", 0.05)
    recorder.go_on.set()
    assert adapter.get("frames") == 1
    assert len(recorder.names) == before  # the start that nobody waits for any more was not made
    adapter.close()


def test_the_thread_ends_and_begins_again() -> None:
    calls = CallThread("calls of a test")
    assert calls.run("one", lambda: threading.current_thread().name, 5) == "calls of a test"
    calls.close()
    calls.close()
    assert "calls of a test" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(ZeroDivisionError):
        calls.run("two", lambda: 1 // 0, 5)
    calls.close()


def test_the_published_library_is_accepted_and_nobody_at_the_address_is_offline() -> None:
    pytest.importorskip("slsdet", reason="the published wheel is not installed: pip install slsdet")
    before = set(os.listdir("/dev/shm"))
    adapter = SlsAdapter("127.0.0.1:1", memory_number=996, memory_name="maxdaq_test_adapter")
    with pytest.raises(DetectorOffline, match="Cannot connect"):
        adapter.connect()
    adapter.close()
    for name in set(os.listdir("/dev/shm")) - before:
        assert "maxdaq_test_adapter" not in name, "shared memory was left behind"
