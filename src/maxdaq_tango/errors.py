"""Every error this package raises, as one tree.

    MaxdaqError
    ├── ConfigurationError      what was asked for contradicts itself or a limit
    ├── WireError               a message from outside does not follow its format
    ├── DetectorError
    │   ├── DetectorRefused     the detector answered, and said no
    │   ├── DetectorTimeout     the detector was asked and did not finish in time
    │   └── DetectorOffline     the detector cannot be reached
    ├── PipelineError           a stage of the frame's road failed
    ├── EngineError             the receiver engine died or did not answer
    ├── StateError              the request does not fit the present state
    ├── FileError               a file could not be created, written, closed or trusted
    └── LaunchError             a process of a deployment did not start, or did not become ready

An error is read by somebody at 3 a.m., so each one says four things: what was asked, of whom, what came back, and what
would have been accepted. The parts are fields as well as text, so that programs need not parse the sentence.
"""

from __future__ import annotations

from functools import partial


class MaxdaqError(Exception):
    """Base of the tree. `asked` is the request in words; the other three may be empty."""

    def __init__(self, asked: str, *, of: str = "", answer: str = "", accepted: str = "") -> None:
        super().__init__(asked, of, answer, accepted)
        self.asked = asked
        """What was wanted, with the value: 'set ExposureTime to 9000 s'."""
        self.of = of
        """Who was asked: a device name, a URL, a path."""
        self.answer = answer
        """What came back, in the other side's own words where there are any."""
        self.accepted = accepted
        """What would have worked: a range, a list of values, the next step to take."""

    def __reduce__(self) -> tuple[partial[MaxdaqError], tuple[()]]:
        # Of itself Exception would be copied with four positions, and fail.
        return partial(type(self), self.asked, of=self.of, answer=self.answer, accepted=self.accepted), ()

    def __str__(self) -> str:
        text = self.asked
        if self.of:
            text += f" (of {self.of})"
        if self.answer:
            text += f": {self.answer}"
        if self.accepted:
            text += f". Accepted: {self.accepted}"
        return text


class ConfigurationError(MaxdaqError):
    """What was asked for contradicts itself, a limit or the topology."""


class WireError(MaxdaqError):
    """Bytes from outside do not follow their format. Decoders raise nothing else."""


class DetectorError(MaxdaqError):
    """Something went wrong between us and a detector."""


class DetectorRefused(DetectorError):
    """The detector answered and said no."""


class DetectorTimeout(DetectorError):
    """The detector took the request but did not finish within the deadline."""


class DetectorOffline(DetectorError):
    """The detector cannot be reached."""


class PipelineError(MaxdaqError):
    """A stage of the frame's road failed."""


class EngineError(MaxdaqError):
    """The receiver engine died or did not answer."""


class StateError(MaxdaqError):
    """The request is understood but does not fit the present state."""


class FileError(MaxdaqError):
    """A file could not be created, written, closed or trusted."""


class LaunchError(MaxdaqError):
    """A process of a deployment could not be started, died, or did not become ready in time."""
