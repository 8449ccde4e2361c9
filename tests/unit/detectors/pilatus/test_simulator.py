"""The simulated camserver, on a clock turned by hand."""

from __future__ import annotations

import pytest

from maxdaq_tango.errors import ConfigurationError, WireError

FAST = "ni 3", "expt 0.1", "expp 0.2"


def set_up(bench, *lines: str) -> None:
    for line in lines:
        assert " OK" in bench.ask(line), line


# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("ni 10", "15 OK N images set to: 10"),
        ("NIMAGES", "15 OK N images set to: 1"),
        ("ni 0", "15 ERR Illegal value for NImages: 0"),
        ("ni 65536", "15 ERR Illegal value for NImages: 65536"),
        ("expt 0.997", "15 OK Exposure time set to: 0.9970000 sec."),
        ("expt 1e-7", "15 ERR Illegal exposure time: 1e-7"),
        ("expt nan", "15 ERR Invalid exposure time: nan"),
        ("expp 0.2", "15 OK Exposure period set to: 0.2000000 sec"),
        ("expp 0.001", "15 ERR Illegal exposure period: 0.001"),
        ("gapfill -1", "15 OK Detector gap-fill is: -1"),
        ("imgpath", "10 OK /images/"),
        ("imgpath /scan7", "10 OK /scan7/"),
        ("imgpath sub", "10 OK /images/sub/"),
        ("imgpath /forbidden/x", "10 ERR mkdir() failed"),
        ("version", "24 OK Code release:  tvx-7.3.13-121212 (simulated)"),
        ("foo 1", "1 ERR *** Unrecognized command: foo"),
        ("exp 1", "1 ERR *** Unrecognized command: exp"),
        ("setthr", "15 OK Threshold has not been set"),
        ("setthr hugeG 5000", "15 ERR unknown gain setting"),
        ("setthr 100", "15 ERR Requested threshold (100 eV) is out of range"),
        ("mxsettings Nonsense 1", "15 ERR Unrecognized parameter: Nonsense"),
        ("headerstring " + "x" * 69, "15 ERR header string is too long"),
        ("expo a.edf", "15 ERR *** a.edf: the simulator writes .cbf, .tif, .tiff, .img, .raw"),
    ],
)
def test_commands_answer_as_camserver_does(make_bench, line, answer):
    assert make_bench(unmakeable="/forbidden").ask(line) == answer


def test_all_three_terminators_and_several_requests_at_once(bench):
    assert bench.send(b"ni 4\nexpt 0.5\x18") == [
        "15 OK N images set to: 4",
        "15 OK Exposure time set to: 0.5000000 sec.",
    ]
    assert bench.send(b"ni") == []
    assert bench.send(b"mages\0") == ["15 OK N images set to: 4"]


def test_a_flood_without_an_end_is_a_wire_error(bench):
    with pytest.raises(WireError):
        bench.send(b"x" * (1 << 21))


def test_trimming_takes_its_time_resets_what_it_resets_and_the_next_command_waits(bench):
    set_up(bench, "ni 7", "gapfill -1")
    assert bench.send(b"setthr energy 12000 midg 6300\0ni\0gapfill\0setthr\0") == []
    assert bench.advance(29.0) == []
    answers = bench.advance(2.0)
    assert answers[:3] == ["15 OK /tmp/setthreshold.cmd", "15 OK N images set to: 1", "15 OK Detector gap-fill is: 0"]
    assert answers[3].startswith("15 OK Settings: mid gain; threshold: 6300 eV; vcmp: ")
    assert bench.ask("setenergy") == "15 OK Energy setting: 12000 eV"


def test_an_element_sets_energy_and_half_of_it_as_threshold(bench):
    bench.send(b"setcu\0")
    bench.advance(31.0)
    assert "threshold: 4024 eV" in bench.ask("setthr")


# --- control ----------------------------------------------------------------------------------------------------------


def test_only_the_first_connection_commands_the_others_may_look(bench):
    bench.connect(2)
    assert bench.ask("ni 5", 2) == "-1 ERR *** access denied"
    assert bench.ask("expo a.cbf", 2) == "-1 ERR *** access denied"
    assert bench.ask("ni", 2) == "15 OK N images set to: 1"
    assert bench.ask("version", 2).startswith("24 OK")
    bench.simulator.disconnected(1)
    assert bench.ask("ni 5", 2).startswith("-1 ERR")  # who was turned away stays so
    bench.connect(3)
    assert bench.ask("ni 5", 3) == "15 OK N images set to: 5"


def test_a_spectator_does_not_kill(bench):
    bench.connect(2)
    set_up(bench, *FAST)
    bench.send(b"expo a.cbf\0")
    bench.send(b"K\0", 2)
    assert bench.advance(1.0) == ["7 OK /images/a_00002.cbf"]


# --- exposures --------------------------------------------------------------------------------------------------------


def test_an_exposure_makes_its_images_in_time_and_says_so_at_the_end(bench):
    set_up(bench, *FAST)
    assert bench.ask("exposure test6_014.cbf") == "15 OK Starting 0.1000000 second background: 2026-01-02T03:04:05.000"
    assert (bench.advance(0.09), bench.names) == ([], [])
    assert (bench.advance(0.02), bench.names) == ([], ["test6_014.cbf"])
    assert bench.advance(0.5) == ["7 OK /images/test6_016.cbf"]
    assert bench.names == ["test6_014.cbf", "test6_015.cbf", "test6_016.cbf"]
    assert bench.ask("expend") == "6 OK /images/test6_016.cbf"


def test_a_period_that_leaves_no_time_to_read_out_is_refused_at_the_start(bench):
    set_up(bench, "ni 3", "expt 0.1", "expp 0.1005")
    assert bench.ask("expo a.cbf") == "15 ERR Illegal exposure period"
    set_up(bench, "ni 1")
    assert bench.ask("expo a.cbf").startswith("15 OK")  # one image has no next one


def test_acknowledgements_in_between_are_the_same_event(bench):
    set_up(bench, *FAST, "setackint 2")
    bench.send(b"expo a.cbf\0")
    assert bench.advance(1.0) == ["7 OK /images/a_00001.cbf", "7 OK /images/a_00002.cbf"]


def test_one_edge_starts_all_images(bench):
    set_up(bench, *FAST)
    assert bench.ask("exttrigger a.cbf").startswith("15 OK Starting externally triggered exposure(s): 2026")
    assert bench.advance(10.0) == []
    assert bench.simulator.edges(bench.now, 2, 0.1) == 1
    assert bench.advance(0.5) == ["7 OK /images/a_00002.cbf"]


def test_one_edge_an_image_and_those_that_come_too_early_are_lost(bench):
    set_up(bench, *FAST)
    assert bench.ask("extm a.cbf").startswith("15 OK Starting externally multi-triggered exposure(s): ")
    assert bench.simulator.edges(bench.now, 5, 0.08) == 3
    assert bench.advance(0.5) == ["7 OK /images/a_00002.cbf"]
    assert bench.simulator.signals_ignored == 2


def test_one_gate_an_image_as_long_as_the_gate(bench):
    set_up(bench, *FAST)
    bench.send(b"exte a.cbf\0")
    assert bench.simulator.edges(bench.now, 1, 1.0) == 0
    assert bench.simulator.gates(bench.now, 3, 0.5, 0.6) == 3
    assert bench.advance(0.49) == []
    assert bench.names == []
    assert bench.advance(2.0) == ["7 OK /images/a_00002.cbf"]


# --- the letter k -----------------------------------------------------------------------------------------------------


def test_a_pilatus3_is_killed_with_two_commands(bench):
    set_up(bench, *FAST)
    bench.send(b"expo a.cbf\0")
    bench.advance(0.11)
    assert bench.send(b"camcmd k\0") == ["13 ERR kill", "7 ERR *** killing exposure..."]
    assert bench.send(b"K\0") == []
    assert bench.advance(1.0) == ["7 OK /images/a_00000.cbf"]
    assert bench.names == ["a_00000.cbf"]


def test_a_pilatus2_says_less(make_bench):
    bench = make_bench(generation=2)
    set_up(bench, *FAST)
    bench.send(b"expo a.cbf\0")
    assert bench.send(b"K\0") == ["13 ERR kill"]
    assert bench.advance(1.0) == ["7 OK"]


@pytest.mark.parametrize("data", [b"setackint 0\0", b"xKx", b"mxsettings kappa 1\0", b"k"])
def test_any_input_with_a_k_kills_an_exposure_and_achieves_nothing_else(bench, data):
    set_up(bench, *FAST)
    bench.send(b"expo a.cbf\0")
    assert bench.send(data)[0] == "13 ERR kill"
    assert bench.advance(1.0) == ["7 OK"]
    assert bench.ask("setackint") == "15 OK Acknowledgement interval is 0"


def test_settings_are_refused_and_questions_answered_while_it_exposes(bench):
    set_up(bench, *FAST)
    bench.send(b"expo a.cbf\0")
    assert bench.ask("ni 9") == "15 ERR *** NImages: not while exposing"
    assert bench.ask("expo b.cbf") == "15 ERR *** Exposure: not while exposing"
    assert bench.ask("thread") == "215 ERR *** THread: not while exposing"
    assert "Camera state: exposing" in bench.ask("camsetup")
    assert bench.advance(1.0) == ["7 OK /images/a_00002.cbf"]


def test_a_kill_without_an_exposure_is_answered_and_harmless(bench):
    assert bench.send(b"camcmd k\0K\0") == ["15 OK camcmd k", "13 ERR kill"]


def test_an_exposure_outlives_its_client_and_the_next_one_hears_its_end(bench):
    set_up(bench, *FAST)
    bench.send(b"expo a.cbf\0")
    bench.simulator.disconnected(1)
    bench.connect(2)
    bench.advance(1.0)
    assert bench.heard(2) == ["7 OK /images/a_00002.cbf"]


@pytest.mark.parametrize("options", [{"rows": 0}, {"generation": 4}, {"trim_time_s": -1}])
def test_what_cannot_be_simulated_is_refused(make_bench, options):
    with pytest.raises(ConfigurationError):
        make_bench(**options)
