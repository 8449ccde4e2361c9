"""The options that every simulator has."""

from __future__ import annotations

import argparse

from maxdaq_tango.detectors.serving import program


def new_parser(name: str, description: str) -> argparse.ArgumentParser:
    """With the options of every simulator; a family adds its own."""
    parser = program.new_parser(name, description)
    parser.add_argument("--rows", type=int, default=1065)
    parser.add_argument("--columns", type=int, default=1030)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME=VALUE", help="something to go wrong; may be repeated"
    )
    return parser
