"""Clocks that are off, run fast or slow, and are wrong by an hour on a few nodes."""

from dataclasses import dataclass
from random import Random

from dataplane.simulation.options import Options

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """One node's clock: an offset, and how much it gains in a million milliseconds."""

    skew_ms: int
    drift_ppm: int

    def read(self, now_ms: int, elapsed_ms: int) -> int:
        """Return what the clock shows; it never runs backwards."""
        return now_ms + self.skew_ms + elapsed_ms * self.drift_ppm // MILLION


def draw_clock(options: Options, replica: int, rng: Random) -> Clock:
    """Draw a node's clock."""
    skew_ms = int(rng.random() * (options.skew_max_ms + 1))
    drift_ppm = int((rng.random() * 2 - 1) * options.drift_max_ppm)
    return Clock(skew_ms + dict(options.wrong_clocks).get(replica, 0), drift_ppm)
