"""A device server with a process of its own beside it that outlives it, as a careless engine would."""

import subprocess
import sys

from tango.server import Device, run


class WithEngine(Device):
    pass


if __name__ == "__main__":
    subprocess.Popen(
        [sys.executable, "-S", "-c", "import signal\nwhile True: signal.pause()"],
        start_new_session=True,
    )
    run((WithEngine,), args=["WithEngine", *sys.argv[1:]])
