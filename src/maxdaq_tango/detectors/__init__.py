"""Detector families behind one contract, and their Tango devices; `registry` lists them."""
