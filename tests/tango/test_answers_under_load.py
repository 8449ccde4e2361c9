"""While frames flow, every attribute and command answers quickly: control never waits for data."""

from __future__ import annotations

import time

import pytest
from tango import DevState

RATE_HZ = 2000
LIMIT_S = 0.1


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    site.simulate("eiger")
    receiver = site.receiver("eiger")
    detector = site.eiger("eiger", receiver)
    controller = site.controller("main", detector)
    made = make_clients(site, detector=detector, receiver=receiver, controller=controller)
    wait_on(made.detector, made.receiver, made.controller)
    return made


def answers(devices, until) -> list[tuple[float, str]]:
    times = []
    names = {device: list(device.get_attribute_list()) for device in devices}
    while not until():
        for device in devices:
            for name in names[device]:
                began = time.perf_counter()
                device.read_attribute(name)
                times.append((time.perf_counter() - began, f"{device.name()}/{name}"))
            for command in ("State", "Status"):
                began = time.perf_counter()
                device.command_inout(command)
                times.append((time.perf_counter() - began, f"{device.name()}/{command}()"))
    return sorted(times)


@pytest.mark.parametrize("role", ["detector", "controller"])
def test_every_attribute_answers_within_a_tenth_of_a_second(clients, wait, role, record_property):
    device = getattr(clients, role)
    device.ExposureTime = 1.0 / RATE_HZ
    device.LatencyTime = 0.0
    device.nTriggers, device.nFramesPerTrigger, device.TriggerMode = 1, 3 * RATE_HZ, "INTERNAL"
    device.DestinationFilename = str(clients.file(f"load_{role}.h5"))
    device.Arm()
    began = time.monotonic()
    times = answers(
        [clients.detector, clients.receiver, clients.controller],
        lambda: device.State() != DevState.RUNNING or time.monotonic() - began > 2.5,
    )
    assert len(times) > 200
    rate_hz = device.nFramesReceived / (time.monotonic() - began)
    assert rate_hz > RATE_HZ / 4, f"only {rate_hz:.0f} frames/s: this was no load"
    median, percentile = times[len(times) // 2], times[int(len(times) * 0.99)]
    record_property("median_s", median[0])
    record_property("p99_s", percentile[0])
    print(f"{role}: {rate_hz:.0f} frames/s, {len(times)} answers, p99 {percentile}, slowest {times[-1]}")
    assert percentile[0] < LIMIT_S
    for command in ("Stop", "Abort"):
        before = time.perf_counter()
        device.command_inout(command)
        assert time.perf_counter() - before < LIMIT_S, command
    wait(lambda: device.State() != DevState.RUNNING, 20, "end")
    assert device.nFramesReceived > 0
