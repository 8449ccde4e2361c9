"""Tango device servers that take X-ray detector streams into verified HDF5 files."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("maxdaq-tango")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
