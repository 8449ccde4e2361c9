"""The frame's road: socket, queue, decoder, ledger, transforms, file.

socket --> SourceReader (one thread a socket) --> ByteQueue --> collector thread:
    wire decoder --> SeriesRun + Ledger (pure) --> transforms --> SeriesFile
"""

from maxdaq_tango.pipeline.collector import RunReport
from maxdaq_tango.pipeline.receiver import Receiver
from maxdaq_tango.pipeline.series_run import Phase, SeriesRun

__all__ = ["Phase", "Receiver", "RunReport", "SeriesRun"]
