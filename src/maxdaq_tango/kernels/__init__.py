"""Pixel arithmetic: pure functions on arrays and blobs. Knows no sockets, threads, files or Tango."""
