"""The pipeline as a process of its own: entry point, conversation with its owner, live counters, supervision."""

from maxdaq_tango.engine.client import EngineClient

__all__ = ["EngineClient"]
