"""From the receipt and the black box of a run to a timeline and the likely cause. Pure."""
