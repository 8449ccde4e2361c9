"""The frame's road: socket, decoder, ledger, transforms, file.

collector thread, one a run:
    sockets (SourceSet) --> wire decoder --> SeriesRun + Ledger (pure) --> [Pool of threads] --> SeriesFile
"""

from maxdaq_tango.pipeline.collector import RunReport
from maxdaq_tango.pipeline.phase import Phase
from maxdaq_tango.pipeline.receiver import Receiver
from maxdaq_tango.pipeline.series_run import SeriesRun

__all__ = ["Phase", "Receiver", "RunReport", "SeriesRun"]
