"""How fast a backlog shrinks: whoever would wait in vain is told so at once."""

from typing import Final

MEMORY_MS: Final = 1_000
"""What was seen so long ago counts half."""
LEAST_MS: Final = 250
STALE_MS: Final = 15_000


class Drain:
    """Measures only while a backlog lasts: an idle cluster says nothing about what it can do."""

    def __init__(self) -> None:
        self._op_count = 0.0
        self._took_ms = 0.0
        self._began_ms = 0
        self._measured_ms = 0
        self._now_ms = 0

    def tick(self, now_ms: int) -> None:
        """Let time pass."""
        self._now_ms = max(self._now_ms, now_ms)

    def done(self, op_count: int, now_ms: int, *, is_backlog: bool) -> None:
        """Note that operations were answered, and whether others wait for their turn."""
        self.tick(now_ms)
        if self._began_ms:
            passed_ms = now_ms - self._began_ms
            kept = 0.5 ** (passed_ms / MEMORY_MS)
            self._op_count = self._op_count * kept + op_count
            self._took_ms = self._took_ms * kept + passed_ms
            self._measured_ms = now_ms
        self._began_ms = now_ms if is_backlog else 0

    @property
    def is_known(self) -> bool:
        """Whether a backlog was seen lately for long enough."""
        is_measured = self._took_ms > LEAST_MS and self._op_count > 0
        return is_measured and self._now_ms - self._measured_ms <= STALE_MS

    def wait_ms(self, op_count: int) -> float:
        """Return how long so many operations will take; 0 when nothing is known."""
        if not self.is_known:
            return 0.0
        return op_count * self._took_ms / self._op_count
