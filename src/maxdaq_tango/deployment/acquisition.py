"""One acquisition through a DAQController, as any Tango client would make it: set, Arm, look, read the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import tango

from maxdaq_tango.client.report import Report, report_of
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.errors import LaunchError, StateError

START_DEADLINE_S = 30.0
"""From ready servers to devices that have reached their detector."""
SPARE_S = 60.0
"""On top of the length of the series, for slow computers."""
LOOK_EVERY_S = 0.1

Look = Callable[[str, int], None]
"""Is told the acquisition state and the number of frames received."""


def wait_until_devices_are_on(deployment: Deployment, interruption: Interruption) -> None:
    """Until every device says ON; LaunchError with the status of one that does not."""

    def all_on() -> bool:
        deployment.supervisor.check_alive()
        return all(row.state == "ON" for row in deployment.statuses())

    if not interruption.wait_until(all_on, START_DEADLINE_S, LOOK_EVERY_S):
        rows = [row for row in deployment.statuses() if row.state != "ON"]
        told = "; ".join(f"{row.device} {row.state}: {row.status}" for row in rows)
        raise LaunchError("bring all devices to State ON", answer=told or "one came too late")


def take_series(
    deployment: Deployment, interruption: Interruption, *, frames: int, rate_hz: float, directory: Path, look: Look
) -> Report:
    """Take `frames` frames at `rate_hz` into a file in `directory`, and return the controller's account of it.

    A refusal of a device, and a series that does not end in time, is a StateError; a bad verdict is a result.
    """
    controller = deployment.proxy(deployment.device_of_class("DAQController"))
    try:
        controller.TriggerMode = "INTERNAL"
        controller.nTriggers = 1
        controller.nFramesPerTrigger = frames
        controller.ExposureTime = 1 / rate_hz
        controller.DestinationDirectory = str(directory)
        controller.ScanNumber = 1
        controller.Arm()
        _watch(controller, deployment, interruption, frames / rate_hz + SPARE_S, look)
        text = controller.LastReport
    except tango.DevFailed as error:
        raise StateError(
            f"take {frames} frames", of=controller.dev_name(), answer=error.args[0].desc.strip().splitlines()[0]
        ) from None
    return report_of(text, controller.dev_name())


def _watch(controller: Any, deployment: Deployment, interruption: Interruption, deadline_s: float, look: Look) -> None:
    end = monotonic() + deadline_s
    while True:
        # The state first: what is counted afterwards is then final when the state says so.
        state = controller.state()
        look(controller.AcquisitionState, controller.nFramesReceived)
        if state != tango.DevState.RUNNING:
            return
        if monotonic() > end:
            controller.Abort()
            raise StateError(
                "finish the series", of=controller.dev_name(), answer=f"still {state} after {deadline_s:.0f} s"
            )
        interruption.wait(LOOK_EVERY_S)
        deployment.supervisor.check_alive()
