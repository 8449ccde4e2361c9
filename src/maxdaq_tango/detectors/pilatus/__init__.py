"""Pilatus 2 and Pilatus 3, which are driven through DECTRIS' camserver. Pilatus4 speaks SIMPLON: see `eiger`."""
