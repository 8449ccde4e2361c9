"""The simulated camera by itself: no library, no sockets, time as an argument."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.detectors.orca.dcam_errors import DcamError
from maxdaq_tango.detectors.orca.properties import Attributes, CaptureStatus, PixelType, Property
from maxdaq_tango.detectors.orca.simulator import OrcaOptions, OrcaSimulator, pixels_of
from maxdaq_tango.detectors.orca.simulator_controls import PREFIX, handle_control
from maxdaq_tango.detectors.orca.simulator_dispatch import parcel_of
from maxdaq_tango.detectors.orca.simulator_faults import MEANINGLESS
from maxdaq_tango.detectors.orca.simulator_wire import FrameHead, Op, Reply, Request
from maxdaq_tango.detectors.serving.messages import Request as HttpRequest
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError

P = Property
SHOWN_HERE: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "error_state": ({}, {"error_state": "hot"}),
    "refuse_arm": ({}, {"refuse_arm": "no"}),
    "failing_keys": ({}, {"failing_keys": ("BINNING",)}),
    "never_start": ({}, {"never_start": True}),
    "stop_after": ({}, {"stop_after": 3}),
    "drop_frames": ({}, {"drop_frames": (2,)}),
    "drop_fraction": ({}, {"drop_fraction": 0.5}),
    "delay_frames": ({}, {"delay_frames": (2,)}),
    "delay_fraction": ({}, {"delay_fraction": 0.5}),
    "delay_s": ({"delay_frames": (2,)}, {"delay_frames": (2,), "delay_s": 0.5}),
    "corrupt_frames": ({}, {"corrupt_frames": (2,)}),
    "corrupt_fraction": ({}, {"corrupt_fraction": 0.5}),
    "number_at": ({}, {"number_at": 2}),
    "number_sent": ({"number_at": 2}, {"number_at": 2, "number_sent": 77}),
    "restart_at": ({}, {"restart_at": 2}),
    "seed": ({"drop_fraction": 0.5}, {"drop_fraction": 0.5, "seed": 1}),
}
"""Fault > faults without it, and with it."""
SHOWN_WITH_SOCKETS = {"offline_s", "arm_delay_s", "initialise_delay_s", "vanish_at", "vanish_s"}
"""In test_simulator_server.py."""


@pytest.fixture
def camera() -> OrcaSimulator:
    camera = OrcaSimulator(OrcaOptions(rows=64, columns=96))
    put(camera, P.EXPOSURE_TIME, 0.01)
    return camera


def put(camera: OrcaSimulator, number: int, value: float) -> Reply:
    return camera.handle(Request(Op.SET, number, value=value), 0.0)


def start(camera: OrcaSimulator, now: float = 0.0, count: int = 0) -> None:
    assert camera.handle(Request(Op.BUFFERS, 1), now).code == 1
    assert camera.handle(Request(Op.START, 1, count), now).code == 1


def made(camera: OrcaSimulator, until: float) -> list[float]:
    """Moments at which exposures ended."""
    moments = []
    while (due := camera.next_due()) is not None and due <= until:
        moments += [round(due, 6)] * len(camera.step(due))
    return moments


def test_free_running_exposures_follow_each_other(camera: OrcaSimulator) -> None:
    start(camera)
    assert camera.status is CaptureStatus.BUSY
    assert made(camera, 0.055) == [0.01, 0.02, 0.03, 0.04, 0.05]
    camera.handle(Request(Op.STOP), 0.055)
    assert made(camera, 1.0) == []


def test_a_slow_machine_makes_exposures_late_and_not_fewer(camera: OrcaSimulator) -> None:
    start(camera)
    shots = []
    while more := camera.step(0.505):
        shots += more
    assert [shot.stamp for shot in shots] == list(range(50))


def test_a_snap_ends_with_its_last_exposure(camera: OrcaSimulator) -> None:
    start(camera, count=3)
    shots = [shot for _ in range(3) for shot in camera.step(1.0)]
    assert [shot.last for shot in shots] == [False, False, True]
    assert camera.status is CaptureStatus.READY


def test_edges_that_come_too_early_are_ignored_and_counted(camera: OrcaSimulator) -> None:
    put(camera, P.TRIGGER_SOURCE, 2)
    start(camera)
    camera.signal(0.0, count=3, period_s=0.006)
    assert made(camera, 1.0) == [0.01, 0.022]
    assert camera.ignored_triggers == 1


def test_the_first_edge_starts_free_running_in_start_mode(camera: OrcaSimulator) -> None:
    put(camera, P.TRIGGER_SOURCE, 2)
    put(camera, P.TRIGGER_MODE, 6)
    put(camera, P.TRIGGER_DELAY, 0.5)
    start(camera)
    camera.signal(1.0)
    assert made(camera, 1.535) == [1.51, 1.52, 1.53]


def test_a_gate_is_the_exposure_where_levels_count(camera: OrcaSimulator) -> None:
    put(camera, P.TRIGGER_SOURCE, 2)
    start(camera)
    camera.signal(0.0, width_s=0.25)
    assert made(camera, 1.0) == []  # it listens to edges
    put(camera, P.TRIGGER_ACTIVE, 2)
    camera.handle(Request(Op.STOP), 1.0)
    camera.handle(Request(Op.BUFFERS, 0), 1.0)
    put(camera, P.TRIGGER_ACTIVE, 2)
    start(camera, 1.0)
    camera.signal(1.0, width_s=0.25)
    assert made(camera, 2.0) == [1.25]


def test_the_shortest_interval_of_a_quest_can_be_stretched() -> None:
    camera = OrcaSimulator(OrcaOptions(model="quest", rows=64, columns=64))
    put(camera, P.EXPOSURE_TIME, 0.01)
    assert put(camera, P.INTERNAL_FRAME_INTERVAL, 0.1).value == pytest.approx(0.1)
    start(camera)
    assert made(camera, 0.25) == [0.01, 0.11, 0.21]
    assert put(OrcaSimulator(OrcaOptions()), P.INTERNAL_FRAME_INTERVAL, 0.1).code == DcamError.NOTWRITABLE


@given(st.sampled_from(["lightning", "quest"]), st.integers(), st.floats())
def test_whatever_is_asked_is_answered(model: str, number: int, value: float) -> None:
    camera = OrcaSimulator(OrcaOptions(model=model, rows=64, columns=64))
    for op in [*Op, 99]:
        for identity in (number % 2**31, *list(P)[:3]):
            reply = camera.handle(Request(op, identity, number % 2**31, value), 0.0)
            assert reply.code == 1 or reply.code >= 1 << 31
            assert len(Reply.pack(reply)) == 16 + len(reply.payload)


@given(st.lists(st.tuples(st.sampled_from(list(P)), st.floats(-10, 5000)), max_size=30))
def test_settings_always_fit_together(writes: list[tuple[Property, float]]) -> None:
    camera = OrcaSimulator(OrcaOptions(rows=64, columns=96))
    for number, value in writes:
        put(camera, number, value)
    left, top, columns, rows = camera.properties.image
    assert left >= 0
    assert left + columns <= 96
    assert top >= 0
    assert top + rows <= 64
    assert camera.properties.value(P.IMAGE_FRAME_BYTES) == camera.properties.row_nbytes() * rows
    for number in camera.properties.ids():
        found = camera.properties.attributes(number)
        if isinstance(found, Attributes) and found.is_writable:
            assert found.minimum - 1e-9 <= camera.properties.value(number) <= found.maximum * (1 + 1e-9), number


@pytest.mark.parametrize("pixel_type", [PixelType.MONO16, PixelType.MONO12, PixelType.MONO12P])
def test_pixels_are_those_that_a_file_must_hold(camera: OrcaSimulator, pixel_type: PixelType) -> None:
    put(camera, P.IMAGE_PIXEL_TYPE, pixel_type)
    start(camera)
    (shot,) = camera.step(0.01)
    assert len(camera.develop(shot)) == camera.properties.value(P.BUFFER_FRAME_BYTES)
    expected = pixels_of(camera.options, (64, 96), np.dtype("uint16"))
    assert np.array_equal(camera.expected(0, (64, 96), 12), expected(0))


@pytest.mark.parametrize(
    "options", [{"model": "flash"}, {"rows": 62}, {"columns": 4600}, {"rows": 4000}, {"columns": 0}, {"columns": 2000}]
)
def test_a_camera_that_cannot_be_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="Accepted"):
        OrcaOptions(**options)


# --- faults -----------------------------------------------------------------------------------------------------------


def test_every_fault_works_or_is_listed_with_the_reason_why_not() -> None:
    assert (SHOWN_HERE.keys() | SHOWN_WITH_SOCKETS) & MEANINGLESS.keys() == set()
    assert SHOWN_HERE.keys() | SHOWN_WITH_SOCKETS | MEANINGLESS.keys() == set(Faults.__struct_fields__)
    assert all(len(reason) > 10 for reason in MEANINGLESS.values())


def seen_of(**faults: object) -> list[object]:
    """All that leaves a camera with these faults in a series of 8 frames."""
    camera = OrcaSimulator(OrcaOptions(rows=64, columns=96), Faults(**faults))  # type: ignore[arg-type]
    codes = [camera.handle(Request(Op.GET, P.BINNING), 0).code, put(camera, P.EXPOSURE_TIME, 0.01).code]
    codes += [camera.handle(Request(op, 1), 0.0).code for op in (Op.BUFFERS, Op.START)]
    seen: list[object] = [codes]
    for shot in camera.step(0.085):
        parcel = parcel_of(shot, camera.faults)
        pixels = b"" if parcel.lost else parcel.changed(camera.develop(shot))
        seen.append((pixels, parcel.announced and parcel.lost, parcel.stamp, parcel.delay_s))
    return seen


@pytest.mark.parametrize("name", SHOWN_HERE)
def test_a_fault_that_works_changes_what_leaves_the_camera(name: str) -> None:
    without, with_it = SHOWN_HERE[name]
    assert name in with_it
    assert seen_of(**without) == seen_of(**without)
    assert seen_of(**without) != seen_of(**with_it)


def some(name: str) -> object:
    """A value that switches this fault on."""
    default = getattr(Faults(), name)
    if isinstance(default, bool):
        return True
    return {tuple: (1,), float: 0.5, str: "x.h5"}.get(type(default), 5)


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_fault_that_would_do_nothing_is_refused_with_the_reason(camera: OrcaSimulator, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        OrcaSimulator(camera.options, Faults(**{name: some(name)}))
    assert refused.value.answer == MEANINGLESS[name]
    before = camera.faults
    body = msgspec.json.encode({name: some(name)})
    status, told = ask(camera, "POST", "faults", body)
    assert status == 400
    assert MEANINGLESS[name] in str(told)
    assert camera.faults == before


def test_faults_of_single_frames_meet_those_frames(camera: OrcaSimulator) -> None:
    faults = Faults(drop_frames=(1,), corrupt_frames=(2,), delay_frames=(3,), number_at=4, number_sent=77, restart_at=5)
    start(camera)
    parcels = [parcel_of(shot, faults) for shot in camera.step(0.075)]
    assert [parcel.lost for parcel in parcels] == [False, True, False, False, False, False, False]
    assert [parcel.corrupt for parcel in parcels] == [False, False, True, False, False, False, False]
    assert [parcel.delay_s for parcel in parcels] == [0, 0, 0, 0.1, 0, 0, 0]
    assert [parcel.stamp for parcel in parcels] == [0, 1, 2, 3, 77, 0, 1]
    intact, corrupt = parcels[0].changed(bytes(10)), parcels[2].changed(bytes(10))
    assert sum(one != other for one, other in zip(intact, corrupt, strict=True)) == 1


def test_a_camera_that_stops_sending_says_nothing_of_it(camera: OrcaSimulator) -> None:
    start(camera)
    parcels = [parcel_of(shot, Faults(stop_after=2)) for shot in camera.step(0.045)]
    assert [(parcel.lost, parcel.announced) for parcel in parcels] == [(False, True)] * 2 + [(True, False)] * 2


def test_refusals_and_errors_are_dcams(camera: OrcaSimulator) -> None:
    camera.set_faults(Faults(failing_keys=("EXPOSURE_TIME",), refuse_arm="no"))
    assert camera.handle(Request(Op.GET, P.EXPOSURE_TIME), 0).code == DcamError.FAILREADCAMERA
    assert put(camera, P.EXPOSURE_TIME, 0.1).code == DcamError.FAILWRITECAMERA
    assert camera.handle(Request(Op.GET, P.BINNING), 0).code == 1
    camera.handle(Request(Op.BUFFERS, 1), 0)
    assert camera.handle(Request(Op.START, 1), 0).code == DcamError.NORESOURCE
    camera.set_faults(Faults(error_state="hot"))
    camera.set_faults(Faults())
    assert camera.status is CaptureStatus.ERROR
    assert camera.handle(Request(Op.START, 1), 0).code == DcamError.UNSTABLE
    camera.reset()
    assert camera.status is CaptureStatus.STABLE


# --- controls ---------------------------------------------------------------------------------------------------------


def ask(camera: OrcaSimulator, method: str, path: str, body: bytes = b"", **query: str) -> tuple[int, object]:
    reply = handle_control(camera, HttpRequest(method, PREFIX + path, body, query), 0.0)
    return reply.status, msgspec.json.decode(reply.body) if reply.status == 200 else reply.body.decode()


def test_the_account_says_what_was_made(camera: OrcaSimulator) -> None:
    start(camera)
    camera.step(0.035)
    status, account = ask(camera, "GET", "account")
    assert status == 200
    assert isinstance(account, dict)
    assert (account["series"], account["frames_made"]) == (1, 3)
    assert ask(camera, "GET", "account", series="7")[0] == 400
    assert ask(camera, "GET", "status")[1]["status"] == "BUSY"  # type: ignore[index]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "faults", b'{"drop_fractoin": 1}', 400),
        ("POST", "gate", b'{"width_s": 0}', 400),
        ("POST", "gate", b"{}", 400),
        ("GET", "edge", b"", 404),
        ("POST", "shutter", b"", 404),
    ],
)
def test_what_is_not_understood_is_refused_with_the_reason(
    camera: OrcaSimulator, method: str, path: str, body: bytes, status: int
) -> None:
    assert ask(camera, method, path, body)[0] == status
    assert ask(camera, "POST", "edge", count="0")[0] == 400
    assert ask(camera, "POST", "edge", count="x")[0] == 400


def test_a_frame_head_has_the_size_that_the_library_reads() -> None:
    assert len(FrameHead(capture=1, frame_stamp=-1, time_s=1.5, nbytes=3).pack()) == 32
