"""Eiger, Eiger2 and Pilatus4: detectors that speak DECTRIS SIMPLON."""
