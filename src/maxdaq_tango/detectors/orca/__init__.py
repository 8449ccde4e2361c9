"""Hamamatsu ORCA cameras over DCAM-API."""
