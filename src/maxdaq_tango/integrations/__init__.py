"""What other software loads: plug-ins that live in its processes and drive our devices over Tango."""
