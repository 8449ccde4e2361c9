"""A device server that does what it should, and tells its properties."""

from tango.server import Device, attribute, device_property, run


class Plain(Device):
    Word = device_property(dtype=str, default_value="none")

    @attribute(dtype=str)
    def word(self):
        return self.Word


if __name__ == "__main__":
    run((Plain,))
