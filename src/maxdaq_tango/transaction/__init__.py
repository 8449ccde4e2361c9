"""Arming any number of detector + receiver pairs as one transaction, with everything undone when a part of it fails.

`words` (events, instructions, outcome) and `sequence` are pure; `executor` gives them threads and deadlines; `ports`
says what a detector and a receiver must offer, and `over_tango` offers it through DeviceProxy.
"""
