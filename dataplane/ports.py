"""Ports of the data plane to the outside: the clock."""

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds that never run backwards and start near wall time."""

    def now_ms(self) -> int:
        """Return the current time."""
        ...


class SystemClock:
    """Wall time at the start, then the monotonic clock, re-anchored while wall time is ahead.

    A wall clock that is set back never moves this clock back; one that is set forward (a machine
    that slept) is followed.
    """

    def __init__(self) -> None:
        self._last_ms = 0

    def now_ms(self) -> int:
        """Return the current time in milliseconds since 1970."""
        self._last_ms = max(self._last_ms, time.time_ns() // 1_000_000)
        return self._last_ms
