"""Segments from fragments of peers: any k honest ones give them, and a liar only costs time."""

import asyncio
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.documents.cold import SegmentRecord, SegmentTable
from dataplane.documents.maintenance import SEALED_BYTES, SEALED_DOCUMENTS
from dataplane.documents.own_fragments import OwnFragments
from dataplane.documents.stubs import build_segment
from dataplane.documents.values import DOCUMENT_BYTES_MAX
from dataplane.replication.errors import NotReadyError
from dataplane.replication.fragments import (
    ANSWERED_BYTES_MAX,
    ANSWERS_MAX,
    QUEUED_BYTES_MAX,
    ROUNDS_MAX,
    WINDOW_MS,
    FragmentPorts,
    Fragments,
)
from dataplane.replication.peer_messages import (
    FRAGMENT_BYTES_MAX,
    ID_CHARS_MAX,
    FragmentAnswer,
    FragmentAsk,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.simulation.byzantine.reads import flipped_fragment
from dataplane.storage.engine import MemoryStore
from dataplane.storage.erasure import digest, encode, needed
from dataplane.storage.fragments import fragment_key, pack
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.framing import FRAME_BYTES_MAX

COLLECTION = 3
NUMBER = 17
TIMEOUT_MS = 150
SEGMENT = Random(7).randbytes(1000) + b"z" * 1000


class Table(SegmentTable):
    """What the state says of segments."""

    def __init__(self) -> None:
        self.records: dict[int, SegmentRecord] = {}

    def segment(self, number):
        return self.records.get(number)

    def segments(self, after, count_max):
        return []


type Lie = Callable[[FragmentAnswer], FragmentAnswer | None]


class Holders:
    """Nodes 1 to n that keep a fragment each; some are away, some silent, some lie."""

    def __init__(self, n: int, segment: bytes = SEGMENT) -> None:
        self.table = Table()
        self.away: set[int] = set()
        self.lies: dict[int, Lie] = {}
        self.asked: list[int] = []
        self.refused: list[tuple[int, str, str]] = []
        self.unsound: list[tuple[int, int]] = []
        self.queued = 0
        self.stopped_ms: int | None = None
        self.answers: list[FragmentAnswer] = []
        self.record = self.seal(NUMBER, n, segment)
        self.stores = {member: MemoryStore() for member in self.record.members}
        for member in self.record.members:
            self.keep(member, segment)
        self.nodes = {member: self.node(member) for member in self.record.members}

    def seal(self, number: int, n: int, segment: bytes) -> SegmentRecord:
        k = needed(n)
        record = SegmentRecord(
            number=number,
            collection=COLLECTION,
            epoch=0,
            members=tuple(range(1, n + 1)),
            k=k,
            size=len(segment),
            digest=digest(segment),
            fragments=tuple(map(digest, encode(segment, k, n))),
            documents=1,
            bytes=len(segment),
        )
        self.table.records[number] = record
        return record

    def keep(self, member: int, segment: bytes) -> None:
        record = self.record
        fragments = encode(segment, record.k, len(record.members))
        packed = pack(fragments[record.members.index(member)])
        self.stores[member].write({fragment_key(COLLECTION, record.number): packed})

    def lose(self, member: int) -> None:
        self.stores[member].write({fragment_key(COLLECTION, self.record.number): None})

    def node(self, me: int) -> Fragments:
        own = OwnFragments(me, lambda: self.table, lambda: self.stores[me])
        own.on_unsound = lambda record: self.unsound.append((me, record.number))
        return Fragments(
            FragmentPorts(
                own=own,
                reachable=lambda peer: peer not in self.away,
                queued_bytes=lambda _peer: self.queued,
                send=lambda to, message: self.send(me, to, message),
                refuse=lambda *cause: self.refused.append(cause),
                now_ms=self.now_ms,
            )
        )

    def now_ms(self) -> int:
        if self.stopped_ms is not None:
            return self.stopped_ms
        return int(asyncio.get_running_loop().time() * 1000)

    def send(self, sender: int, to: int, message: FragmentAsk | FragmentAnswer) -> None:
        if to in self.away:
            return
        said = decode_peer_message(encode_peer_message(message))
        if isinstance(said, FragmentAsk):
            self.asked.append(to)
            self.nodes[to].on_ask(sender, said)
            return
        assert isinstance(said, FragmentAnswer)
        self.answers.append(said)
        lie = self.lies.get(sender)
        told = said if lie is None else lie(said)
        if told is not None:
            self.nodes[to].on_answer(sender, told)

    async def gather(self, me: int = 1, timeout_ms: int = 3_000) -> bytes | None:
        return await self.nodes[me].gather(self.record, timeout_ms=timeout_ms)

    async def refusal(self) -> str:
        with pytest.raises(NotReadyError) as caught:
            await self.gather(timeout_ms=TIMEOUT_MS)
        return str(caught.value)


def silent(_answer: FragmentAnswer) -> None:
    return None


def wrong(answer: FragmentAnswer) -> FragmentAnswer:
    assert answer.fragment is not None
    return msgspec.structs.replace(answer, fragment=flipped_fragment(answer.fragment))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
async def test_no_more_holders_are_asked_than_fragments_are_missing(n):
    holders = Holders(n)
    assert await holders.gather() == SEGMENT
    assert len(holders.asked) == needed(n) - 1
    assert len(set(holders.asked)) == len(holders.asked)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
async def test_a_segment_is_there_while_k_holders_are(n):
    holders = Holders(n)
    holders.away = set(range(needed(n) + 1, n + 1))
    assert await holders.gather() == SEGMENT
    holders.lose(1)
    assert "are there" in await holders.refusal()
    holders.keep(1, SEGMENT)
    assert await holders.gather() == SEGMENT


async def test_a_segment_of_a_node_without_a_fragment_is_told_to_its_healer_and_read_all_the_same():
    holders = Holders(4)
    holders.lose(1)
    assert await holders.gather() == SEGMENT
    assert holders.unsound == [(1, NUMBER)]


async def test_a_holder_whose_fragment_is_damaged_says_that_it_has_none_and_tells_its_healer():
    holders = Holders(4)
    for member in (2, 3):
        fragment = encode(SEGMENT, 2, 4)[member - 1]
        damaged = pack(bytes([fragment[0] ^ 1]) + fragment[1:])
        holders.stores[member].write({fragment_key(COLLECTION, NUMBER): damaged})
    assert await holders.gather() == SEGMENT
    assert sorted(holders.unsound) == sorted((peer, NUMBER) for peer in holders.asked if peer != 4)
    assert all(answer.fragment is None for answer in holders.answers[:-1])
    assert not holders.refused, "who says that it has none does not lie"


async def test_a_fragment_of_another_length_is_as_wrong_as_any():
    holders = Holders(4)

    def other(answer: FragmentAnswer) -> FragmentAnswer:
        return msgspec.structs.replace(answer, fragment=pack(bytes(10)))

    holders.lies = dict.fromkeys((2, 3, 4), other)
    assert "gave a wrong fragment" in await holders.refusal()


async def test_a_liar_is_counted_and_costs_nothing_but_a_question():
    holders = Holders(7)
    holders.lies = {5: wrong, 6: wrong}
    assert await holders.gather() == SEGMENT
    reader = holders.nodes[1]
    lied = set(holders.asked) & {5, 6}
    assert lied
    assert dict(reader.wrong) == dict.fromkeys(lied, 1)
    assert set(holders.refused) == {(liar, "FragmentAnswer", "wrong_digest") for liar in lied}
    # Who lied once is asked last.
    holders.asked.clear()
    assert await holders.gather() == SEGMENT
    assert not set(holders.asked) & lied
    assert reader.fetched == 4


async def test_a_holder_that_says_nothing_is_replaced_by_the_next():
    holders = Holders(4)
    first = holders.nodes[1]._in_turn(holders.record)[0]
    holders.lies = {first: silent}
    assert await holders.gather() == SEGMENT
    assert holders.asked[0] == first
    assert len(holders.asked) == 2


async def test_too_few_fragments_are_told_with_what_is_the_matter_with_each_holder():
    holders = Holders(4)
    holders.lose(1)
    holders.lose(2)
    holders.lies = {3: wrong}
    holders.away = {4}
    words = await holders.refusal()
    assert "0 of 2 fragments of segment 17" in words
    assert "this node's own is missing or damaged" in words
    assert "node 2 has no honest fragment" in words
    assert "node 3 gave a wrong fragment" in words
    assert "node 4 is not reachable" in words
    holders.lies = {3: silent}
    assert "node 3 did not answer" in await holders.refusal()


async def test_so_many_liars_that_nothing_is_left_end_the_wait_at_once():
    holders = Holders(4)
    holders.lies = {2: wrong, 3: wrong, 4: wrong}
    with pytest.raises(NotReadyError, match="1 of 2"):
        async with asyncio.timeout(20):
            await holders.gather(timeout_ms=60_000)


async def test_a_reader_does_not_wait_long_for_who_has_nothing_or_is_away():
    holders = Holders(4)
    for member in (1, 2):
        holders.lose(member)
    holders.away = {3, 4}
    with pytest.raises(NotReadyError, match="0 of 2"):
        async with asyncio.timeout(20):
            await holders.gather(timeout_ms=60_000)
    assert holders.asked == [2] * ROUNDS_MAX


async def test_a_holder_that_comes_back_while_a_reader_waits_is_asked_again():
    holders = Holders(4)
    holders.away = {2, 3, 4}
    reading = asyncio.ensure_future(holders.gather(timeout_ms=20_000))
    await asyncio.sleep(0)
    holders.away = {2, 3}
    assert await reading == SEGMENT


@pytest.mark.parametrize("tier", [None, "archive"])
async def test_a_segment_that_leaves_its_holders_meanwhile_is_not_waited_for(tier):
    holders = Holders(4)
    holders.lies = dict.fromkeys((2, 3, 4), silent)
    reading = asyncio.ensure_future(holders.gather(timeout_ms=60_000))
    await asyncio.sleep(0)
    if tier is None:
        del holders.table.records[NUMBER]
    else:
        holders.table.records[NUMBER] = msgspec.structs.replace(holders.record, tier=tier)
    assert await reading is None


async def test_an_answer_counts_from_whom_it_was_asked_alone():
    holders = Holders(4)
    reader = holders.nodes[1]
    first = reader._in_turn(holders.record)[0]
    holders.lies = dict.fromkeys((2, 3, 4), silent)
    reading = asyncio.ensure_future(holders.gather(timeout_ms=TIMEOUT_MS))
    await asyncio.sleep(0)
    answer = holders.answers[0]
    reader.on_answer(next(peer for peer in (2, 3, 4) if peer != first), wrong(answer))
    reader.on_answer(first, msgspec.structs.replace(answer, number=answer.number + 99))
    # Of an earlier life of this node, which asked the same holder for another segment.
    reader.on_answer(first, msgspec.structs.replace(wrong(answer), segment=NUMBER - 1))
    assert not reader.wrong
    reader.on_answer(first, answer)
    assert await reading == SEGMENT


async def test_fragments_that_are_as_agreed_and_make_no_segment_are_refused():
    holders = Holders(4)
    holders.record = replace_digest(holders.record)
    with pytest.raises(NotReadyError, match="do not make it up"):
        await holders.gather()


def replace_digest(record: SegmentRecord) -> SegmentRecord:
    return msgspec.structs.replace(record, digest=bytes(32))


def test_a_flood_of_questions_is_answered_up_to_a_bound_and_then_with_a_word():
    holders = Holders(4)
    holders.stopped_ms = 5_000
    for number in range(10 * ANSWERS_MAX):
        holders.nodes[2].on_ask(1, FragmentAsk(number, NUMBER))
    given = [answer for answer in holders.answers if answer.fragment is not None]
    assert len(given) == ANSWERS_MAX
    assert sum(1 for answer in holders.answers if answer.later) == ANSWERS_MAX
    assert len(holders.answers) == 2 * ANSWERS_MAX
    # Another peer has its own measure, and the next second is another one.
    holders.answers.clear()
    holders.nodes[2].on_ask(3, FragmentAsk(1, NUMBER))
    holders.stopped_ms += WINDOW_MS
    holders.nodes[2].on_ask(1, FragmentAsk(1, NUMBER))
    assert [answer.later for answer in holders.answers] == [False, False]


def test_the_bytes_that_a_peer_may_have_in_a_second_are_bounded_too():
    holders = Holders(4, Random(1).randbytes(2 * 1024 * 1024))
    holders.stopped_ms = 5_000
    for number in range(40):
        holders.nodes[2].on_ask(1, FragmentAsk(number, NUMBER))
    given = [answer for answer in holders.answers if answer.fragment is not None]
    assert len(given) == ANSWERED_BYTES_MAX // (1024 * 1024)


def test_nothing_is_sent_behind_a_queue_that_is_long_already():
    holders = Holders(4)
    holders.stopped_ms = 5_000
    holders.queued = QUEUED_BYTES_MAX + 1
    holders.nodes[2].on_ask(1, FragmentAsk(1, NUMBER))
    assert holders.answers == [FragmentAnswer(1, NUMBER, None, later=True)]


async def test_a_reader_who_is_told_to_wait_asks_another_meanwhile():
    holders = Holders(4)
    first = holders.nodes[1]._in_turn(holders.record)[0]
    holders.lies = {first: lambda answer: FragmentAnswer(answer.number, NUMBER, None, later=True)}
    assert await holders.gather() == SEGMENT
    assert not holders.nodes[1].wrong


def test_a_segment_that_is_unknown_here_is_answered_with_none():
    holders = Holders(4)
    holders.stopped_ms = 5_000
    holders.nodes[2].on_ask(1, FragmentAsk(1, 99))
    assert holders.answers == [FragmentAnswer(1, 99, None, later=False)]
    assert not holders.unsound


def test_the_largest_segment_fits_a_message_and_a_frame():
    ids = [f"{index:03}".ljust(ID_CHARS_MAX, "€") for index in range(SEALED_DOCUMENTS)]
    many, _ = build_segment(2**63, [(name, bytes(SEALED_BYTES // 256)) for name in ids])
    one, _ = build_segment(2**63, [(ids[0], bytes(DOCUMENT_BYTES_MAX + 1024))])
    for segment in (many, one):
        assert len(pack(segment)) <= FRAGMENT_BYTES_MAX
        assert len(segment) + 1 <= FRAGMENT_BYTES_MAX
    whole = encode_peer_message(FragmentAnswer(1, 2, bytes(FRAGMENT_BYTES_MAX), later=False))
    assert decode_peer_message(whole)
    assert len(whole) < FRAME_BYTES_MAX
    with pytest.raises(MalformedMessageError):
        decode_peer_message(
            encode_peer_message(FragmentAnswer(1, 2, bytes(FRAGMENT_BYTES_MAX + 1), later=False))
        )


def test_the_messages_are_on_the_wire_as_they_always_were():
    for message, told in (
        (FragmentAsk(7, 300), "c193ab467261676d656e7441736b07cd012c"),
        (
            FragmentAnswer(7, 300, b"\0ab", later=False),
            "c195ae467261676d656e74416e7377657207cd012cc403006162c2",
        ),
        (
            FragmentAnswer(7, 300, None, later=True),
            "c195ae467261676d656e74416e7377657207cd012cc0c3",
        ),
    ):
        assert encode_peer_message(message).hex() == told
        assert decode_peer_message(bytes.fromhex(told)) == message


@given(st.integers(-3, 2**64 - 1), st.integers(-3, 2**64 - 1))
def test_a_number_out_of_range_is_no_question(number, segment):
    frame = encode_peer_message(FragmentAsk(number, segment))
    if 0 <= number < 2**63 and 0 <= segment < 2**63:
        assert decode_peer_message(frame) == FragmentAsk(number, segment)
        return
    with pytest.raises(MalformedMessageError):
        decode_peer_message(frame)
