from __future__ import annotations

import pytest
import tango

from maxdaq_tango.deployment.registration import Difference, register
from maxdaq_tango.deployment.topology import Topology, parse_topology
from maxdaq_tango.errors import ConfigurationError

ANSWERS = {"data": "/d"}


def topology(prefix: str, *, word: str = "a", device: str = "1", server: str = "one", alias: str = "") -> Topology:
    return parse_topology(
        f"""
name: t
servers:
  StreamReceiver:
    {prefix}{server}:
      StreamReceiver:
        {prefix}/r/{device}:
          alias: {alias or '""'}
          properties: {{Word: {word}, List: [1, true, "${{data}}/x"]}}
          attribute_properties: {{FrameRate: {{max_warning: 5}}}}
""",
        "t.yaml",
    )


def properties(database: tango.Database, device: str, name: str) -> list[str]:
    return list(database.get_device_property(device, name)[name])


def test_everything_is_written_and_told(embedded_database: tango.Database) -> None:
    told = register(embedded_database, topology("new", alias="new-alias"), ANSWERS, own=True)
    assert [str(one) for one in told] == [
        "new/r/1: StreamReceiver in StreamReceiver/newone (new)",
        "new/r/1:alias: new-alias (new)",
        "new/r/1:Word: a (new)",
        "new/r/1:List: 1, true, /d/x (new)",
        "new/r/1/FrameRate:max_warning: 5 (new)",
    ]
    assert properties(embedded_database, "new/r/1", "List") == ["1", "true", "/d/x"]
    assert embedded_database.get_device_from_alias("new-alias") == "new/r/1"
    stored = embedded_database.get_device_attribute_property("new/r/1", "FrameRate")
    assert list(stored["FrameRate"]["max_warning"]) == ["5"]


@pytest.mark.parametrize("own", [True, False])
def test_twice_is_no_difference(embedded_database: tango.Database, own: bool) -> None:
    wanted = topology(f"twice{own}", alias=f"twice-{own}")
    assert register(embedded_database, wanted, ANSWERS, own=own) != []
    assert register(embedded_database, wanted, ANSWERS, own=own) == []


def test_only_what_changed_is_told(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("change"), ANSWERS, own=True)
    told = register(embedded_database, topology("change", word="b"), ANSWERS, own=True)
    assert told == [Difference("change/r/1:Word", "a", "b")]
    assert str(told[0]) == "change/r/1:Word: b (was a)"


def test_properties_of_operators_stay(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("operator"), ANSWERS, own=True)
    embedded_database.put_device_property("operator/r/1", {"Mine": ["x"]})
    register(embedded_database, topology("operator"), ANSWERS, own=True)
    assert properties(embedded_database, "operator/r/1", "Mine") == ["x"]


def test_a_renamed_device_does_not_stay_behind_in_our_own_database(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("rename"), ANSWERS, own=True)
    told = register(embedded_database, topology("rename", device="2"), ANSWERS, own=True)
    assert str(told[-1]) == "rename/r/1: removed (was StreamReceiver in StreamReceiver/renameone)"
    listed = list(embedded_database.get_device_class_list("StreamReceiver/renameone"))
    assert "rename/r/2" in listed
    assert "rename/r/1" not in listed


def test_nothing_is_removed_from_a_facilitys_database(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("keep"), ANSWERS, own=False)
    register(embedded_database, topology("keep", device="2"), ANSWERS, own=False)
    assert "keep/r/1" in list(embedded_database.get_device_class_list("StreamReceiver/keepone"))


def test_a_device_moves_between_servers_of_our_own_database(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("move"), ANSWERS, own=True)
    told = register(embedded_database, topology("move", server="two"), ANSWERS, own=True)
    assert (
        str(told[0])
        == "move/r/1: StreamReceiver in StreamReceiver/movetwo (was StreamReceiver in StreamReceiver/moveone)"
    )
    assert embedded_database.get_device_info("move/r/1").ds_full_name == "StreamReceiver/movetwo"


def test_a_device_is_not_taken_from_another_server_of_a_facility(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("taken"), ANSWERS, own=False)
    with pytest.raises(ConfigurationError, match=r"it is there already, as StreamReceiver in StreamReceiver/takenone"):
        register(embedded_database, topology("taken", server="two"), ANSWERS, own=False)
    assert embedded_database.get_device_info("taken/r/1").ds_full_name == "StreamReceiver/takenone"


def test_an_alias_that_another_device_has_is_an_error(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("first", alias="wanted"), ANSWERS, own=True)
    with pytest.raises(ConfigurationError, match=r"first/r/1 has it"):
        register(embedded_database, topology("second", alias="wanted"), ANSWERS, own=True)


def test_case_of_names_is_no_difference(embedded_database: tango.Database) -> None:
    register(embedded_database, topology("upper"), ANSWERS, own=True)
    assert register(embedded_database, topology("UPPER"), ANSWERS, own=True) == []
