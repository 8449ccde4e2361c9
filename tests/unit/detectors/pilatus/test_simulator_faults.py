"""What the faults do to a simulated camserver, and that every one of them either does something or is refused."""

from __future__ import annotations

import msgspec
import pytest

from maxdaq_tango.detectors.pilatus.simulator_faults import MEANINGLESS, refuse_meaningless
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError

SHOWN_HERE = {
    "error_state", "refuse_arm", "failing_keys", "arm_delay_s", "never_start", "stop_after", "drop_frames",
    "drop_fraction", "duplicate_frames", "duplicate_fraction", "reorder_frames", "reorder_window", "delay_frames",
    "delay_fraction", "delay_s", "truncate_frames", "truncate_fraction", "corrupt_frames", "corrupt_fraction",
    "wrong_size_frames", "wrong_size_fraction", "wrong_series_frames", "wrong_series_fraction", "dtype_at", "shape_at",
    "number_at", "number_sent", "restart_at", "interleave_at", "end_at", "missing_end", "duplicate_end", "seed",
}  # fmt: skip
SHOWN_WITH_SOCKETS = {"offline_s", "vanish_at", "vanish_s"}
"""In test_simulator_server.py."""


def run(make_bench, images: int = 6, **faults):
    bench = make_bench(faults=Faults(**faults))
    for line in (f"ni {images}", "expt 0.1", "expp 0.2"):
        bench.ask(line)
    bench.send(b"expo a.cbf\0")
    return bench, bench.advance(60.0)


def numbers(bench) -> list[int]:
    return [int(name[2:7]) for name in bench.names if name.startswith("a_")]


def test_every_fault_is_shown_or_has_a_reason_why_it_means_nothing():
    assert SHOWN_HERE | SHOWN_WITH_SOCKETS | MEANINGLESS.keys() == set(Faults.__struct_fields__)
    assert not (SHOWN_HERE | SHOWN_WITH_SOCKETS) & MEANINGLESS.keys()


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_fault_that_would_do_nothing_is_refused_with_the_reason(name):
    kind = next(field.type for field in msgspec.structs.fields(Faults) if field.name == name)
    value = {"str": "x.h5", "float": 0.5, "bool": True}.get(getattr(kind, "__name__", ""), 1)
    if name.endswith("_frames"):
        value = (1,)
    with pytest.raises(ConfigurationError, match=name) as refused:
        refuse_meaningless(Faults(**{name: value}))
    assert refused.value.answer == MEANINGLESS[name]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"drop_frames": (1, 4)}, [0, 2, 3, 5]),
        ({"drop_fraction": 1.0}, []),
        ({"duplicate_frames": (2,)}, [0, 1, 2, 2, 3, 4, 5]),
        ({"duplicate_fraction": 1.0}, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        ({"reorder_frames": (2,)}, [0, 1, 3, 2, 4, 5]),
        ({"stop_after": 3}, [0, 1, 2]),
        ({"never_start": True}, []),
        ({"restart_at": 4}, [0, 1, 2, 3, 0, 1]),
        ({"wrong_series_frames": (3,)}, [0, 1, 2, 4, 5]),
        ({"delay_frames": (1,), "delay_s": 0.2}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_which_images_appear(make_bench, faults, expected):
    bench, _ = run(make_bench, **faults)
    assert numbers(bench) == expected


def test_a_window_of_images_appears_in_an_order_of_its_own_that_follows_from_the_seed(make_bench):
    orders = [tuple(numbers(run(make_bench, reorder_window=6, seed=seed)[0])) for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1
    assert all(sorted(order) == list(range(6)) for order in orders)


def test_images_of_another_series_have_another_name(make_bench):
    assert "other_a_00003.cbf" in run(make_bench, wrong_series_frames=(3,))[0].names
    assert all(name.startswith("other_") for name in run(make_bench, wrong_series_fraction=1.0)[0].names)
    assert run(make_bench, images=3, interleave_at=1)[0].names == [
        "a_00000.cbf", "a_00001.cbf", "other_a_00001.cbf", "a_00002.cbf", "other_a_00002.cbf",
    ]  # fmt: skip


def test_a_number_can_be_any(make_bench):
    assert "a_00077.cbf" in run(make_bench, number_at=2, number_sent=77)[0].names
    assert "a_1099511627776.cbf" in run(make_bench, number_at=2)[0].names


@pytest.mark.parametrize(
    ("faults", "ends"),
    [({}, 1), ({"missing_end": True}, 0), ({"duplicate_end": True}, 2), ({"stop_after": 2}, 0), ({"end_at": 3}, 2)],
)
def test_how_often_it_says_that_it_is_done(make_bench, faults, ends):
    _, heard = run(make_bench, **faults)
    assert len([line for line in heard if line.startswith("7 OK")]) == ends


@pytest.mark.parametrize("faults", [{"never_start": True}, {"stop_after": 2}, {"missing_end": True}])
def test_what_hangs_can_be_killed(make_bench, faults):
    bench, _ = run(make_bench, **faults)
    bench.send(b"K\0")
    bench.advance(1.0)
    assert bench.simulator.exposure is None
    assert bench.ask("ni 1").startswith("15 OK")


@pytest.mark.parametrize(
    "faults",
    [
        {"truncate_frames": (1,)}, {"corrupt_frames": (1,)}, {"wrong_size_frames": (1,)}, {"dtype_at": 1},
        {"shape_at": 1}, {"truncate_fraction": 1.0}, {"corrupt_fraction": 1.0}, {"wrong_size_fraction": 1.0},
    ],
)  # fmt: skip
def test_damage_is_inside_the_file_and_in_the_account(make_bench, faults):
    sound, _ = run(make_bench, images=2)
    broken, _ = run(make_bench, images=2, **faults)
    assert broken.names == sound.names
    assert broken.files[1].data != sound.files[1].data
    account = broken.simulator.accounts.read(1)
    assert account.finished
    assert (1, 1) in account.damaged or account.damaged == ((0, 1),)
    assert sound.simulator.accounts.read(1).intact == ((0, 1),)


def test_a_refused_start_and_a_failing_command(make_bench):
    bench = make_bench(faults=Faults(refuse_arm="no high voltage", failing_keys=("Df",)))
    assert bench.ask("expo a.cbf") == "15 ERR *** no high voltage"
    assert bench.ask("df") == "15 ERR *** Df failed (asked for)"


def test_the_error_state_lasts_until_the_camera_is_reset(make_bench):
    bench = make_bench(faults=Faults(error_state="module 3 lost"))
    assert "Camera state: error: module 3 lost" in bench.ask("camsetup")
    assert bench.ask("expo a.cbf") == "15 ERR *** module 3 lost"
    assert bench.ask("resetcam") == "15 OK camera reset"
    assert bench.ask("expo a.cbf").startswith("15 OK")


def test_a_slow_start(make_bench):
    bench = make_bench(faults=Faults(arm_delay_s=3.0))
    assert bench.send(b"expo a.cbf\0") == []
    assert bench.advance(2.9) == []
    assert bench.advance(0.2)[0].startswith("15 OK Starting")
