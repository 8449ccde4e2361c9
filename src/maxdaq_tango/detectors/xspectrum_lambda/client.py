"""Speaks to the streamer of a Lambda: one method a command of `protocol`, each with its deadline.

Raises DetectorRefused, DetectorTimeout and DetectorOffline, with the words of the streamer or of the library behind it.
"""

from __future__ import annotations

from maxdaq_tango.detectors.streaming.link import StreamerLink
from maxdaq_tango.detectors.xspectrum_lambda.protocol import (
    Armed,
    Change,
    Configured,
    DetectorSettings,
    Health,
    Identity,
    SeriesSettings,
    Status,
)

CONNECT_TIMEOUT_S = 60.0
"""The library's `initialize` may bring up high voltage."""
SET_TIMEOUT_S = 30.0
"""A new operation mode loads other calibrations."""
ARM_TIMEOUT_S = 40.0
"""Longer than the streamer waits for memory."""
END_TIMEOUT_S = 15.0
REPORT_TIMEOUT_S = 2.0
TRIGGER_MARGIN_S = 30.0
"""Beyond the exposures: for frames that have to find room."""
Nothing = type(None)


class LambdaClient:
    """The control of one streamer. Any thread may call; a stop passes while an arm or a trigger lasts."""

    def __init__(self, host: str, port: int) -> None:
        """Nothing is sent before the first call."""
        self._link = StreamerLink(host, port)
        self.url = self._link.url

    def close(self) -> None:
        """Let go of the connections; calls under way end with DetectorOffline."""
        self._link.close()

    def connect(self) -> Identity:
        """The streamer reaches its detector, initialising it where nobody has yet."""
        return self._link.call("connect", Identity, timeout_s=CONNECT_TIMEOUT_S)

    def initialise(self) -> None:
        """The detector's own initialisation; a running series is lost."""
        self._link.call("initialise", Nothing, timeout_s=CONNECT_TIMEOUT_S)

    def settings(self) -> DetectorSettings:
        """As the detector has them."""
        return self._link.call("settings", DetectorSettings)

    def set(self, change: Change) -> DetectorSettings:
        """Change some; what the detector has then."""
        return self._link.call("set", DetectorSettings, change, timeout_s=SET_TIMEOUT_S)

    def configure(self, settings: SeriesSettings) -> Configured:
        """Set up a series."""
        return self._link.call("configure", Configured, settings, timeout_s=SET_TIMEOUT_S)

    def arm(self) -> Armed:
        """The headers leave."""
        return self._link.call("arm", Armed, timeout_s=ARM_TIMEOUT_S)

    def trigger(self, burst_s: float) -> None:
        """One burst, which takes `burst_s`; returns when the detector has finished with it."""
        self._link.call("trigger", Nothing, timeout_s=burst_s + TRIGGER_MARGIN_S)

    def stop(self) -> None:
        """End in order."""
        self._link.call("stop", Nothing, timeout_s=END_TIMEOUT_S)

    def abort(self) -> None:
        """End at once."""
        self._link.call("abort", Nothing, timeout_s=END_TIMEOUT_S)

    def health(self) -> Health:
        """Temperatures and the like."""
        return self._link.call("health", Health)

    def status(self) -> Status:
        """One look."""
        return self._link.call("status", Status, timeout_s=REPORT_TIMEOUT_S)
