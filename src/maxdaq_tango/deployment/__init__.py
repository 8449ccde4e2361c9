"""What runs together: topology, embedded Tango database, registration, launcher."""
