"""Hybrid logical clocks: stamps that are near the time of day and never run backwards.

Kulkarni et al., "Logical Physical Clocks" (2014). They order what one outbox queued, also across
restarts and clocks that are set back, and tell people roughly when; the log alone decides.
"""

from collections.abc import Callable
from typing import Final

COUNTER_MAX: Final = 0xFFFF


class HybridClock:
    """Makes rising stamps of the form `0198c0ffee00-0000-device`."""

    def __init__(self, now_ms: Callable[[], int], device: str, last: str) -> None:
        """Go on after the stamp `last`, which may be empty."""
        self._now_ms = now_ms
        self._device = device
        wall, _, rest = last.partition("-")
        self._wall_ms = int(wall, 16) if wall else 0
        self._counter = int(rest.partition("-")[0], 16) if rest else 0

    def stamp(self) -> str:
        """Return a stamp above every earlier one."""
        now_ms = self._now_ms()
        if now_ms > self._wall_ms:
            self._wall_ms, self._counter = now_ms, 0
        elif self._counter < COUNTER_MAX:
            self._counter += 1
        else:
            self._wall_ms, self._counter = self._wall_ms + 1, 0
        return f"{self._wall_ms:012x}-{self._counter:04x}-{self._device}"
