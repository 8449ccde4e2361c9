"""What the simulators of all families share: frames that can be recomputed from a seed, and faults on request."""

from maxdaq_tango.detectors.simulation.account import AccountBook, SeriesAccount
from maxdaq_tango.detectors.simulation.delivery import Damage, Delivery, DeliveryPlan, Item
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern, expected_frame, frame_number_in

__all__ = [
    "AccountBook",
    "Damage",
    "Delivery",
    "DeliveryPlan",
    "Faults",
    "FramePattern",
    "Item",
    "SeriesAccount",
    "expected_frame",
    "frame_number_in",
]
