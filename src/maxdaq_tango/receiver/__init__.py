"""The StreamReceiver device: the Tango face of a receiver engine."""
