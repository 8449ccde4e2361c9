"""Writes a topology into a Tango database, and only what differs.

In the embedded database the topology rules: what it does not list is removed from its servers. In a facility's
database other people have put things too: nothing is removed, no device is taken from another server, and properties
that the topology does not mention stay as they are. (Properties of the second kind stay in both: an operator may have
set them in Jive.)
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import tango

from maxdaq_tango.deployment.topology import PlacedDevice, Topology, Values, property_text
from maxdaq_tango.errors import ConfigurationError

Properties = dict[str, list[str]]


class Difference(msgspec.Struct, frozen=True):
    """One thing that the database had otherwise."""

    subject: str
    """A device, `device:Property` or `device/attribute:property`."""
    before: str
    """"" when there was nothing."""
    after: str
    """"" when it was removed."""

    def __str__(self) -> str:
        if not self.before:
            return f"{self.subject}: {self.after} (new)"
        return f"{self.subject}: {self.after or 'removed'} (was {self.before})"


def register(
    database: tango.Database, topology: Topology, answers: Mapping[str, str], *, own: bool
) -> list[Difference]:
    """Make the database say what the topology says, and tell what that changed; [] when nothing.

    `answers` fills in the `${…}`. `own`: the database is the embedded one.
    """
    differences: list[Difference] = []
    for placed in topology.devices():
        differences += _register_device(database, placed, own)
        device = placed.device
        if device.alias:
            differences += _register_alias(database, placed)
        differences += _register_properties(database, placed.name, device.properties, answers)
        for attribute, properties in device.attribute_properties.items():
            differences += _register_attribute_properties(database, placed.name, attribute, properties, answers)
    if own:
        differences += _remove_unlisted(database, topology)
    return differences


def _register_device(database: tango.Database, placed: PlacedDevice, own: bool) -> list[Difference]:
    wanted = f"{placed.class_name} in {placed.server_instance}"
    try:
        info = database.get_device_info(placed.name)
        present = f"{info.class_name} in {info.ds_full_name}"
    except tango.DevFailed:
        present = ""
    if present.lower() == wanted.lower():
        return []
    if present and not own:
        raise ConfigurationError(
            f"register {placed.name} as {wanted}",
            of="the Tango database",
            answer=f"it is there already, as {present}",
            accepted="another device name, or remove the device from the database first",
        )
    if present:
        database.delete_device(placed.name)
    entry = tango.DbDevInfo()
    entry.name, entry.klass, entry.server = placed.name, placed.class_name, placed.server_instance
    database.add_device(entry)
    return [Difference(placed.name, present, wanted)]


def _register_alias(database: tango.Database, placed: PlacedDevice) -> list[Difference]:
    alias = placed.device.alias
    try:
        holder = database.get_device_from_alias(alias)
    except tango.DevFailed:
        holder = ""
    if holder.lower() == placed.name.lower():
        return []
    if holder:
        raise ConfigurationError(
            f"give {placed.name} the alias {alias}",
            of="the Tango database",
            answer=f"{holder} has it",
            accepted="another alias",
        )
    try:
        before = database.get_alias_from_device(placed.name)
    except tango.DevFailed:
        before = ""
    database.put_device_alias(placed.name, alias)
    return [Difference(f"{placed.name}:alias", before, alias)]


def _register_properties(
    database: tango.Database, device: str, properties: Mapping[str, Values], answers: Mapping[str, str]
) -> list[Difference]:
    wanted = {name: property_text(values, dict(answers)) for name, values in properties.items()}
    present: Properties = {}
    if wanted:
        present = {name: list(values) for name, values in database.get_device_property(device, list(wanted)).items()}
    changed = {name: values for name, values in wanted.items() if present.get(name, []) != values}
    if changed:
        database.put_device_property(device, changed)
    return [_changed(f"{device}:{name}", present.get(name, []), values) for name, values in changed.items()]


def _register_attribute_properties(
    database: tango.Database,
    device: str,
    attribute: str,
    properties: Mapping[str, Values],
    answers: Mapping[str, str],
) -> list[Difference]:
    wanted = {name: property_text(values, dict(answers)) for name, values in properties.items()}
    stored = database.get_device_attribute_property(device, attribute).get(attribute, {})
    present = {name: list(values) for name, values in stored.items()}
    changed = {name: values for name, values in wanted.items() if present.get(name, []) != values}
    if changed:
        database.put_device_attribute_property(device, {attribute: changed})
    return [_changed(f"{device}/{attribute}:{name}", present.get(name, []), values) for name, values in changed.items()]


def _remove_unlisted(database: tango.Database, topology: Topology) -> list[Difference]:
    """A device that was renamed in the file would otherwise still be started by its server, beside the new one."""
    listed = {placed.name.lower() for placed in topology.devices()}
    removed: list[Difference] = []
    for server_instance in sorted({placed.server_instance for placed in topology.devices()}):
        pairs = list(database.get_device_class_list(server_instance))
        for name, class_name in zip(pairs[::2], pairs[1::2], strict=True):
            if class_name != "DServer" and name.lower() not in listed:
                database.delete_device(name)
                removed.append(Difference(name, f"{class_name} in {server_instance}", ""))
    return removed


def _changed(subject: str, before: list[str], after: list[str]) -> Difference:
    return Difference(subject, ", ".join(before), ", ".join(after))
