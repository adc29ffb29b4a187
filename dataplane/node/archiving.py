"""Moving segments to the archive, and removing there what is not needed any more.

Theory of operation: what is to be done is in the state, and only ordered words of members change
it (`documents/archiving.py`), so a node that ends anywhere in here goes on, or another does. The
primary uploads what is missing; every node reads an object back before it says that it is there.
The others come a look later each, and take over uploading when nothing happens for a while.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

from dataplane.client.errors import ArchiveRefusedError, ArchiveUnavailableError, ObjectMissingError
from dataplane.documents.archive_commands import ArchiveSalt, ArchiveSeen
from dataplane.documents.archiving import SALT_BYTES
from dataplane.documents.cold import SegmentRecord
from dataplane.documents.commands import Op, OpResult, decode_result, encode_op
from dataplane.documents.view import StateView
from dataplane.gateways.context import Context
from dataplane.node.archived_segments import Archive, NoKeyError
from dataplane.node.cold_segments import Source
from dataplane.ports import Clock
from dataplane.replication.errors import NotReadyError, OverloadedError, ReplicationError
from dataplane.security.archive_objects import number_in

log = logging.getLogger(__name__)

CHECK_S: Final = 1.0
CALL_MS: Final = 30_000
PAUSE_S_MAX: Final = 10.0
"""Between two looks while the store does not answer."""
LOOKED_MAX: Final = 8
"""Segments, and objects to remove, of one look."""
PATIENCE: Final = 5
"""Looks without any change after which the next of the others takes over."""
CLEARED_EVERY_MS: Final = 6 * 3_600_000
BAD_REQUEST: Final = 400
OFF_LOOKS: Final = 60
"""Looks for which something that could not be done is left alone."""
OFF_MAX: Final = 1_024
WINDOW: Final = 64
"""Of what is to be done, the first so many are under way."""

type Waited = dict[tuple[str, int, int], int]
"""Looks at what waits, by what it is, its number and how many members told of it."""


class Archiver:
    """What one node does for the archive of its cluster."""

    def __init__(
        self,
        context: Context,
        view: StateView,
        *,
        archive: Archive,
        gather: Source,
        clock: Clock,
    ) -> None:
        """Take segments that are still with the members from `gather`, which remembers none."""
        self._context = context
        self._gather = gather
        self._view = view
        self._archive = archive
        self._clock = clock
        self._waited: Waited = {}
        self._off: dict[int, int] = {}
        """What could not be done, and for how many looks it is left alone."""
        self.refused = 0
        """How often the store did not let an object go."""
        self._pause_s = CHECK_S
        self._cleared_ms: int | None = None

    async def run(self) -> None:
        """Look for what is to be done for ever."""
        while True:
            await asyncio.sleep(self._pause_s)
            is_ready = self._context.cluster.status().ready and not self._view.is_restoring
            if not self._archive.is_usable or not is_ready:
                continue
            try:
                await self.look()
                await self._clear_sometimes()
            except ArchiveUnavailableError as error:
                self._archive.failures += 1
                if self._pause_s == CHECK_S:
                    log.warning("archive.unreachable", extra={"reason": str(error)})
                self._rest()
            except ReplicationError:
                self._rest()
            else:
                if self._pause_s > CHECK_S:
                    log.info("archive.reachable")
                    self._off.clear()
                self._pause_s = CHECK_S

    def _rest(self) -> None:
        """Wait longer before the next look: what was seen is to be seen again."""
        self._pause_s = min(PAUSE_S_MAX, 2 * self._pause_s)

    async def look(self) -> None:
        """Do the next of what is to be done, and tell the cluster what was seen.

        Raises:
            ArchiveUnavailableError: The store does not answer.
            ReplicationError: The cluster did not take the word.
        """
        waited, self._waited = self._waited, {}
        self._calm()
        leaving, removable = self._leaving(waited), self._removable(waited)
        stored, failure = await self._see(leaving, self._is_stored)
        gone, other = await self._see(removable, self._is_removed)
        # What was seen before something failed was seen.
        if stored or gone:
            result = await self._tell(ArchiveSeen(stored, gone))
            if result.status >= BAD_REQUEST:
                log.warning("archive.word_refused", extra={"code": result.code})
                for number in (*stored, *gone):
                    self._put_off(number)
        error = failure or other
        if error is not None:
            raise error

    async def _see[T: tuple[int, object]](
        self, looked: list[T], is_seen: Callable[[T], Awaitable[bool]]
    ) -> tuple[tuple[int, ...], ArchiveUnavailableError | None]:
        """Return what was seen, until the store did not answer."""
        seen: list[int] = []
        for what in looked:
            try:
                if await is_seen(what):
                    seen.append(what[0])
                    continue
            except ArchiveUnavailableError as error:
                # It may be this one object alone.
                self._put_off(what[0])
                return tuple(seen), error
            self._put_off(what[0])
        return tuple(seen), None

    async def _tell(self, operation: Op) -> OpResult:
        submitted = await self._context.submit([encode_op(operation)])
        return decode_result(submitted.results[0])

    # --- Whose turn it is -----------------------------------------------------------------------

    @property
    def _me(self) -> int:
        return self._context.spec.node_id

    def _rank(self) -> int:
        """Return how many members come before this one: none before the primary."""
        status = self._context.cluster.status()
        ids = sorted(member.id for member in status.members)
        if self._me not in ids or status.primary not in ids:
            return len(ids)
        return (ids.index(self._me) - ids.index(status.primary)) % len(ids)

    def _is_turn(self, what: tuple[str, int, int], waited: dict[tuple[str, int, int], int]) -> bool:
        """Whether this node does something now: one look after the member before it.

        As long as nobody told of it (the last of `what` is 0), after many more.
        """
        looks = self._waited[what] = waited.get(what, 0) + 1
        rank = self._rank()
        return looks > rank * (1 if what[2] else PATIENCE)

    def _calm(self) -> None:
        """Let time pass for what was put off."""
        self._off = {number: looks - 1 for number, looks in self._off.items() if looks > 1}

    def _put_off(self, number: int) -> None:
        """Leave something alone for a while that could not be done, so that it blocks nothing."""
        if len(self._off) < OFF_MAX:
            self._off[number] = OFF_LOOKS

    # --- Segments that are leaving --------------------------------------------------------------

    def _leaving(self, waited: Waited) -> list[tuple[int, SegmentRecord]]:
        """Return the segments to look at now, oldest first.

        Those that only wait for the word of others count as well: nobody runs ahead.
        """
        found: list[tuple[int, SegmentRecord]] = []
        records = (r for r in self._view.archiving.wanted() if r.number not in self._off)
        for record in islice(records, WINDOW):
            is_mine = self._me not in record.attested and len(found) < LOOKED_MAX
            if is_mine and self._is_turn(("leaving", record.number, len(record.attested)), waited):
                found.append((record.number, record))
        return found

    async def _is_stored(self, what: tuple[int, SegmentRecord]) -> bool:
        """Read a segment back from the archive, after uploading it if it is not there."""
        record = what[1]
        if self._view.archiving.needs_salt(record.collection):
            await self._tell(ArchiveSalt(record.collection, secrets.token_bytes(SALT_BYTES)))
        with contextlib.suppress(NoKeyError, NotReadyError, OverloadedError):
            if await self._reads_back(record):
                return True
            segment = await self._gather(record, timeout_ms=CALL_MS)
            if segment is not None and self._view.tiers.segment(record.number) is not None:
                await self._archive.upload(record, segment)
                if self._view.tiers.segment(record.number) is None:
                    # It went meanwhile: others may have seen it gone before it arrived.
                    await self._archive.remove(record.number, record.digest)
                    return False
                return await self._reads_back(record)
        return False

    async def _reads_back(self, record: SegmentRecord) -> bool:
        with contextlib.suppress(ObjectMissingError):
            return await self._archive.stored(record, timeout_ms=CALL_MS) is not None
        return False

    # --- Objects that are not needed any more ---------------------------------------------------

    def _removable(self, waited: Waited) -> list[tuple[int, bytes]]:
        """Return the objects to remove now."""
        rows = self._view.archiving.left(WINDOW + len(self._off))
        found: list[tuple[int, bytes]] = []
        for number, row in [row for row in rows if row[0] not in self._off][:WINDOW]:
            is_mine = self._me not in row.attested and len(found) < LOOKED_MAX
            if is_mine and self._is_turn(("left", number, len(row.attested)), waited):
                found.append((number, row.digest))
        return found

    async def _is_removed(self, what: tuple[int, bytes]) -> bool:
        """Remove an object; say whether the store let it go."""
        try:
            if await self._archive.remove(*what):
                return True
            reason = "it is still there"
        except ArchiveRefusedError as error:
            reason = str(error)
        self.refused += 1
        log.warning("archive.not_removed", extra={"segment": what[0], "reason": reason})
        return False

    async def _clear_sometimes(self) -> None:
        """Remove what no segment and no queue knows: uploads that came to nothing."""
        now_ms = self._clock.now_ms()
        if self._cleared_ms is None:
            self._cleared_ms = now_ms
        if now_ms - self._cleared_ms < CLEARED_EVERY_MS or self._rank():
            return
        self._cleared_ms = now_ms
        await self.clear()

    async def clear(self) -> int:
        """Remove the objects of segments that are no more; return how many there were.

        Raises:
            ArchiveUnavailableError: The store does not answer.
        """
        store = self._archive.store
        assert store is not None, "who has no archive clears nothing"
        count = 0
        async for names in store.names():
            if not self._context.cluster.is_sound:
                break
            numbers = [(name, number_in(name)) for name in names]
            garbage = [
                name
                for name, number in numbers
                if number is not None and self._view.archiving.is_garbage(number)
            ]
            await store.delete(garbage)
            count += len(garbage)
        if count:
            log.info("archive.cleared", extra={"objects": count})
        return count
