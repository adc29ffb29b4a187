"""A network that loses, repeats, delays, reorders and splits."""

from dataclasses import dataclass
from random import Random

from dataplane.simulation.options import Options


@dataclass(slots=True)
class Network:
    """Decides the fate of every message; the world delivers."""

    options: Options
    rng: Random
    healed: bool = False
    _sides: dict[int, int] | None = None

    def split(self, sides: dict[int, int]) -> None:
        """Let messages pass only between replicas of one side."""
        self._sides = sides

    def join(self) -> None:
        """End the split."""
        self._sides = None

    def heal(self) -> None:
        """From now on deliver everything soon (partial synchrony: GST)."""
        self.healed = True
        self._sides = None

    def arrivals(self, source: int, target: int) -> list[int]:
        """Return after how many milliseconds each copy of a message arrives; none when lost."""
        rng, options = self.rng, self.options
        if self.healed:
            return [rng.randint(1, 3)]
        if self._sides is not None and self._sides[source] != self._sides[target]:
            return []
        if rng.random() < options.loss:
            return []
        copies = 2 if rng.random() < options.duplication else 1
        return [rng.randint(0, options.delay_max_ms) for _ in range(copies)]
