"""The faults of a run, each drawn on its own, so that leaving one out changes no other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

DOWN_MAX_MS = 800
CUT_MAX_MS = 1_500
CUT_KINDS = ("halves", "halves", "isolated", "one_way", "deaf", "long")


@dataclass(frozen=True, slots=True)
class Crash:
    """Nodes lose power, each for some time; all honest ones at once when it is correlated."""

    name: str
    at_ms: int
    victims: tuple[tuple[int, int], ...]
    """Nodes and how long each is down."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Some pairs of nodes do not hear each other, or only one hears the other."""

    name: str
    at_ms: int
    until_ms: int
    kind: str
    blocked: frozenset[tuple[int, int]]
    """(source, target): what the source says does not reach the target."""


@dataclass(frozen=True, slots=True)
class FullDisk:
    """A node's disk takes no record for some time: the node halts at its next record."""

    name: str
    at_ms: int
    until_ms: int
    node: int


@dataclass(frozen=True, slots=True)
class BitFlip:
    """A node loses power, and one bit of its synced log is another when it comes back.

    It may have forgotten a vote, so it learns and never votes again: it counts as a faulty one.
    """

    name: str
    at_ms: int
    node: int
    place: float


@dataclass(frozen=True, slots=True)
class LogLoss:
    """A node loses power and its whole log: like a damaged one, but without a trace of it."""

    name: str
    at_ms: int
    node: int
    down_ms: int


@dataclass(frozen=True, slots=True)
class RowFlip:
    """A bit of a stored row turns behind the application's back; the node must be repaired."""

    name: str
    at_ms: int
    node: int


@dataclass(frozen=True, slots=True)
class Death:
    """A node loses power for good: the control plane replaces it."""

    name: str
    at_ms: int
    node: int


@dataclass(frozen=True, slots=True)
class EndCrash:
    """Nodes lose power around the end of an epoch, whenever that comes."""

    name: str
    at_ms: int
    epoch: int
    before: int
    """How many batches before the end the first node is when it happens."""
    delay_ms: int
    victims: tuple[tuple[int, int], ...]


type Fault = Crash | Cut | FullDisk | BitFlip | LogLoss | RowFlip | Death | EndCrash


def draw_crash(rng: Random, name: str, honest: Sequence[int], until_ms: int) -> Crash:
    """Draw the crash of one honest node."""
    at_ms = rng.randint(0, until_ms)
    return Crash(name, at_ms, ((rng.choice(honest), rng.randint(1, DOWN_MAX_MS)),))


def draw_blackout(rng: Random, name: str, honest: Sequence[int], until_ms: int) -> Crash:
    """Draw the crash of all honest nodes at once."""
    at_ms = rng.randint(0, until_ms)
    return Crash(name, at_ms, tuple((node, rng.randint(1, DOWN_MAX_MS)) for node in honest))


def draw_cut(rng: Random, name: str, nodes: Sequence[int], until_ms: int) -> Cut:
    """Draw a partition: two sides, one node alone, or one direction only; for long or not."""
    at_ms = rng.randint(0, until_ms)
    kind = rng.choice(CUT_KINDS)
    alone = rng.choice(nodes)
    sides = {node: rng.randint(0, 1) for node in nodes}
    lasts_ms = rng.randint(50, CUT_MAX_MS)
    pairs = [(a, b) for a in nodes for b in nodes if a != b]
    match kind:
        case "isolated":
            blocked = [pair for pair in pairs if alone in pair]
        case "one_way":
            blocked = [(a, b) for a, b in pairs if sides[a] == 0 and sides[b] == 1]
        case "deaf":
            blocked = [(a, b) for a, b in pairs if b == alone]
        case _:
            blocked = [(a, b) for a, b in pairs if sides[a] != sides[b]]
    until = until_ms if kind == "long" else at_ms + lasts_ms
    return Cut(name, at_ms, until, kind, frozenset(blocked))


def draw_full_disk(rng: Random, name: str, honest: Sequence[int], until_ms: int) -> FullDisk:
    """Draw a disk that is full for some time."""
    at_ms = rng.randint(0, until_ms)
    return FullDisk(name, at_ms, at_ms + rng.randint(50, CUT_MAX_MS), rng.choice(honest))


def draw_bit_flip(rng: Random, name: str, node: int, until_ms: int) -> BitFlip:
    """Draw damage of one node's log."""
    return BitFlip(name, rng.randint(0, until_ms), node, rng.random())


def draw_log_loss(rng: Random, name: str, node: int, until_ms: int) -> LogLoss:
    """Draw the loss of one node's log."""
    return LogLoss(name, rng.randint(0, until_ms), node, rng.randint(1, DOWN_MAX_MS))


def draw_row_flip(rng: Random, name: str, node: int, until_ms: int) -> RowFlip:
    """Draw damage of one node's state."""
    return RowFlip(name, rng.randint(0, until_ms), node)


def draw_end_crash(rng: Random, epoch: int, honest: Sequence[int], tail: int) -> EndCrash:
    """Draw the crash of all, or of one, around the end of an epoch."""
    hit = honest if rng.randint(0, 2) else [rng.choice(honest)]
    victims = tuple((node, rng.randint(1, DOWN_MAX_MS)) for node in hit)
    before = rng.choice((0, 0, rng.randint(0, tail)))
    delay_ms = rng.choice((0, 1, 5, rng.randint(0, 200)))
    return EndCrash(f"end.{epoch}", 0, epoch, before, delay_ms, victims)


def with_added(cut: Cut, n: int, total: int) -> Cut:
    """Return the cut with nodes that come later, each on the side of a first one."""
    blocked = frozenset(
        (a, b) for a in range(total) for b in range(total) if (a % n, b % n) in cut.blocked
    )
    return replace(cut, blocked=blocked)
