"""Reads without an order, on a few states and a network that carries what it is told to."""

from collections.abc import Callable

from msgspec.structs import replace

from dataplane.replication.peer_messages import (
    IndexAnswer,
    IndexAsk,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.replication.strong_reads import (
    PATIENCE_MS,
    Confirmed,
    IndexPorts,
    StrongReads,
)
from dataplane.simulation.scenarios.lab import expect

PLACE = ("things", "a")
OTHER = ("things", "b")


class Reader:
    """One replica's state and its reads."""

    def __init__(self, cluster: "Readers", me: int) -> None:
        self.rows: dict[tuple[str, str], bytes] = {PLACE: b"row"}
        self.executed = self.promised = 10
        self.epoch = 0
        self.may_vouch = True
        self.reads = StrongReads(
            me,
            IndexPorts(
                read=lambda *place: self.rows.get(place),
                executed=lambda: self.executed,
                epoch=lambda: self.epoch,
                promised=lambda: max(self.promised, self.executed) if self.may_vouch else None,
                reachable=lambda peer: peer not in cluster.away,
                send=lambda to, message: cluster.send(me, to, message),
            ),
        )

    def execute(self, sequence: int, row: bytes | None = None) -> None:
        """Execute up to a sequence, after which the document may have another row."""
        self.executed = sequence
        if row is not None:
            self.rows[PLACE] = row
        self.reads.on_executed(0)


class Readers:
    """`n` replicas; messages to those away are lost, held ones wait for `deliver`."""

    def __init__(self, n: int) -> None:
        self.away: set[int] = set()
        self.now_ms = 0
        self.sent: list[tuple[int, int, IndexAsk | IndexAnswer]] = []
        self.queue: list[tuple[int, int, IndexAsk | IndexAnswer]] = []
        self.lies: dict[int, dict[str, object]] = {}
        self.replicas = [Reader(self, me) for me in range(n)]
        for replica in self.replicas:
            replica.reads.set_members(0, range(n))

    def send(self, sender: int, to: int, message: IndexAsk | IndexAnswer) -> None:
        """Note what is sent, and keep it for `deliver`."""
        arrived = decode_peer_message(encode_peer_message(message))
        assert isinstance(arrived, IndexAsk | IndexAnswer)
        self.sent.append((sender, to, arrived))
        self.queue.append((sender, to, arrived))

    def deliver(self) -> None:
        """Carry everything, and what comes of it."""
        while self.queue:
            sender, to, message = self.queue.pop(0)
            if self.away & {sender, to}:
                continue
            if isinstance(message, IndexAsk):
                self.replicas[to].reads.on_ask(sender, message)
                continue
            if sender in self.lies:
                message = replace(message, **self.lies[sender])
            self.replicas[to].reads.on_answer(sender, message, self.now_ms)

    def ask(self, place: tuple[str, str] | None = PLACE) -> list[Confirmed | None]:
        """Begin a read at replica 0; its answer comes into the list."""
        answers: list[Confirmed | None] = []
        if self.replicas[0].reads.wish(place, answers.append):
            self.replicas[0].reads.flush(self.now_ms)
        else:
            answers.append(None)
        return answers

    def read(self, place: tuple[str, str] | None = PLACE) -> list[Confirmed | None]:
        """Begin a read at replica 0 and deliver."""
        answers = self.ask(place)
        self.deliver()
        return answers

    def tick(self, later_ms: int = PATIENCE_MS) -> None:
        """Let time pass at replica 0."""
        self.now_ms += later_ms
        self.replicas[0].reads.on_tick(self.now_ms)
        self.deliver()


def reader_asks_the_successors() -> None:
    """A node that executed the end of its epoch asks again among the members who go on."""
    readers = Readers(4)
    for reader in readers.replicas:
        reader.promised = 11
    answers = readers.read()
    for reader in readers.replicas:
        reader.epoch = 1
        reader.execute(11, b"last of the epoch")
    readers.deliver()
    expect(not answers, "the epoch that is over answers nobody")
    # The new members went on without this one, which learns of it now.
    for reader in readers.replicas[1:]:
        reader.reads.set_members(1, range(4))
        reader.execute(12, b"of the next epoch")
    readers.replicas[0].reads.set_members(1, range(4))
    readers.replicas[0].reads.flush(0)
    readers.deliver()
    expect(not answers, "nor one who lacks what they promised")
    readers.replicas[0].execute(12, b"of the next epoch")
    readers.deliver()
    expect(answers == [Confirmed(b"of the next epoch", 12, 12)], "then it answers")


READ_SCENARIOS: tuple[Callable[[], None], ...] = (reader_asks_the_successors,)
