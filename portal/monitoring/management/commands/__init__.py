"""Commands: the collector process."""
