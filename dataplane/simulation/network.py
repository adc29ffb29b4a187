"""A network that loses, repeats, delays, reorders and splits, in one direction or both."""

from random import Random

from dataplane.simulation.options import Options
from dataplane.simulation.schedule import Delivery

CHANCE = 1 << 16
ASIDE_FROM = 1_000_000_000
"""The number of a way's first message beside the protocol."""


type Way = tuple[int, int, bool]
"""(source, target, whether it is beside the protocol)"""


class Link:
    """The way from one node to another, with its own chance: other ways do not disturb it."""

    __slots__ = ("count", "draw")

    def __init__(self, seed: int, way: "Way") -> None:
        source, target, aside = way
        lane = "aside" if aside else "link"
        self.draw = Random(f"{seed} {lane} {source}>{target}").getrandbits
        self.count = 0


class Network:
    """Decides the fate of every message; the world delivers."""

    def __init__(self, options: Options) -> None:
        self._seed = options.seed
        self._loss = int(options.loss * CHANCE)
        self._duplication = int(options.duplication * CHANCE)
        self._delays = options.delay_max_ms + 1
        self._only = options.schedule.delivered
        self._links: dict[Way, Link] = {}
        self._cuts: dict[str, frozenset[tuple[int, int]]] = {}
        self.healed = False
        self.delivered: list[Delivery] = []

    def cut(self, name: str, blocked: frozenset[tuple[int, int]]) -> None:
        """Lose everything between (source, target) pairs; several cuts add up."""
        self._cuts[name] = blocked

    def join(self, name: str) -> None:
        """End a cut."""
        self._cuts.pop(name, None)

    def heal(self) -> None:
        """From now on deliver everything soon (partial synchrony: GST)."""
        self.healed = True
        self._cuts.clear()

    def arrivals(
        self, source: int, target: int, *, aside: bool = False
    ) -> tuple[int, tuple[int, ...]]:
        """Return the message's number on its way and when each copy arrives; none when lost.

        Messages beside the protocol have numbers and chances of their own, so that they disturb no
        other.
        """
        way = (source, target, aside)
        link = self._links.get(way)
        if link is None:
            link = self._links[way] = Link(self._seed, way)
        index = link.count + (ASIDE_FROM if aside else 0)
        link.count += 1
        # All chances in one draw: what is not used is drawn all the same, so that a run with one
        # fault less meets the same delays.
        chance = link.draw(64)
        if self.healed:
            return index, (1 + (chance & 0xFFFF) % 3,)
        if self._only is not None and (source, target, index) not in self._only:
            return index, ()
        if any((source, target) in blocked for blocked in self._cuts.values()):
            return index, ()
        if (chance & 0xFFFF) < self._loss:
            return index, ()
        first = ((chance >> 16 & 0xFFFF) * self._delays) >> 16
        if (chance >> 32 & 0xFFFF) >= self._duplication:
            return index, (first,)
        return index, (first, ((chance >> 48) * self._delays) >> 16)
