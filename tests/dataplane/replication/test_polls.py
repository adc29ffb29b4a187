"""Bounded reads: how many must agree, on what, and what a liar among them can do."""

import asyncio
from collections.abc import Callable

import pytest

from dataplane.replication.errors import NoQuorumError, NotReadyError, OverloadedError
from dataplane.replication.peer_messages import (
    ROW_BYTES_MAX,
    ReadAnswer,
    ReadRequest,
    SealVote,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.replication.polls import (
    OPEN_MAX,
    STATES_PER_REPLICA_MAX,
    Poll,
    Polls,
    digest_of_row,
)
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.quorum import reply_quorum

PLACE = ("things", "a")


class Replicas:
    """`n` replicas with a row and a position each; some are away, some lie."""

    def __init__(self, n: int) -> None:
        self.rows: list[bytes | None] = [b"row"] * n
        self.executed = [10] * n
        self.away: set[int] = set()
        self.liars: dict[int, Callable[[ReadRequest], ReadAnswer]] = {}
        self.asked_for_row: list[int] = []
        self.refused: list[tuple[int, str, str]] = []
        self.before_round: Callable[[], None] = lambda: None
        self.polls = [self._polls(me, n) for me in range(n)]

    def _polls(self, me: int, n: int) -> Polls:
        return Polls(
            me=me,
            peers=[peer for peer in range(n) if peer != me],
            needed=reply_quorum(n),
            read=lambda _collection, _id: self.rows[me],
            executed=lambda: self.executed[me],
            heads=lambda: dict(enumerate(self.executed)),
            send=lambda to, message: self.send(me, to, message),
            refuse=lambda *cause: self.refused.append(cause),
        )

    def send(self, sender: int, to: int, message: ReadRequest | ReadAnswer) -> None:
        if to in self.away:
            return
        message = decode_peer_message(encode_peer_message(message))
        if isinstance(message, ReadAnswer):
            self.polls[to].on_answer(sender, message)
        elif to in self.liars:
            self.polls[sender].on_answer(to, self.liars[to](message))
        else:
            if message.wants_row:
                self.asked_for_row.append(to)
            self.polls[to].on_request(sender, message)

    async def read(self, after: int = 0, timeout_ms: int = 3_000):
        found = await self.polls[0].read(PLACE, after, timeout_ms)
        assert self.polls[0].open_count == 0
        return found


@pytest.mark.parametrize("n", [1, 3, 4, 6, 7])
async def test_replicas_that_agree_answer_at_once(n):
    replicas = Replicas(n)
    found = await replicas.read()
    assert (found.row, found.sequence, found.newest) == (b"row", 10, 10)
    replicas.rows = [None] * n
    assert (await replicas.read()).row is None


@pytest.mark.parametrize(("n", "away"), [(3, 1), (4, 2), (6, 4), (7, 4)])
async def test_it_answers_while_enough_are_there_and_not_when_one_more_is_away(n, away):
    replicas = Replicas(n)
    replicas.away = set(range(1, away + 1))
    assert (await replicas.read()).row == b"row"
    replicas.away.add(away + 1)
    with pytest.raises(NoQuorumError):
        await replicas.read(timeout_ms=120)
    assert replicas.polls[0].open_count == 0


async def test_the_lag_is_what_enough_replicas_say_and_one_liar_cannot_push_it():
    replicas = Replicas(4)
    replicas.executed = [10, 12, 10, 10]
    replicas.rows[1] = b"newer"
    found = await replicas.read()
    assert (found.row, found.sequence, found.newest) == (b"row", 10, 10)
    replicas.executed = [10, 12, 12, 10]
    replicas.rows[2] = b"other"
    found = await replicas.read()
    assert (found.sequence, found.newest - found.sequence) == (10, 2)
    assert replicas.refused == [], "who is further on does not contradict"


async def test_a_liar_that_agrees_cannot_date_the_state_later():
    replicas = Replicas(4)
    replicas.executed = [10, 2**60, 10, 10]
    found = await replicas.read()
    assert (found.sequence, found.newest) == (10, 10)


async def test_a_state_that_this_node_does_not_have_is_fetched_from_one_of_those_that_do():
    replicas = Replicas(4)
    replicas.rows[0], replicas.executed[0] = b"behind", 3
    replicas.executed[3] = 5
    replicas.away = {3}
    found = await replicas.read(after=10)
    assert (found.row, found.sequence) == (b"row", 10)
    assert len(replicas.asked_for_row) == 1


async def test_a_liar_with_a_row_of_its_own_is_not_believed():
    replicas = Replicas(4)
    forged = b"forged"
    replicas.liars[1] = lambda ask: ReadAnswer(ask.number, 10, digest_of_row(forged), forged)
    assert (await replicas.read()).row == b"row"
    assert replicas.refused == [(1, "ReadAnswer", "differs")]
    # It vouches for the true state and sends another row with it.
    replicas.liars[1] = lambda ask: ReadAnswer(ask.number, 10, digest_of_row(b"row"), forged)
    replicas.rows[0], replicas.executed[0] = b"behind", 3
    assert (await replicas.read(after=10)).row == b"row"


async def test_what_is_older_than_asked_does_not_count():
    replicas = Replicas(4)
    with pytest.raises(NoQuorumError):
        await replicas.read(after=11, timeout_ms=120)
    replicas.executed = [11, 10, 10, 11]
    assert (await replicas.read(after=11)).sequence == 11


async def test_a_document_that_changes_at_every_look_is_read_from_several_rounds():
    replicas = Replicas(4)
    looks = {1: 0, 2: 0, 3: 0}

    def look(ask: ReadRequest, replica: int) -> ReadAnswer:
        # One history; in no round are two replicas at the same place in it.
        looks[replica] += 1
        at = 20 + looks[replica] + 2 * replica
        row = b"version %d" % at
        return ReadAnswer(ask.number, at, digest_of_row(row), row if ask.wants_row else None)

    replicas.executed[0] = 1
    for replica in (1, 2, 3):
        replicas.liars[replica] = lambda ask, replica=replica: look(ask, replica)
    found = await replicas.read(after=20)
    assert found.row == b"version %d" % found.sequence


async def test_reads_are_bounded_and_fail_when_the_node_stops():
    replicas = Replicas(4)
    replicas.away = {1, 2, 3}
    waiting = [asyncio.ensure_future(replicas.polls[0].read(PLACE, 0, 5_000)) for _ in range(256)]
    await asyncio.sleep(0)
    assert replicas.polls[0].open_count == OPEN_MAX
    with pytest.raises(OverloadedError):
        await replicas.polls[0].read(PLACE, 0, 5_000)
    replicas.polls[0].stop()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NotReadyError}
    assert replicas.polls[0].open_count == 0


async def test_one_replica_cannot_fill_a_poll():
    poll = Poll(1, PLACE, 0, asyncio.get_running_loop().create_future())
    for number in range(100):
        row = b"%d" % number
        poll.note(1, ReadAnswer(1, number, digest_of_row(row), row))
    assert len(poll.states[1]) == len(poll.rows) == STATES_PER_REPLICA_MAX
    assert poll.agreed(1) == (digest_of_row(b"99"), 99)
    assert poll.agreed(2) is None, "one replica counts once, whatever it says"


@pytest.mark.parametrize(
    "message",
    [
        ReadRequest(-1, "c", "i", False),
        ReadRequest(1, "c" * 64, "i", False),
        ReadRequest(1, "c", "i" * 129, False),
        ReadAnswer(1, -1, bytes(32), None),
        ReadAnswer(1, 1, bytes(31), None),
        ReadAnswer(1, 1, bytes(32), bytes(ROW_BYTES_MAX + 1)),
        ReadAnswer(2**63, 1, bytes(32), None),
        SealVote(0, 0, bytes(32), b""),
        SealVote(0, 1, bytes(33), b""),
    ],
)
def test_messages_out_of_range_are_malformed(message):
    with pytest.raises(MalformedMessageError):
        decode_peer_message(encode_peer_message(message))


@pytest.mark.parametrize("frame", [b"\xc1", b"\xc1\xc1", b"\xc1\x90", b"\xc1\x92\xa8Prepared\x01"])
def test_other_bytes_are_malformed(frame):
    with pytest.raises(MalformedMessageError):
        decode_peer_message(frame)
