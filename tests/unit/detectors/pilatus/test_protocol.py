"""camserver's grammar: framing, prefixes, numbers in sentences, names of files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.detectors.pilatus.protocol import Reply, ReplyReader, RequestReader
from maxdaq_tango.errors import WireError

replies = st.builds(
    Reply,
    st.integers(-1, 999),
    st.booleans(),
    st.text(st.characters(codec="latin-1", exclude_characters="\x18\r"), max_size=60).map(str.strip),
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


@given(st.lists(replies, max_size=6), st.lists(st.integers(0, 30), max_size=20))
def test_replies_come_out_whole_however_they_are_cut(sent, sizes):
    reader, read = ReplyReader(), []
    for piece in cut(b"".join(reply.encode() for reply in sent), sizes):
        read += reader.feed(piece)
    assert read == sent


@given(st.lists(st.sampled_from(["expt 0.1", "ni 10", "Exposure a_000.cbf", "K"]), max_size=6), st.data())
def test_all_three_ends_of_a_request_are_understood_and_may_be_mixed(lines, data):
    reader, read = RequestReader(), []
    ends = [data.draw(st.sampled_from([b"\x00", b"\n", b"\x18", b"\r\n"])) for _ in lines]
    stream = b"".join(line.encode() + end for line, end in zip(lines, ends, strict=True))
    for piece in cut(stream, data.draw(st.lists(st.integers(0, 9), max_size=20))):
        read += reader.feed(piece)
    assert read == lines


@given(st.binary(max_size=300))
def test_garbage_is_a_wire_error_or_nothing(data):
    with contextlib.suppress(WireError):
        assert all(isinstance(reply, Reply) for reply in ReplyReader().feed(data + b"\x18"))


def test_bytes_without_an_end_are_not_kept_for_ever():
    reader = ReplyReader()
    with pytest.raises(WireError, match="without an end"):
        reader.feed(b"x" * (protocol.LONGEST + 1))
    assert reader.feed(b"15 OK fine\x18") == [Reply(15, True, "fine")]


@pytest.mark.parametrize("text", ["", "OK 15", "15 YES", "15OK", "1" * 40 + " OK x"])
def test_a_reply_without_code_or_word_is_none(text):
    with pytest.raises(WireError):
        protocol.parse_reply(text)


def test_newlines_stay_inside_a_reply():
    (reply,) = ReplyReader().feed(b"215 OK Channel 0: Temperature = 31.4C, Rel. Humidity = 22.1%;\nChannel 1: "
                                  b"Temperature = 25.0C, Rel. Humidity = 3.5%\x18")  # fmt: skip
    assert protocol.channels_in(reply.text) == [(31.4, 22.1), (25.0, 3.5)]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ni", "NImages"),
        ("expp", "ExpPeriod"),
        ("expt", "ExpTime"),
        ("EXPO", "Exposure"),
        ("setthr", "SetThreshold"),
        ("extm", "ExtMTrigger"),
        ("k", "K"),
        ("imgpath", "ImgPath"),
        ("th", "THread"),
        ("exp", None),  # three begin with it
        ("ext", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_command_may_be_shortened_until_it_is_two(word, name):
    assert protocol.command_named(word) == name


@pytest.mark.parametrize(
    ("line", "expected"),
    [("exposure a.cbf", True), ("extt a.cbf", True), ("Exposure", False), ("exptime 1", False), ("nonsense x", False)],
)
def test_what_starts_an_exposure(line, expected):
    assert protocol.starts_exposure(line) is expected


@pytest.mark.parametrize(
    ("line", "expected"), [("K", True), ("camcmd k", True), ("SetAckInt 0", True), (b"version\x00", False)]
)
def test_what_kills_one(line, expected):
    assert protocol.kills(line) is expected


@pytest.mark.parametrize("line", ["imgpath /a\nK", "a\x00b", "a\x18b", "a\rb"])
def test_a_request_that_would_be_two_is_not_sent(line):
    with pytest.raises(WireError, match="one line"):
        protocol.encode_request(line)


def test_numbers_in_sentences():
    assert protocol.number_before("Exposure time set to: 0.9970000 sec.", "sec") == 0.997
    assert protocol.number_before("Exposure period set to: 2e-01 sec", "sec") == 0.2
    assert protocol.number_before("no number here", "sec") is None
    assert protocol.last_number("N images set to: 10") == 10
    assert protocol.last_number("none") is None
    assert protocol.threshold_in("Settings: mid gain; threshold: 6300 eV; vcmp: 0.654 V\n trim") == (6300.0, "midG")
    assert protocol.threshold_in("Threshold has not been set") is None


@pytest.mark.parametrize(
    ("typed", "number", "count", "name"),
    [
        ("test.cbf", 0, 1, "test.cbf"),
        ("test_014.cbf", 0, 1, "test_014.cbf"),
        ("test.tif", 0, 2, "test_00000.tif"),
        ("test.tif", 123456, 200_000, "test_123456.tif"),
        ("test6_014.tif", 0, 3, "test6_014.tif"),
        ("test6_014.tif", 2, 3, "test6_016.tif"),
        ("test_01.cbf", 1, 3, "test_01_00001.cbf"),
        ("s_00998.cbf", 3, 4, "s_01001.cbf"),
        ("plain", 1, 2, "plain_00001.tif"),
        ("a.b_000.cbf", 1, 2, "a.b_001.cbf"),
    ],
)
def test_images_are_named_as_camserver_names_them(typed, number, count, name):
    assert protocol.image_name(typed, number, count) == name


def test_mx_settings_become_one_line():
    line = protocol.mx_line([("wavelength", 1.5418), ("Beam_xy", "743.5 834.1")])
    assert line == "MXsettings Wavelength 1.5418 Beam_xy 743.5 834.1"


@pytest.mark.parametrize(("key", "value"), [("Nonsense", 1), ("Wavelength", "1 2"), ("Phi", " ")])
def test_an_mx_setting_that_camserver_would_misread_is_refused(key, value):
    with pytest.raises(WireError):
        protocol.mx_line([(key, value)])
