"""Bounded reads: replicas say what they hold of a document, and enough equal answers count.

Enough are f+1 (q where f is 0): one of them is honest, so the document was in that state once the
honest one had executed what it says. Answers of several rounds count together, so that a document
that changes all the time can be read too.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from dataplane.replication.errors import NoQuorumError, NotReadyError, OverloadedError
from dataplane.replication.peer_messages import ReadAnswer, ReadRequest
from dataplane.wire.proofs import HASH_BYTES

OPEN_MAX: Final = 256
STATES_PER_REPLICA_MAX: Final = 8
ROUND_S: Final = 0.05
ABSENT: Final = bytes(HASH_BYTES)

type Place = tuple[str, str]
"""(collection, document id)"""


@dataclass(frozen=True, slots=True)
class Agreed:
    """A document row, None when it is absent, that enough replicas hold or held.

    `newest` is the highest sequence that enough replicas say they reached: nobody can push it up
    without an honest replica.
    """

    row: bytes | None
    sequence: int
    newest: int


@dataclass(eq=False, slots=True)
class Poll:
    """One read on its way."""

    number: int
    place: Place
    after: int
    future: asyncio.Future[Agreed]
    states: dict[int, OrderedDict[bytes, int]] = field(default_factory=dict)
    """Of each replica, the states it told and the newest sequence it told each for."""
    rows: OrderedDict[bytes, bytes | None] = field(default_factory=OrderedDict)
    rounds: int = 0

    def note(self, replica: int, answer: ReadAnswer) -> None:
        """Keep a replica's state, and the row when it came along and is the right one."""
        if answer.sequence < self.after:
            return
        states = self.states.setdefault(replica, OrderedDict())
        states[answer.digest] = max(states.get(answer.digest, 0), answer.sequence)
        states.move_to_end(answer.digest)
        if len(states) > STATES_PER_REPLICA_MAX:
            states.popitem(last=False)
        if answer.digest == ABSENT:
            self.rows[ABSENT] = None
        elif answer.row is not None and digest_of_row(answer.row) == answer.digest:
            self.rows[answer.digest] = answer.row
            self.rows.move_to_end(answer.digest)
            if len(self.rows) > STATES_PER_REPLICA_MAX:
                self.rows.popitem(last=False)

    def agreed(self, needed: int) -> tuple[bytes, int] | None:
        """Return the newest state that enough replicas told, and the sequence it surely had."""
        told: dict[bytes, list[int]] = {}
        for states in self.states.values():
            for digest, sequence in states.items():
                told.setdefault(digest, []).append(sequence)
        found = [
            (sorted(sequences, reverse=True)[needed - 1], digest)
            for digest, sequences in told.items()
            if len(sequences) >= needed
        ]
        if not found:
            return None
        sequence, digest = max(found)
        return digest, sequence

    def contradicting(self, digest: bytes, sequence: int, needed: int) -> list[int]:
        """Return who told another state for a sequence for which enough told this one."""
        told = [r for r, states in self.states.items() if states.get(digest) == sequence]
        if len(told) < needed:
            return []
        return [
            replica
            for replica, states in self.states.items()
            if any(at == sequence and other != digest for other, at in states.items())
        ]


def digest_of_row(row: bytes | None) -> bytes:
    """Return what stands for a row between replicas; zeros for none."""
    return ABSENT if row is None else blake3(row).digest()


class Polls:
    """Asks the other replicas for this gateway's readers, and answers the others."""

    def __init__(
        self,
        *,
        me: int,
        peers: Iterable[int],
        needed: int,
        read: Callable[[str, str], bytes | None],
        executed: Callable[[], int],
        heads: Callable[[], dict[int, int]],
        send: Callable[[int, ReadRequest | ReadAnswer], None],
        refuse: Callable[[int, str, str], None],
    ) -> None:
        self._me = me
        self._peers = tuple(peers)
        self._needed = needed
        self._read = read
        self._executed = executed
        self._heads = heads
        self._send = send
        self._refuse = refuse
        self._made = 0
        self._open: dict[int, Poll] = {}

    def set_peers(self, peers: Iterable[int], needed: int) -> None:
        """Ask the members of a new epoch."""
        self._peers, self._needed = tuple(peers), needed

    @property
    def open_count(self) -> int:
        """How many reads wait for the other replicas."""
        return len(self._open)

    async def read(self, place: Place, after: int, timeout_ms: int) -> Agreed:
        """Return a state of the document that enough replicas agree on, at `after` or later.

        Raises:
            NoQuorumError: Too few agree in time.
            OverloadedError: Too many reads wait already.
            NotReadyError: The node is stopping.
        """
        if len(self._open) >= OPEN_MAX:
            raise OverloadedError("too many bounded reads wait already")
        self._made += 1
        poll = Poll(self._made, place, after, asyncio.get_running_loop().create_future())
        self._open[poll.number] = poll
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while not poll.future.done():
                    self._ask(poll)
                    await asyncio.wait([poll.future], timeout=ROUND_S)
                return poll.future.result()
        except TimeoutError as error:
            raise NoQuorumError("too few replicas agree on the document") from error
        finally:
            del self._open[poll.number]

    def stop(self) -> None:
        """Fail every read that waits."""
        for poll in self._open.values():
            if not poll.future.done():
                poll.future.set_exception(NotReadyError("the node is stopping"))

    def _ask(self, poll: Poll) -> None:
        """Take the own state and ask the others; one of those whose state is agreed for the row."""
        self._take(poll, self._me, self._answer(poll.number, poll.place, wants_row=True))
        if poll.future.done():
            return
        source = self._source(poll)
        for peer in self._peers:
            self._send(peer, ReadRequest(poll.number, *poll.place, wants_row=peer == source))
        poll.rounds += 1

    def _source(self, poll: Poll) -> int | None:
        """Return whom to ask for the row, another one each time; None when it is not known yet."""
        found = poll.agreed(self._needed)
        if found is None:
            return None
        holders = [peer for peer in self._peers if found[0] in poll.states.get(peer, ())]
        return holders[poll.rounds % len(holders)] if holders else None

    def _answer(self, number: int, place: Place, *, wants_row: bool) -> ReadAnswer:
        row = self._read(*place)
        return ReadAnswer(number, self._executed(), digest_of_row(row), row if wants_row else None)

    def _take(self, poll: Poll, replica: int, answer: ReadAnswer) -> None:
        poll.note(replica, answer)
        found = poll.agreed(self._needed)
        if found is None or found[0] not in poll.rows or poll.future.done():
            return
        digest, sequence = found
        for other in poll.contradicting(digest, sequence, self._needed):
            if other != self._me:
                self._refuse(other, "ReadAnswer", "differs")
        poll.future.set_result(Agreed(poll.rows[digest], sequence, self._newest(poll, sequence)))

    def _newest(self, poll: Poll, at_least: int) -> int:
        heads = self._heads()
        for replica, states in poll.states.items():
            heads[replica] = max(heads.get(replica, 0), *states.values())
        ordered = sorted(heads.values(), reverse=True)
        return max(at_least, ordered[self._needed - 1])

    # --- Messages -------------------------------------------------------------------------------

    def on_request(self, sender: int, request: ReadRequest) -> None:
        """Answer a peer at once, from the executed state."""
        place = (request.collection, request.id)
        self._send(sender, self._answer(request.number, place, wants_row=request.wants_row))

    def on_answer(self, sender: int, answer: ReadAnswer) -> None:
        """Take a peer's state; one that nobody waits for is dropped."""
        poll = self._open.get(answer.number)
        if poll is not None:
            self._take(poll, sender, answer)
