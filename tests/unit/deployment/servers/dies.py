"""A device server that gives up at start."""

import sys

print("the camera is not there")
sys.exit(3)
