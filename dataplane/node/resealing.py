"""Segments to make anew: with what was erased, mostly dead, or of holders that are not to be.

Those are the holders of an earlier epoch, and those that a change of members which is asked for
would leave too few of.
"""

import asyncio
import contextlib
from itertools import islice
from typing import Final

from dataplane.documents.view import StateView
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.ports import Clock
from dataplane.replication.errors import ReplicationError

CHECK_S: Final = 2.0
REST_S: Final = 0.1
SEGMENTS_MAX: Final = 4
"""Of one look."""


class Resealer:
    """Puts back what is left in such segments; it becomes cold again in others by itself.

    The primary does it. Doing it twice, as when the primary changes, changes nothing.
    """

    def __init__(self, context: Context, view: StateView, clock: Clock) -> None:
        self._context = context
        self._view = view
        self._clock = clock
        self._failed: set[int] = set()
        """Those that could not be had, until the others had their turn."""

    async def run(self) -> None:
        """Look for such segments for ever, and rest between them as long as each took."""
        while True:
            await asyncio.sleep(CHECK_S)
            while numbers := self.wanted():
                for number in numbers:
                    began_ms = self._clock.now_ms()
                    with contextlib.suppress(ReplicationError, Problem):
                        await self._context.cold.warm_out(number)
                    if self._view.tiers.segment(number) is not None:
                        self._failed.add(number)
                    await asyncio.sleep(max(REST_S, (self._clock.now_ms() - began_ms) / 1000))

    def wanted(self) -> list[int]:
        """Return the next segments to make anew; none when all that are left could not be had."""
        status = self._context.cluster.status()
        if not status.ready or status.primary != status.node_id:
            return []
        tiers = self._view.tiers
        others = (record.number for record in tiers.misplaced())
        misplaced = list(islice((n for n in others if n not in self._failed), SEGMENTS_MAX))
        wanted = [*tiers.holding(self._view.stats().applied), *misplaced, *sorted(tiers.half_empty)]
        chosen = [number for number in wanted if number not in self._failed][:SEGMENTS_MAX]
        if not chosen:
            self._failed.clear()
        return chosen
