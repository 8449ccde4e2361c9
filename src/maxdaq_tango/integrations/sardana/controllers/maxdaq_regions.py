"""Sardana's pseudo counter over images of a 2D channel: the counts in a region, or in all of it.

type: PseudoCounter
python_module: maxdaq_regions.py
python_class: MaxdaqRegionController
physical_roles:
  image: eiger                      # a channel that is read as images (ValueRefEnabled false)
properties:
  Region: 100:200, 300:400          # rows, columns; empty: all of it
elements:
  peak: {axis: 1}
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sardana.pool.controller import DefaultValue, Description, PseudoCounterController, Type

from maxdaq_tango.integrations.sardana.regions import counts, region


class MaxdaqRegionController(PseudoCounterController):  # type: ignore[misc]
    """Sum of the pixels of a region that were measured: those that are masked or blank do not count."""

    gender = "Counters"
    model = "maxdaq-tango"
    organization = "MAX IV"
    counter_roles = ("image",)
    pseudo_counter_roles = ("counts",)

    ctrl_properties = {
        "Region": {Type: str, Description: "rows, columns as in 100:200, 300:400; empty: all.", DefaultValue: ""},
    }

    def Calc(self, axis: int, values: Any) -> float:
        """Of one image."""
        return counts(np.asarray(values[0]), region(self.Region))
