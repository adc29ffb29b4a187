"""Template filters of metering."""
