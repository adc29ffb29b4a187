"""Rebuilding this node's fragments that are missing or damaged, from those of the others.

A segment is put together as for any reader, coded again, and the own fragment of it written. It is
work that can wait, so it rests as long as each took, and longer where much is rebuilt.
"""

import asyncio
import logging
from typing import Final

from dataplane.documents.cold import ColdReader
from dataplane.documents.mending import Mending
from dataplane.ports import Clock
from dataplane.replication.errors import ReplicationError

log = logging.getLogger(__name__)

CHECK_S: Final = 0.5
REST_S: Final = 0.02
REBUILT_BYTES_PER_S: Final = 8 * 1024 * 1024
"""Of segments that are put together for it; an own fragment is a part of one."""
FETCH_MS: Final = 10_000
FAILURES_MAX: Final = 4
"""In a row; then the others who hold them are left alone for a while."""
STUCK_S: Final = 10.0


class Healer:
    """Rebuilds what one node lacks."""

    def __init__(self, reader: ColdReader, mending: Mending, clock: Clock) -> None:
        self._reader = reader
        self._mending = mending
        self._clock = clock

    async def run(self) -> None:
        """Rebuild what is found, for ever."""
        while True:
            await asyncio.sleep(CHECK_S)
            if not await self.heal():
                await asyncio.sleep(STUCK_S)

    async def heal(self) -> bool:
        """Rebuild what is wanted now, one after the other; return False to be left alone a while.

        What cannot be had now is tried again after the others.
        """
        failures = 0
        for number in self._mending.wanted:
            began_ms = self._clock.now_ms()
            try:
                segment = self._reader.known(number)
                if segment is None:
                    segment = await self._reader.fetch(number, timeout_ms=FETCH_MS)
            except ReplicationError as error:
                log.warning("fragment.lost", extra={"segment": number, "reason": str(error)})
                self._mending.postpone(number)
                failures += 1
                if failures == FAILURES_MAX:
                    return False
                continue
            if self._mending.rebuild(number, segment):
                log.warning("fragment.rebuilt", extra={"segment": number})
            failures = 0
            took_s = (self._clock.now_ms() - began_ms) / 1000
            await asyncio.sleep(max(REST_S, took_s, len(segment or b"") / REBUILT_BYTES_PER_S))
        return failures == 0
