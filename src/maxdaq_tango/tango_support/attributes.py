"""Attributes that tell: each has a label, a unit, a doc, plain Python behind it, and change events from the event pump.

`told(...)` makes one; `told_values(device)` looks at all of a device, which is what the pump compares from round to
round. A read function gets the device and returns the value, or None for "not known", which clients see as INVALID.
It may touch nothing but plain Python state: Tango holds the device while it runs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import tango
from tango.server import Device, attribute

from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.model import latin_text
from maxdaq_tango.tango_support.failures import throw

Read = Callable[[Any], Any]
Write = Callable[[Any, Any], None]
_Reads = TypeVar("_Reads", bound=Callable[..., Any])

BLANKS: dict[Any, Any] = {float: 0.0, int: 0, bool: False, str: ""}


def told(
    read: Read,
    write: Write | None = None,
    *,
    dtype: Any,
    label: str,
    doc: str,
    unit: str = "",
    format: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    expert: bool = False,
    memorized: bool = False,
    max_dim_x: int = 1,
    max_dim_y: int = 0,
    name: str = "",
) -> attribute:
    """An attribute of a device class; `write` raises a MaxdaqError to refuse a value.

    `memorized` costs a database write of 5 ms for each write: for settings of operators, not for set-points of a scan.
    `name` is for an attribute that shares its name with a property. An image ((float,),) has `max_dim_y`, and tells a
    new array when it has changed.
    """
    options: dict[str, Any] = {
        "dtype": dtype,
        "label": label,
        "doc": doc,
        "change_event_implemented": True,
        "change_event_detect": False,
        "display_level": tango.DispLevel.EXPERT if expert else tango.DispLevel.OPERATOR,
    }
    options |= {"unit": unit} if unit else {}
    options |= {"format": format} if format else {}
    options |= {"min_value": minimum} if minimum is not None else {}
    options |= {"max_value": maximum} if maximum is not None else {}
    options |= {"memorized": True, "hw_memorized": True} if memorized else {}
    options |= {"name": name} if name else {}
    spectrum = isinstance(dtype, tuple)
    options |= {"max_dim_x": max_dim_x} if spectrum else {}
    options |= {"max_dim_y": max_dim_y} if max_dim_y else {}
    read = tellable(read) if dtype in (str, (str,)) else read
    blank = [[0.0]] if max_dim_y else [] if spectrum else BLANKS[dtype]

    def fget(self: Device) -> Any:
        value = read(self)
        return (blank, time.time(), tango.AttrQuality.ATTR_INVALID) if value is None else value

    def fset(self: Device, value: Any) -> None:
        assert write is not None
        try:
            write(self, value)
        except MaxdaqError as error:
            throw(error, f"{self.get_name()}/{label}")

    made = attribute(
        fget=fget,
        fset=fset if write is not None else None,
        access=tango.AttrWriteType.READ if write is None else tango.AttrWriteType.READ_WRITE,
        **options,
    )
    made.told_read = read
    made.told_name = name
    made.told_blank = blank
    return made


def tellable(read: _Reads) -> _Reads:
    """Wraps a function of a device that reads text: as Tango can tell it, or one name of a file would make it fail."""

    @functools.wraps(read)
    def told_read(self: Device) -> Any:
        value = read(self)
        if value is None:
            return None
        return latin_text(value) if isinstance(value, str) else [latin_text(text) for text in value]

    return told_read  # type: ignore[return-value]


def told_attributes(device_class: type) -> dict[str, attribute]:
    """Name > attribute, of a device class and its bases."""
    found: dict[str, attribute] = {}
    for part in reversed(device_class.__mro__):
        found |= {item.told_name or name: item for name, item in vars(part).items() if hasattr(item, "told_read")}
    return found


def told_values(device: Device) -> dict[str, Any]:
    """Every told attribute of a device as it is now, None where it is not known; State and Status as well."""
    values = {name: item.told_read(device) for name, item in told_attributes(type(device)).items()}
    return {"State": device.dev_state(), "Status": device.dev_status(), **values}


def blank_of(device: Device, name: str) -> Any:
    """What is sent in place of a value that is not known."""
    return told_attributes(type(device))[name].told_blank


def show_set_point(device: Any, name: str, value: Any) -> None:
    """Make the set-point of an attribute read as `value`: Tango shows 0 until somebody writes."""
    device.get_device_attr().get_w_attr_by_name(name).set_write_value(value)
