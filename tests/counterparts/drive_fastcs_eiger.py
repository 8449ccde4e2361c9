"""Runs in the environment of fastcs-eiger: its controller finds out what a detector has, sets it, and acquires.

    python drive_fastcs_eiger.py HOST PORT API_VERSION

prints one JSON object of what it saw. Everything goes through the published controller, started the way FastCS starts
it; nothing here speaks HTTP by itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import redirect_stdout

from fastcs.attributes import AttrR, AttrRW
from fastcs.connections import IPConnectionSettings
from fastcs_eiger.controllers.eiger_controller import EigerController
from fastcs_eiger.controllers.eiger_subsystem_controller import IGNORED_KEYS

TIMEOUT_S = 20.0
# Arrays are no attributes for this client, and its list of them ends with EIGER2's two thresholds; Pilatus4 has four.
IGNORED_KEYS += [f"threshold/{n}/{array}" for n in (3, 4) for array in ("flatfield", "pixel_mask")]


async def drive(host: str, port: int, api_version: str) -> dict:
    controller = EigerController(IPConnectionSettings(host, port), api_version)
    seen: dict = {}
    async with asyncio.timeout(TIMEOUT_S):
        await controller.initialise()
        controller.post_initialise()
        _, scans, first = controller.create_api_and_tasks()
        await controller.connect()
        for update in first:
            await update()
        tasks = [asyncio.create_task(scan()) for scan in scans]
        try:
            await acquire(controller, seen)
        finally:
            for task in tasks:
                task.cancel()
            seen["failed_scans"] = [
                repr(result)
                for result in await asyncio.gather(*tasks, return_exceptions=True)
                if isinstance(result, Exception)
            ]
            await controller.connection.close()
    return seen


async def acquire(controller: EigerController, seen: dict) -> None:
    detector, stream, monitor = controller.detector, controller.stream, controller.monitor
    seen["attributes"] = {
        name: {
            key: type(attribute.datatype).__name__ + (" rw" if isinstance(attribute, AttrRW) else " r")
            for key, attribute in module.attributes.items()
            if isinstance(attribute, AttrR)
        }
        for name, module in (("detector", detector), ("stream", stream), ("monitor", monitor))
    }
    await detector.state.wait_for_value("idle", timeout=5)
    await stream.mode.put("enabled")
    await monitor.mode.put("enabled")
    await detector.photon_energy.put(10000.0)
    await detector.count_time.put(0.01)
    await detector.frame_time.put(0.02)
    await detector.nimages.put(5)
    await detector.ntrigger.put(2)
    await controller.arm_when_ready()
    await detector.state.wait_for_value("ready", timeout=5)
    seen["after_configuration"] = {
        key: getattr(detector, key).get()
        for key in ("photon_energy", "threshold_energy", "wavelength", "count_time", "frame_time", "nimages",
                    "bit_depth_image", "trigger_mode", "element")
    }  # fmt: skip
    begun = time.monotonic()
    await detector.trigger()
    seen["trigger_s"] = time.monotonic() - begun
    await detector.state.wait_for_value("ready", timeout=5)
    await detector.trigger()
    await detector.state.wait_for_value("idle", timeout=5)

    await detector.nimages.put(100_000)
    await controller.arm_when_ready()
    trigger = asyncio.create_task(detector.trigger())
    await detector.state.wait_for_value("acquire", timeout=5)
    await detector.abort()
    await trigger
    await detector.state.wait_for_value("idle", timeout=5)

    await controller.arm_when_ready()
    await detector.state.wait_for_value("ready", timeout=5)
    await detector.disarm()
    await detector.state.wait_for_value("idle", timeout=5)

    try:
        await detector.nimages.put(1)
        await detector.trigger_mode.put("inte")
        await controller.arm_when_ready()
        await detector.trigger_exposure.put(0.05)
        await detector.trigger()
        await detector.cancel()
        seen["inte"] = True
    finally:
        seen["state"] = detector.state.get()


def main() -> int:
    host, port, api_version = sys.argv[1:]
    with redirect_stdout(sys.stderr):  # the package prints
        seen = asyncio.run(drive(host, int(port), api_version))
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
