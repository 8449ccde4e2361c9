"""What every Tango device of this package shares: events, attributes, states, failures, links to other devices."""
