"""Segments for whoever reads cold documents: fetched once for all who want one, and remembered."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Protocol, override

from dataplane.documents.cold import ColdReader, SegmentRecord, SegmentTable, Tier
from dataplane.replication.errors import NotReadyError, OverloadedError

KNOWN_BYTES: Final = 32 * 1024 * 1024
KNOWN_MAX: Final = 1_024
"""Each is looked up in the state every few seconds, and most may be of one small document."""
FETCHES_MAX: Final = 8
"""At once: what they hold in memory, and ask of one peer, is bounded by it."""
WANTED_MAX: Final = 512
"""Segments that are fetched, or wait for it."""
LOOKS_MAX: Final = 3
_ELSEWHERE: Final = "a cold document moved while it was fetched; try again"


class Source(Protocol):
    """Where the segments of one tier come from."""

    async def __call__(self, record: SegmentRecord, /, *, timeout_ms: int) -> bytes | None:
        """Return a segment, checked against its digest; None when it is not there any more.

        Raises:
            NotReadyError: It cannot be had in time; says why.
        """
        ...


class ColdSegments(ColdReader):
    """The one reader of a node."""

    def __init__(
        self,
        table: Callable[[], SegmentTable],
        sources: Mapping[Tier, Source],
        *,
        known_bytes_max: int = KNOWN_BYTES,
    ) -> None:
        """Read what `table` tells, which may be another after a while, from where its tier is."""
        self._table = table
        self._sources = sources
        self._known: OrderedDict[int, bytes] = OrderedDict()
        self._known_bytes_max = known_bytes_max
        self._fetches: dict[int, asyncio.Task[bytes | None]] = {}
        self._turns = asyncio.Semaphore(FETCHES_MAX)
        self._is_closed = False
        self.known_bytes = 0
        self.hits = 0
        self.misses = 0
        """Asked for while it was not in memory, also where another's fetch was shared."""
        self.fetches = 0
        self.failures = 0

    @property
    def known_count(self) -> int:
        """How many segments are in memory."""
        return len(self._known)

    @property
    def under_way(self) -> int:
        """How many segments are fetched, or wait for it."""
        return len(self._fetches)

    @override
    def known(self, number: int) -> bytes | None:
        segment = self._known.get(number)
        if segment is not None:
            self._known.move_to_end(number)
            self.hits += 1
        return segment

    @override
    async def fetch(self, number: int, *, timeout_ms: int) -> bytes | None:
        self.misses += 1
        fetch = self._fetches.get(number)
        if fetch is None:
            if self._is_closed:
                raise NotReadyError("the node is stopping")
            if len(self._fetches) >= WANTED_MAX:
                raise OverloadedError("too many cold documents are wanted at once")
            fetch = asyncio.get_running_loop().create_task(self._fetch(number, timeout_ms))
            self._fetches[number] = fetch
            fetch.add_done_callback(lambda done: self._fetched(number, done))
        # Whoever goes away must not take it from the others.
        await asyncio.wait([fetch])
        if fetch.cancelled():
            raise NotReadyError("the node is stopping")
        return fetch.result()

    async def _fetch(self, number: int, timeout_ms: int) -> bytes | None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout_ms / 1000
        try:
            async with asyncio.timeout_at(ends):
                await self._turns.acquire()
        except TimeoutError as error:
            raise NotReadyError("too many cold documents are fetched at once") from error
        try:
            for _ in range(LOOKS_MAX):
                record = self._table().segment(number)
                if record is None:
                    return None
                left_ms = max(1, int((ends - loop.time()) * 1000))
                segment = await self._sources[record.tier](record, timeout_ms=left_ms)
                if segment is not None:
                    return segment
        finally:
            self._turns.release()
        raise NotReadyError(_ELSEWHERE)

    def _fetched(self, number: int, done: asyncio.Task[bytes | None]) -> None:
        del self._fetches[number]
        if done.cancelled() or done.exception() is not None:
            self.failures += 1
            return
        segment = done.result()
        if segment is not None:
            self.fetches += 1
            self._remember(number, segment)

    def _remember(self, number: int, segment: bytes) -> None:
        self.forget(number)
        self._known[number] = segment
        self.known_bytes += len(segment)
        while self.known_bytes > self._known_bytes_max or len(self._known) > KNOWN_MAX:
            _, oldest = self._known.popitem(last=False)
            self.known_bytes -= len(oldest)

    def forget(self, number: int) -> None:
        """Remember a segment no longer."""
        self.known_bytes -= len(self._known.pop(number, b""))

    def prune(self, collections: AbstractSet[int]) -> None:
        """Forget the segments that are no more, and those of other collections than these."""
        table = self._table()
        for number in list(self._known):
            record = table.segment(number)
            if record is None or record.collection not in collections:
                self.forget(number)

    def close(self) -> None:
        """Give up what is under way."""
        self._is_closed = True
        for fetch in self._fetches.values():
            fetch.cancel()
