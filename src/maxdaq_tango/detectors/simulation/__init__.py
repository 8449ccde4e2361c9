"""What the simulators of all families share: frames that can be recomputed from a seed, and faults on request."""

from maxdaq_tango.detectors.simulation.faults import Delivery, DeliveryPlan, Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern, expected_frame, frame_number_in

__all__ = ["Delivery", "DeliveryPlan", "Faults", "FramePattern", "expected_frame", "frame_number_in"]
