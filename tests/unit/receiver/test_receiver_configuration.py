"""Properties of a receiver that cannot work are named; rates come from counters."""

from __future__ import annotations

import msgspec
import pytest
import zmq

from maxdaq_tango.curve import make_keys
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import (
    AcquisitionSettings,
    Compression,
    Counters,
    FileBackend,
    FileNaming,
    Pinned,
    Verification,
)
from maxdaq_tango.receiver.configuration import ReceiverConfiguration, checked, word
from maxdaq_tango.receiver.outlook import Policy
from maxdaq_tango.receiver.rates import RateMeter
from maxdaq_tango.transaction.pair import PairRun
from maxdaq_tango.transaction.words import PairPlan, PlaceFields

KEY = zmq.curve_keypair()[0].decode()


@pytest.fixture
def good(tmp_path):
    return ReceiverConfiguration(
        roots=(str(tmp_path),),
        detector="eiger",
        memory_bytes=1 << 30,
        naming=FileNaming.PREPARE,
        compression=Compression.BSLZ4,
        verify=Verification.FULL,
        backend=FileBackend.AUTO,
        pool_workers=0,
        frames_per_file=0,
        engines=1,
        pinned=Pinned(),
        connect_timeout_s=0,
        start_timeout_s=0,
        stall_timeout_s=0,
        grace_s=2,
        prepare_wait_s=2,
    )


def test_a_good_one_passes_and_no_root_means_nothing_may_be_written(good):
    assert checked(good) is good
    assert checked(msgspec.structs.replace(good, roots=())).own_fields()["roots"] == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"roots": ("data",)}, "Roots.*not absolute"),
        ({"roots": ("/no/such/folder",)}, "Roots.*no such folder"),
        ({"detector": "a/b"}, "DetectorName"),
        ({"detector": ""}, "DetectorName"),
        ({"memory_bytes": 1000}, "MemoryBudget.*16777216"),
        ({"pool_workers": -1}, "PoolWorkers.*0 to 64"),
        ({"frames_per_file": -1}, "FramesPerFile.*0 to 1000000"),
        ({"engines": 0}, "Engines.*1 to 16"),
        ({"spill_directory": "spill"}, "SpillDirectory to 'spill'.*not absolute"),
        ({"spill_directory": "/no/such/folder"}, "SpillDirectory.*no such folder"),
        ({"spill_directory": __file__}, "SpillDirectory.*no such folder"),
        ({"pinned": Pinned(sockets=17)}, "Sockets to 17.*0 .automatic. to 16"),
        ({"pinned": Pinned(messages_ahead=-1)}, "MessagesAhead"),
        ({"pinned": Pinned(receive_buffer_bytes=2 << 30)}, "ReceiveBuffer.*0 .automatic. to 1073741824"),
        ({"pinned": Pinned(batch_messages=-1)}, "BatchMessages"),
        ({"pinned": Pinned(slab_bytes=5000)}, "SlabSize.*multiple of 4096"),
        ({"pinned": Pinned(slab_bytes=1 << 31)}, "SlabSize"),
        ({"pinned": Pinned(checkpoint_s=float("nan"))}, "CheckpointInterval"),
        ({"grace_s": -1.0}, "grace_s"),
        ({"module_wait_s": -1.0}, "module_wait_s"),
        ({"stall_timeout_s": float("nan")}, "stall_timeout_s"),
        ({"curve_server_key": "secret?"}, "CurveServerKey: not a public key.*40 characters"),
        ({"curve_key_file": "/a.key"}, "CurveKeyFile to '/a.key': CurveServerKey is empty"),
        ({"curve_server_key": KEY, "curve_key_file": "/no/a.key"}, "CurveKeyFile to '/no/a.key': No such file"),
    ],
)
def test_a_bad_one_is_refused_with_the_property_named(good, change, named):
    with pytest.raises(ConfigurationError, match=named):
        checked(msgspec.structs.replace(good, **change))


def test_keys_are_the_receivers_and_no_choice_of_clients(good, tmp_path):
    make_keys(tmp_path / "a.key")
    keyed = msgspec.structs.replace(good, curve_server_key=KEY, curve_key_file=str(tmp_path / "a.key"))
    assert checked(keyed) is keyed
    assert keyed.own_fields()["curve_server_key"] == KEY
    assert keyed.own_fields()["curve_key_file"] == str(tmp_path / "a.key")
    assert good.own_fields()["curve_server_key"] == ""


@pytest.mark.lesson(45)
def test_naming_takes_two_words():
    assert word(FileNaming, "Naming", "Stream") is FileNaming.STREAM
    with pytest.raises(ConfigurationError, match="prepare or stream"):
        word(FileNaming, "Naming", "both")


def test_compression_takes_three_words_and_is_no_choice_of_clients(good):
    assert word(Compression, "Compression", " BSZSTD ") is Compression.BSZSTD
    assert good.own_fields()["compression"] is Compression.BSLZ4
    with pytest.raises(ConfigurationError, match=r"set property Compression to 'gzip'.*none, bslz4 or bszstd"):
        word(Compression, "Compression", "gzip")


def test_rates_are_over_the_last_second_and_start_anew_with_a_run():
    meter = RateMeter()
    for tenth in range(31):
        meter.update(Counters(run_number=1, frames_received=tenth * 10, bytes_received=tenth * 1000), tenth / 10)
    assert meter.frames_hz == pytest.approx(100)
    assert meter.bytes_hz == pytest.approx(10_000)
    meter.update(Counters(run_number=2, frames_received=0), 3.1)
    assert meter.frames_hz == 0
    meter.update(Counters(run_number=2, frames_received=0), 3.1)
    assert meter.frames_hz == 0


@pytest.mark.parametrize(
    ("changes", "in_blocks", "block_count"),
    [
        ({}, False, None),
        ({"frames_per_file": 4}, True, 3),
        ({"engines": 2}, True, None),
        ({"spill_directory": "/spill"}, True, None),
    ],
)
def test_the_files_of_a_run_are_looked_for_as_they_will_be_made(good, changes, in_blocks, block_count):
    places = PlaceFields(destination="/data/a.h5", frames=10, scan_master="/data/scan.h5")
    files = msgspec.structs.replace(good, **changes).files_of(places)
    assert (files["path"], files["scan_master"], files["roots"]) == ("/data/a.h5", "/data/scan.h5", good.roots)
    assert (files["in_blocks"], files["block_count"]) == (in_blocks, block_count)


def test_files_are_looked_for_in_the_blocks_that_the_run_itself_asks_for(good):
    pair = PairRun("a", PairPlan(settings=AcquisitionSettings(trigger_count=10), frames_per_file=4))
    assert pair.places().frames_per_file == 4
    for own in (0, 100):
        files = msgspec.structs.replace(good, frames_per_file=own).files_of(pair.places())
        assert (files["in_blocks"], files["block_count"]) == (True, 3)


def test_where_the_stream_says_where_files_go_nobody_looks_elsewhere(good):
    places = PlaceFields(destination="/data/a.h5", frames=10)
    assert msgspec.structs.replace(good, naming=FileNaming.STREAM).files_of(places)["path"] == ""


def test_policies_take_three_words():
    assert word(Policy, "RoomPolicy", " Refuse ") is Policy.REFUSE
    with pytest.raises(ConfigurationError, match=r"RoomPolicy to 'never'.*refuse, warn or ignore"):
        word(Policy, "RoomPolicy", "never")
