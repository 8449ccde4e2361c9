"""What the numbers are of."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

import h5py
import zmq

from maxdaq_tango import __version__
from maxdaq_tango.bench.results import Machine


def describe_machine(folder: Path, file_system: str) -> Machine:
    """This machine; `folder` is where files were written."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=platform.python_version(),
        software=f"maxdaq-tango {__version__}, h5py {h5py.__version__} with HDF5 {h5py.version.hdf5_version}, "
        f"pyzmq {zmq.__version__} with libzmq {zmq.zmq_version()}",
        file_system=file_system,
        folder=str(folder),
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
