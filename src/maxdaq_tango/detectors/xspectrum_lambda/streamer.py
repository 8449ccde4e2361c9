"""The streamer of a Lambda: owns the vendor's library, does what the driver says, and pushes one stream a module.

    python -m maxdaq_tango.detectors.xspectrum_lambda.streamer --port 9014 --stream-ports 9010

prints one line of JSON with the real ports when it is ready, and ends on SIGTERM, SIGINT, or (with --exit-with-parent)
when its standard input is closed. It runs where the library is installed, beside the detector; without the library it
runs as well, and says what is missing to everybody who asks.

Threads: one accepts HTTP, one serves each connection, one a module sends; in a series one a module takes frames, and
one begins acquisitions.
"""

from __future__ import annotations

import logging
import os
import sys
from types import TracebackType
from typing import Any, Self

if __name__ == "__main__":
    # Before bitshuffle is imported: its OpenMP threads spin, and on a busy machine they made it five times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from maxdaq_tango.detectors.serving.program import new_parser, serve
from maxdaq_tango.detectors.streaming.control import Command, StreamerControl
from maxdaq_tango.detectors.xspectrum_lambda.conductor import ENCODINGS, LambdaConductor
from maxdaq_tango.detectors.xspectrum_lambda.geometry import parse_place, parse_shape
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change, SeriesSettings
from maxdaq_tango.detectors.xspectrum_lambda.words import DEFAULT_SYSTEM
from maxdaq_tango.errors import ConfigurationError


class LambdaStreamer:
    """A running streamer. `with LambdaStreamer(library=..., system=...) as streamer: ... streamer.port ...`

    Further arguments are those of `LambdaConductor`. Port 0 takes a free one.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        self.host = host
        self.conductor = conductor = LambdaConductor(host=host, **options)
        commands = {
            "connect": Command(conductor.connect),
            "initialise": Command(conductor.initialise),
            "settings": Command(conductor.settings, reads=True),
            "set": Command(conductor.set, Change),
            "configure": Command(conductor.configure, SeriesSettings),
            "arm": Command(conductor.arm),
            "trigger": Command(conductor.trigger),
            "stop": Command(conductor.stop),
            "abort": Command(conductor.abort),
            "health": Command(conductor.health, reads=True),
            "status": Command(conductor.status, reads=True),
        }
        self._control = StreamerControl(host, port, commands)
        self.port = self._control.port

    def __enter__(self) -> Self:
        try:
            self.conductor.open()
            self._control.__enter__()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the series, hang up, let go of the detector. May be called twice."""
        self.conductor.interrupt()
        self._control.close()
        self.conductor.close()


def main(arguments: list[str] | None = None) -> int:
    """Run one streamer until it is told to end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = new_parser("lambda-streamer", "Streams the frames of a Lambda, one stream a module.")
    parser.add_argument(
        "--stream-ports", type=int, action="append", help="of the modules; the last counts on, 0 = any free ones"
    )
    parser.add_argument("--library", default="pyxsp", help="Python module of the vendor's library")
    parser.add_argument("--system", default=DEFAULT_SYSTEM, help="description of the system, as the library takes it")
    parser.add_argument("--place", action="append", default=[], metavar="X,Y,ROTATION", help="of a module, in order")
    parser.add_argument("--full-shape", default="", metavar="ROWS,COLUMNS", help="of the picture")
    parser.add_argument("--queue-mib", type=int, default=512, help="for frames that wait for their receiver")
    parser.add_argument("--compression", choices=sorted(ENCODINGS), default="bslz4")
    given = parser.parse_args(arguments)
    try:
        places = [parse_place(text) for text in given.place]
        whole = parse_shape(given.full_shape) if given.full_shape else None
    except ConfigurationError as error:
        parser.error(str(error))
    return serve(
        parser.prog,
        given,
        lambda: LambdaStreamer(
            library=given.library,
            system=given.system,
            host=given.host,
            port=given.port,
            stream_ports=given.stream_ports or (0,),
            places=places,
            whole=whole,
            queue_bytes=given.queue_mib << 20,
            compression=given.compression,
            curve_key=given.curve_key,
        ),
        lambda streamer: {
            "http": streamer.port,
            "streams": streamer.conductor.stream_ports,
            "trouble": streamer.conductor.trouble,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
