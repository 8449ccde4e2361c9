"""What tests need and others may use: contract suites, hypothesis strategies, a probe for streams."""
