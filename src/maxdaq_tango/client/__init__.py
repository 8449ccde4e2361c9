"""For scripts: acquisitions through a DAQController or a detector device, with waits that end.

    from maxdaq_tango.client import DAQ

    with DAQ("laptop/daq/controller") as daq:
        report = daq.acquire(exposure_s=0.01, frames_per_trigger=100, directory="/data/visitors/a", scan_number=7)
    print(report.files)

Nothing here is needed to use the devices: a DeviceProxy does all of it.
"""

from maxdaq_tango.client.acquisition import DAQ
from maxdaq_tango.client.report import BadRun, Report

__all__ = ["DAQ", "BadRun", "Report"]
