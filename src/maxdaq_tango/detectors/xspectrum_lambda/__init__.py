"""X-Spectrum Lambda, through libxsp's Python binding `pyxsp` and a streamer beside the detector."""
