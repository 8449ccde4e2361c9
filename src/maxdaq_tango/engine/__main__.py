"""`python -m maxdaq_tango.engine`."""

from maxdaq_tango.engine.server import main

main()
