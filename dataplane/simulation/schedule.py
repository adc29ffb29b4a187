"""What of a drawn run really happens: the handle by which a failing run is made smaller.

Everything a seed draws has a name (`crash.0`, `cut.2`, `liar.3`, `request.17`, `loss`, ...). A
schedule takes names away; it may also say which messages arrive before the cluster heals, and how
early it heals. Whatever it takes away, the run stays one that the model allows.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

type Delivery = tuple[int, int, int]
"""The source, the target, and which message of that pair it is."""

KNOBS = ("loss", "duplication", "delay", "slow_sync", "skew", "drift", "torn")
_NUMBERED = re.compile(r"^([a-z]+)\.(\d+)(?:-(\d+))?$")
_PAIR = re.compile(r"^(\d+)>(\d+):([\d,-]+)$")


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is left out of a run, which messages arrive, and when it heals at the latest."""

    dropped: frozenset[str] = frozenset()
    delivered: frozenset[Delivery] | None = None
    """The only messages that arrive before the cluster heals; None: what the network decides."""
    until_ms: int | None = None

    def keeps(self, name: str) -> bool:
        """Whether something named happens."""
        return name not in self.dropped

    def command(self) -> str:
        """Return the options of the command line that say the same."""
        words = []
        if self.dropped:
            words.append(f"--drop {drop_text(self.dropped)}")
        if self.until_ms is not None:
            words.append(f"--until {self.until_ms}")
        if self.delivered is not None:
            words.append(f"--deliver '{deliver_text(self.delivered)}'")
        return " ".join(words)


EVERYTHING = Schedule()


def _spans(numbers: Iterable[int]) -> str:
    """Return sorted numbers as `0-3,7`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for span in text.split(","):
        first, _, last = span.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def drop_text(dropped: Iterable[str]) -> str:
    """Return names as one word: `crash.0-2,loss`."""
    numbered: dict[str, list[int]] = {}
    plain = []
    for name in sorted(dropped):
        kind, dot, number = name.partition(".")
        if dot:
            numbered.setdefault(kind, []).append(int(number))
        else:
            plain.append(name)
    words = [
        f"{kind}.{span}" for kind in sorted(numbered) for span in _spans(numbered[kind]).split(",")
    ]
    return ",".join([*plain, *words])


def parse_drop(text: str) -> frozenset[str]:
    """Read what `drop_text` wrote.

    Raises:
        ValueError: A word is no name.
    """
    names: set[str] = set()
    for word in filter(None, text.split(",")):
        match = _NUMBERED.match(word)
        if match is not None:
            kind, first, last = match.groups()
            names.update(f"{kind}.{number}" for number in range(int(first), int(last or first) + 1))
        elif word in KNOBS:
            names.add(word)
        else:
            raise ValueError(f"{word} is neither name.number nor one of {', '.join(KNOBS)}")
    return frozenset(names)


def deliver_text(delivered: Iterable[Delivery]) -> str:
    """Return messages as `0>1:0-3 0>2:5`."""
    pairs: dict[tuple[int, int], list[int]] = {}
    for source, target, index in delivered:
        pairs.setdefault((source, target), []).append(index)
    return " ".join(f"{a}>{b}:{_spans(pairs[a, b])}" for a, b in sorted(pairs))


def parse_deliver(text: str) -> frozenset[Delivery]:
    """Read what `deliver_text` wrote.

    Raises:
        ValueError: A word names no messages.
    """
    delivered: set[Delivery] = set()
    for word in text.split():
        match = _PAIR.match(word)
        if match is None:
            raise ValueError(f"{word} is not source>target:numbers")
        source, target, numbers = match.groups()
        delivered.update((int(source), int(target), index) for index in _numbers(numbers))
    return frozenset(delivered)
