"""A facade in the words of MAX IV's EigerDectris device, for clients that speak SIMPLON's names: MXCuBE's Eiger.

It owns nothing: an `EigerDetector` and its receiver do the work, under their own names and for their own clients as
well.
"""
