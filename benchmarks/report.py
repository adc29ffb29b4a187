"""Pairs of measurements that were made right after each other, and what they show together."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.load import Result


@dataclass(frozen=True, slots=True)
class Pair:
    """One measurement of ours and one of the peer."""

    nodes: int
    ours: Result
    peer: Result

    @property
    def of_rates(self) -> float:
        """How many times the peer's rate ours is."""
        return self.ours.rate / self.peer.rate if self.peer.rate else float("inf")

    @property
    def of_cpu(self) -> float:
        """How many times the peer's CPU an operation ours takes."""
        peer_us = self.peer.server_cpu_us
        return self.ours.server_cpu_us / peer_us if peer_us else float("inf")

    def line(self) -> str:
        """Return one row."""
        return f"ratio n={self.nodes}: of rates {self.of_rates:.2f}, of CPU {self.of_cpu:.2f}"


def spread(values: Sequence[float], digits: int) -> str:
    """Return the least, the median and the greatest in words."""
    numbers = (min(values), statistics.median(values), max(values))
    return "min {} / median {} / max {}".format(*(f"{number:,.{digits}f}" for number in numbers))


def summary(pairs: Sequence[Pair]) -> list[str]:
    """Return a row for each size of the cluster: the spread of the ratios of its pairs."""
    rows = []
    for nodes in dict.fromkeys(pair.nodes for pair in pairs):
        mine = [pair for pair in pairs if pair.nodes == nodes]
        rates = spread([pair.of_rates for pair in mine], 2)
        cpu = spread([pair.of_cpu for pair in mine], 2)
        rows.append(f"n={nodes}, pairs: {len(mine)}; of rates {rates}; of CPU {cpu}")
    return rows
