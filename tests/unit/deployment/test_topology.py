from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from maxdaq_tango.deployment.programs import SERVER_MODULES, SIMULATOR_MODULES
from maxdaq_tango.deployment.simulators import SIMULATOR_ANSWERS, Simulator, StinsSimulator
from maxdaq_tango.deployment.streamers import STREAMER_ANSWERS, Streamer
from maxdaq_tango.deployment.topology import (
    EmbeddedDatabase,
    Topology,
    built_in_topology,
    load_topology,
    parse_topology,
    property_text,
    substitute,
)
from maxdaq_tango.errors import ConfigurationError

SERVER = "name: a\nservers:\n  StreamReceiver:\n    one:\n      StreamReceiver:\n        a/b/c:\n"


def test_the_built_in_topology_is_sound() -> None:
    topology = parse_topology(built_in_topology(), "built in")
    classes = [placed.class_name for placed in topology.devices()]
    assert classes == ["EigerDetector", "StreamReceiver", "DAQController"]
    assert topology.database.embedded is EmbeddedDatabase.AUTO
    assert topology.host == "127.0.0.1"


def test_every_server_of_the_built_in_topology_is_ours() -> None:
    assert set(parse_topology(built_in_topology(), "built in").servers) <= set(SERVER_MODULES)


def test_the_topology_of_a_simulated_lambda_is_sound() -> None:
    topology = parse_topology(built_in_topology("simulated-lambda"), "built in")
    assert set(topology.servers) <= set(SERVER_MODULES)
    assert topology.streamers["lambda-streamer"].library.endswith("simulated_pyxsp")  # type: ignore[union-attr]


def test_a_simulated_lambda_is_refused_what_it_cannot_do() -> None:
    text = "name: a\nsimulators: {s: {family: lambda, fault: [missing_end]}}\n"
    with pytest.raises(ConfigurationError, match="the streamer makes them"):
        parse_topology(text, "a.yaml")


def test_a_simulated_orca_is_refused_what_it_cannot_do() -> None:
    text = "name: a\nsimulators: {s: {family: orca, fault: [missing_end]}}\n"
    with pytest.raises(ConfigurationError, match="the end message is the streamer's"):
        parse_topology(text, "a.yaml")


def test_every_family_that_can_be_described_can_be_started() -> None:
    families = {kind.__struct_config__.tag for kind in get_args(Simulator)}
    assert families == set(SIMULATOR_MODULES) == set(SIMULATOR_ANSWERS)


def test_every_streamer_tells_where_it_listens() -> None:
    assert {kind.__struct_config__.tag for kind in get_args(Streamer)} == set(STREAMER_ANSWERS)
    assert all({"host", "port"} <= set(answers) for answers in STREAMER_ANSWERS.values())


def test_a_streamer_may_name_what_a_simulator_answered() -> None:
    text = "name: a\nsimulators: {s: {family: stins}}\nstreamers: {p: {family: pilatus, folder: '/a/${s.port}'}}\n"
    assert parse_topology(text, "a.yaml").streamers["p"].folder == "/a/${s.port}"  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match=r"streamers\.p\.folder.*line 3.*t\.port"):
        parse_topology(text.replace("${s", "${t"), "a.yaml")


def test_a_streamer_is_not_called_as_a_simulator() -> None:
    text = "name: a\nsimulators: {s: {family: stins}}\nstreamers: {s: {family: pilatus, folder: x}}\n"
    with pytest.raises(ConfigurationError, match="a simulator is called 's', too"):
        parse_topology(text, "a.yaml")


def test_a_stins_sender_has_no_port_for_cbor() -> None:
    text = "name: a\nsimulators: {s: {family: stins, fault: [drop=0.1]}}\nprograms: {Mine: ['${s.stream_port}']}\n"
    assert parse_topology(text, "a.yaml").simulators["s"] == StinsSimulator(fault=("drop=0.1",))
    with pytest.raises(ConfigurationError, match=r"s\.cbor_port"):
        parse_topology(text.replace("stream", "cbor"), "a.yaml")


@pytest.mark.parametrize("setting", ["dtype: uint7", "compression: gzip", "fault: [drop=7]"])
def test_a_stins_sender_that_there_is_not_is_refused_with_its_place(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=r"simulators.s.*line 2"):
        parse_topology(f"name: a\nsimulators: {{s: {{family: stins, {setting}}}}}\n", "a.yaml")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("model: eiger7", "simulators.eiger.*line 2.*eiger7.*pilatus4"),
        ("api: 1.8", "api.*line"),
        ("fault: [dorp=0.1]", "simulators.eiger.*line 2.*no 'dorp'.*did you mean drop.*reorder"),
        ("fault: [drop=much]", "simulators.eiger.*line 2.*drop=much.*drop=VALUE, a number"),
        ("fault: drop=0.1", "a list of faults"),
    ],
)
@pytest.mark.lesson(45)
def test_a_simulator_that_there_is_not_is_refused_with_its_place(setting: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse_topology(f"name: a\nsimulators: {{eiger: {{family: eiger, {setting}}}}}\n", "a.yaml")


def test_a_device_may_say_nothing() -> None:
    (placed,) = parse_topology(SERVER, "a.yaml").devices()
    assert (placed.server_instance, placed.class_name, placed.name) == ("StreamReceiver/one", "StreamReceiver", "a/b/c")
    assert placed.device.properties == {}


@pytest.mark.parametrize(
    ("text", "place", "accepted"),
    [
        ("name: a/b", "name (of t.yaml, line 1)", "letters, digits"),
        ("name: ../a", "name", "letters, digits"),
        ("name: a\nhost: 0.0.0.0", "host (of t.yaml, line 2)", "127.0.0.1"),
        ("name: a\ndatabase:\n  port: 70000", "database.port (of t.yaml, line 3)", "1 to 65535, or 0"),
        ("name: a\ndatabase:\n  embedded: yes", "database.embedded (of t.yaml, line 3)", "auto, always, never"),
        ("name: a\nsimulators:\n  e:\n    family: merlin", "simulators.e.family (of t.yaml, line 4)", "eiger, "),
        ("name: a\nsimulators:\n  e: {family: eiger, rows: 0}", "simulators.e.rows", "from 1 to 16384"),
        ("name: a\nsimulators:\n  e f: {family: eiger}", "simulators.e f", "letters, digits"),
        ("name: a\nprograms:\n  Mine: python", "programs.Mine (of t.yaml, line 3)", "a list of words"),
        ("name: a\nprograms:\n  Mine: []", "programs.Mine (of t.yaml, line 3)", "a list of words"),
        ("name: a\nprograms:\n  Mine: ['${pyhton}']", "programs.Mine", "${python}"),
        ("name: a\nservers: {StreamReciever: {}}", "servers.StreamReciever", "StreamReceiver"),
        ("name: a\nservers: {StreamReceiver: {a b: {}}}", "servers.StreamReceiver.a b", "letters, digits"),
        ("name: a\nservers: {StreamReceiver: {1: {}}}", "servers.StreamReceiver.1", "in quotes"),
        (SERVER.replace("a/b/c", "a/b"), "servers.StreamReceiver.one.StreamReceiver.a/b (of t.yaml, line 6)", "domain"),
        (SERVER.replace("a/b/c", "a/b/c d"), "a/b/c d", "domain/family/member"),
        (SERVER + "          property: {}", "a/b/c.property (of t.yaml, line 7)", "properties"),
        (SERVER + "          properties: {A: {b: c}}", "a/b/c.properties.A (of t.yaml, line 7)", "a list of those"),
        (SERVER + "          properties: {A: '${eiger.port}'}", "a/b/c.properties.A", "${data}"),
        (SERVER + "          properties: {A: [x, '${dat}']}", "a/b/c.properties.A", "${data}"),
        (SERVER + "        A/b/C:\n", "A/b/C (of t.yaml, line 7)", "each device in one server"),
    ],
)
def test_each_kind_of_mistake_is_named_with_its_place(text: str, place: str, accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_topology(text, "t.yaml")
    assert place in f"{caught.value.asked} (of {caught.value.of})"
    assert "t.yaml, line" in caught.value.of
    assert accepted in caught.value.accepted


def test_a_reference_may_name_what_the_simulator_answers() -> None:
    text = SERVER + "          properties: {A: '${eiger-2.port}'}\nsimulators: {eiger-2: {family: eiger}}\n"
    assert isinstance(parse_topology(text, "t.yaml"), Topology)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a", ["a"]),
        (3, ["3"]),
        (2.5, ["2.5"]),
        (True, ["true"]),
        (False, ["false"]),
        (("a", 1, True), ["a", "1", "true"]),
        ((), []),
        ("tcp://${e.host}:${e.port}", ["tcp://h:1"]),
        ("$data {data}", ["$data {data}"]),
    ],
)
def test_property_values_become_the_text_that_tango_stores(value: object, stored: list[str]) -> None:
    assert property_text(value, {"e.host": "h", "e.port": "1"}) == stored  # type: ignore[arg-type]


def test_a_reference_without_an_answer_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"fill in \$\{x\}.*Accepted: data"):
        substitute("${x}", {"data": "/d"})


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_topology(tmp_path / "none.yaml")


def test_a_file_that_is_not_text_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigurationError, match="decode"):
        load_topology(path)


def test_a_folder_is_no_topology(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="directory"):
        load_topology(tmp_path)
