"""Prints the folders that Sardana has to be told."""

from maxdaq_tango.integrations.sardana import CONTROLLERS, MACROS, RECORDERS

for name, folder in (("pool_path", CONTROLLERS), ("macro_path", MACROS), ("recorder_path", RECORDERS)):
    print(f"{name}: {folder}")
