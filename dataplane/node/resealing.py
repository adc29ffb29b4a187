"""Segments to make anew: with what was erased, mostly dead, or of holders that are no members."""

import asyncio
from itertools import islice
from typing import Final

from dataplane.documents.view import StateView
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.replication.errors import ReplicationError

CHECK_S: Final = 5.0
SEGMENTS_MAX: Final = 4
"""Of one look."""


class Resealer:
    """Puts back what is left in such segments; it becomes cold again in others by itself.

    The primary does it. Doing it twice, as when the primary changes, changes nothing.
    """

    def __init__(self, context: Context, view: StateView) -> None:
        self._context = context
        self._view = view
        self._epoch: int | None = None
        """The last epoch of which no segment is with others than its members."""
        self._failed: set[int] = set()
        """Those that could not be had, until the others had their turn."""

    async def run(self) -> None:
        """Look for such segments for ever."""
        while True:
            await asyncio.sleep(CHECK_S)
            for number in self.wanted():
                try:
                    await self._context.cold.warm_out(number)
                except (ReplicationError, Problem):
                    self._failed.add(number)

    def wanted(self) -> list[int]:
        """Return the next segments to make anew."""
        status = self._context.cluster.status()
        if not status.ready or status.primary != status.node_id:
            return []
        tiers = self._view.tiers
        if not tiers.collections:
            return []
        epoch = self._context.cluster.config.epoch
        misplaced: list[int] = []
        # Those that are made in an epoch are with its members: once none is left, none comes.
        if self._epoch != epoch:
            others = (record.number for record in tiers.misplaced())
            found = (number for number in others if number not in self._failed)
            misplaced = list(islice(found, SEGMENTS_MAX))
            self._epoch = None if misplaced or self._failed else epoch
        wanted = [*tiers.holding(self._view.stats().applied), *misplaced, *sorted(tiers.half_empty)]
        chosen = [number for number in wanted if number not in self._failed][:SEGMENTS_MAX]
        if not chosen:
            self._failed.clear()
        return chosen
