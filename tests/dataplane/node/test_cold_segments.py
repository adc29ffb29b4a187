"""The reader of cold segments: one fetch for all, a bound on everything, errors for everybody."""

import asyncio

import msgspec
import pytest

from dataplane.documents.cold import SegmentRecord, SegmentTable
from dataplane.node.cold_segments import (
    FETCHES_MAX,
    KNOWN_MAX,
    LOOKS_MAX,
    WANTED_MAX,
    ColdSegments,
)
from dataplane.replication.errors import NotReadyError, OverloadedError

ARCHIVED = 10_000
"""Segments from here on are in the archive."""
GONE = 9_999


def record(number: int) -> SegmentRecord:
    return SegmentRecord(number, 1, 0, (1,), 1, 4, b"", (b"",), 1, 4)


class Table(SegmentTable):
    """Any segment but one."""

    def segment(self, number):
        if number == GONE:
            return None
        found = record(number)
        if number >= ARCHIVED:
            return msgspec.structs.replace(found, tier="archive")
        return found

    def segments(self, after, count_max):
        return []


class Emptied(Table):
    """A table that some are taken out of."""

    gone: frozenset[int] = frozenset()

    def segment(self, number):
        return None if number in self.gone else super().segment(number)


class Source:
    """Gives what it is let go."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None
        self.moved = 0
        """How often what is asked for is not there any more."""

    async def __call__(self, record: SegmentRecord, /, *, timeout_ms: int) -> bytes | None:
        assert timeout_ms > 0
        self.asked.append(record.number)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.moved:
            self.moved -= 1
            return None
        return record.number.to_bytes(4, "big")


class Reading:
    """A reader over two sources that can be stopped."""

    def __init__(self, known_bytes_max: int = 40) -> None:
        self.holders, self.archive = Source(), Source()
        self.reader = ColdSegments(
            Table,
            {"distributed": self.holders, "archive": self.archive},
            known_bytes_max=known_bytes_max,
        )

    async def fetch(self, number: int, timeout_ms: int = 10_000) -> bytes | None:
        return await self.reader.fetch(number, timeout_ms=timeout_ms)

    def begin(self, number: int) -> "asyncio.Task[bytes | None]":
        return asyncio.ensure_future(self.fetch(number))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_segment_comes_from_where_its_tier_is_and_is_known_afterwards():
    reading = Reading()
    reading.holders.gate.set()
    reading.archive.gate.set()
    assert reading.reader.known(1) is None
    assert await reading.fetch(1) == b"\0\0\0\1"
    assert await reading.fetch(ARCHIVED) == ARCHIVED.to_bytes(4, "big")
    assert (reading.holders.asked, reading.archive.asked) == ([1], [ARCHIVED])
    assert reading.reader.known(1) == b"\0\0\0\1"
    assert await reading.fetch(GONE) is None
    reader = reading.reader
    assert (reader.hits, reader.misses, reader.fetches, reader.failures) == (1, 3, 2, 0)
    reader.forget(1)
    assert reader.known(1) is None
    assert (reader.known_count, reader.known_bytes) == (1, 4)


async def test_all_who_want_a_segment_share_one_fetch_and_one_may_go_away():
    reading = Reading()
    fetches = [reading.begin(1) for _ in range(5)]
    await turns()
    fetches[0].cancel()
    await turns()
    reading.holders.gate.set()
    assert await asyncio.gather(*fetches[1:]) == [b"\0\0\0\1"] * 4
    assert reading.holders.asked == [1]
    assert reading.reader.under_way == 0


async def test_a_failure_is_told_to_all_and_not_remembered():
    reading = Reading()
    reading.holders.gate.set()
    reading.holders.error = NotReadyError("too few")
    fetches = [reading.begin(1) for _ in range(3)]
    found = await asyncio.gather(*fetches, return_exceptions=True)
    assert [str(error) for error in found] == ["too few"] * 3
    assert reading.reader.failures == 1
    reading.holders.error = None
    assert await reading.fetch(1) == b"\0\0\0\1"


async def test_what_is_remembered_is_bounded_in_bytes_and_the_oldest_use_goes_first():
    reading = Reading(known_bytes_max=12)
    reading.holders.gate.set()
    for number in (1, 2, 3):
        await reading.fetch(number)
    assert reading.reader.known(1)
    await reading.fetch(4)
    known = [number for number in range(1, 5) if reading.reader.known(number)]
    assert known == [1, 3, 4]
    assert (reading.reader.known_count, reading.reader.known_bytes) == (3, 12)
    await reading.fetch(4)
    assert reading.reader.known_bytes == 12, "the same one again takes no more"
    small = Reading(known_bytes_max=3)
    small.holders.gate.set()
    assert await small.fetch(1) == b"\0\0\0\1"
    assert (small.reader.known_count, small.reader.known_bytes) == (0, 0)


async def test_what_is_remembered_is_bounded_in_number_however_small_it_is():
    reading = Reading(known_bytes_max=1024 * 1024)
    reading.holders.gate.set()
    for number in range(KNOWN_MAX + 2):
        await reading.fetch(number)
    assert reading.reader.known_count == KNOWN_MAX
    assert reading.reader.known_bytes == 4 * KNOWN_MAX
    assert reading.reader.known(1) is None
    assert reading.reader.known(2)


async def test_no_more_are_fetched_at_once_and_no_more_wait_than_is_bounded():
    reading = Reading()
    fetches = [reading.begin(number) for number in range(WANTED_MAX)]
    await turns()
    assert len(reading.holders.asked) == FETCHES_MAX
    with pytest.raises(OverloadedError):
        await reading.fetch(WANTED_MAX)
    reading.holders.gate.set()
    assert len(await asyncio.gather(*fetches)) == WANTED_MAX
    assert reading.reader.under_way == 0


async def test_who_waits_for_a_turn_too_long_is_told():
    reading = Reading()
    fetches = [reading.begin(number) for number in range(FETCHES_MAX)]
    await turns()
    with pytest.raises(NotReadyError, match="at once"):
        await reading.fetch(FETCHES_MAX, timeout_ms=20)
    reading.holders.gate.set()
    await asyncio.gather(*fetches)
    assert await reading.fetch(FETCHES_MAX)


async def test_a_segment_that_moves_again_and_again_is_given_up():
    reading = Reading()
    reading.holders.gate.set()
    reading.holders.moved = LOOKS_MAX - 1
    assert await reading.fetch(1)
    reading.holders.moved = LOOKS_MAX
    with pytest.raises(NotReadyError, match="moved"):
        await reading.fetch(2)


async def test_a_node_that_stops_lets_nobody_wait():
    reading = Reading()
    fetch = reading.begin(1)
    await turns()
    reading.reader.close()
    for waiting in (fetch, reading.begin(2)):
        with pytest.raises(NotReadyError, match="stopping"):
            await waiting
    assert reading.reader.under_way == 0


async def test_what_nothing_needs_any_more_is_forgotten():
    table = Emptied()
    source = Source()
    source.gate.set()
    reader = ColdSegments(lambda: table, {"distributed": source})
    for number in (1, 2, 3):
        await reader.fetch(number, timeout_ms=1_000)
    table.gone = frozenset({2})
    reader.prune({1})
    assert [number for number in (1, 2, 3) if reader.known(number) is not None] == [1, 3]
    assert reader.known_bytes == 8
    reader.prune({5})
    assert (reader.known_count, reader.known_bytes) == (0, 0)
