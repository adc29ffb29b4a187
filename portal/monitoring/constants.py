"""Rhythm, limits and retention of monitoring."""

from datetime import timedelta

POLL_INTERVAL_S = 1.0
POLL_TIMEOUT_S = 0.9
POLL_CONCURRENCY_MAX = 64
DISCOVERY_INTERVAL_S = 3.0
BACKOFF_MAX_S = 8.0
STALE_AFTER_S = 3.0
DOWN_AFTER_S = 10.0
RESPONSE_BYTES_MAX = 256 * 1024
SAMPLE_SECONDS = 10
MAINTENANCE_INTERVAL_S = 60.0

# Resolution in seconds -> how long its samples are kept.
RETENTION = {
    10: timedelta(hours=6),
    60: timedelta(days=7),
    3600: timedelta(days=400),
}
METRICS_COUNT_MAX = 1000

CLOSE_FORBIDDEN = 4403
CLOSE_NOT_FOUND = 4404
CLOSE_SLOW = 4008
# A change of access is told to open channels at once; this is for what ends by the clock.
MEMBERSHIP_CHECK_S = 5.0
CLIENT_FRAME_BYTES_MAX = 1024
CLIENT_FRAMES_PER_CHECK_MAX = 120
# Frames in flight to a page that acknowledges them, before new ones replace waiting ones.
UNACKNOWLEDGED_MAX = 10
