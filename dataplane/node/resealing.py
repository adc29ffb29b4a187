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
PATIENCE: Final = 15
"""Looks that find as much left as before, after which the first of the others steps in."""


class Resealer:
    """Puts back what is left in such segments; it becomes cold again in others by itself.

    The primary does it, and when it leaves that undone, the others do, each after a time of its
    own. Doing it twice changes nothing.
    """

    def __init__(self, context: Context, view: StateView, clock: Clock) -> None:
        self._context = context
        self._view = view
        self._clock = clock
        self._failed: set[int] = set()
        """Those that could not be had, until the others had their turn."""
        self._left = self._same = 0
        """How much was left at the last look, and how many looks found as much as before."""

    async def run(self) -> None:
        """Look for such segments for ever, and rest between them as long as each took."""
        while True:
            await asyncio.sleep(CHECK_S)
            self.look()
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
        if not self._is_called_for():
            return []
        tiers = self._view.tiers
        others = (record.number for record in tiers.misplaced())
        misplaced = list(islice((n for n in others if n not in self._failed), SEGMENTS_MAX))
        wanted = [*tiers.holding(self._view.stats().applied), *misplaced, *sorted(tiers.half_empty)]
        chosen = [number for number in wanted if number not in self._failed][:SEGMENTS_MAX]
        if not chosen:
            self._failed.clear()
        return chosen

    def look(self) -> None:
        """See whether there is less left than before; what has to wait is told by that alone."""
        tiers = self._view.tiers
        left = sum(tiers.placement.misplaced.values()) + len(tiers.half_empty) + len(tiers.erased)
        self._same = self._same + 1 if 0 < self._left <= left else 0
        self._left = left

    def _is_called_for(self) -> bool:
        status = self._context.cluster.status()
        patience = 0 if status.primary == status.node_id else PATIENCE + 2 * status.node_id
        return status.ready and self._same >= patience
