"""Limits and names of the metering contract."""

from datetime import timedelta

EVENT_PREFIX = "aerolith.usage."
API_CALLS = "api_calls"
STORAGE_BYTES = "storage_bytes"
NODE_SECONDS = "node_seconds"
COUNTERS = (API_CALLS, NODE_SECONDS)
METERS = (API_CALLS, STORAGE_BYTES, NODE_SECONDS)

BODY_BYTES_MAX = 2 * 1024 * 1024
BATCH_COUNT_MAX = 1000
VALUE_MAX = 2**63 - 1
WINDOW_MAX = timedelta(hours=1)
FUTURE_MAX = timedelta(minutes=5)
AGE_MAX = timedelta(days=35)
# A storage sample is carried over a hole of at most this many of its own windows.
CARRY_WINDOWS_MAX = 2
DEAD_LETTER_BYTES_MAX = 8 * 1024
# Events are kept for the period they are billed in plus 400 days.
RETENTION = timedelta(days=435)
