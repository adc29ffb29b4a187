"""How segments of cold documents were had, and how long fetching them took."""

import bisect
from dataclasses import dataclass, field
from typing import Final, Literal

from dataplane.documents.cold import Tier

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper ends of the histogram; what took longer is in one more."""

type Outcome = Literal["known", "fetched", "gone", "failed"]


@dataclass(slots=True)
class Times:
    """How long fetching from one tier took."""

    seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))

    def took(self, seconds: float) -> None:
        """Count one."""
        self.seconds += seconds
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1


@dataclass(slots=True)
class Fetches:
    """Counts of one gateway, since it began."""

    outcomes: dict[Outcome, int] = field(
        default_factory=lambda: {"known": 0, "fetched": 0, "gone": 0, "failed": 0}
    )
    """By how it ended: was in memory, came, is no more, or could not be had."""
    bytes: int = 0
    """Of segments that came."""
    times: dict[Tier, Times] = field(
        default_factory=lambda: {"distributed": Times(), "archive": Times()}
    )
    """However it ended."""

    def ended(self, outcome: Outcome, tier: Tier, seconds: float) -> None:
        """Count a segment that was not in memory."""
        self.outcomes[outcome] += 1
        self.times[tier].took(seconds)

    def known(self) -> None:
        """Count a segment that was in memory."""
        self.outcomes["known"] += 1


@dataclass(slots=True)
class Fetched:
    """What one question took of segments, for whoever asks how it was answered."""

    segments: int = 0
    """That it needed."""
    fetched: int = 0
    """Of them, those that were not in memory."""
    seconds: float = 0.0
    """That it waited for them."""

    def described(self) -> dict[str, float]:
        """Return it as a plan tells it."""
        wait_ms = round(self.seconds * 1000, 3)
        return {"needed": self.segments, "fetched": self.fetched, "wait_ms": wait_ms}
