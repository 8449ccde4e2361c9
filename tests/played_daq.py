"""A DAQ device and a clock as tests play them, for what scans of Sardana do with a device."""

from __future__ import annotations

from maxdaq_tango.integrations.sardana.link import Look, Report

EIGER = "a/b/eiger"
PATH = "/data/scan-0005_eiger.h5"


class Device:
    """A DAQ device that does what the test says; `did` is what was asked of it."""

    name = "a/daq/main"

    def __init__(self) -> None:
        self.did: list[str] = []
        self.settings: list = []
        self.state, self.ready, self.received, self.safe = "IDLE", True, 0, 0
        self.verdict, self.receipt = "COMPLETE", {}
        self.refuses: dict[str, Exception] = {}
        self.stops_at_once = True

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.refuses:
            raise self.refuses[what]

    def configure(self, settings) -> None:
        self._do("configure")
        self.settings.append(settings)

    def arm(self, wait_s) -> None:
        self._do("arm")
        self.state, self.received, self.safe = "ARMED", 0, 0

    def wait_until_armed(self, wait_s) -> bool:
        return self.state in ("ARMED", "ACQUIRING")

    def trigger(self) -> None:
        self._do("trigger")
        self.state = "ACQUIRING"

    def stop(self) -> None:
        self._do("stop")
        if self.stops_at_once:
            self.end("ABORTED", self.received)

    def abort(self) -> None:
        self._do("abort")
        self.end("ABORTED", self.received)

    def wait_until_idle(self, wait_s) -> bool:
        return self.state == "IDLE"

    def look(self, *, counts=True, safe=False) -> Look:
        if "look" in self.refuses:
            raise self.refuses["look"]
        return Look(self.state, self.ready, (self.received,), (self.safe,) if safe else ())

    def trouble(self) -> str:
        return "as Status says"

    def report(self) -> Report:
        return Report(self.verdict, () if self.verdict == "COMPLETE" else ("so it is",), {EIGER: self.receipt})

    # what happens to it

    def frames(self, received: int, safe: int | None = None) -> None:
        self.received, self.safe = received, received if safe is None else safe

    def end(self, verdict: str = "COMPLETE", rows: int = 0, **receipt) -> None:
        self.state, self.verdict = "IDLE", verdict
        self.receipt = {"file": PATH, "dataset": "entry/x/data", "shape": [rows, 2, 2], **receipt}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
