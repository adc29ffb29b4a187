"""Ordering steps of maintenance while there is any to do and nothing else moves the cluster.

Every batch does a small step by itself. For the rest the primary orders larger ones, one after the
other. As soon as anything else is executed meanwhile it rests as long as each took, so that a write
meets no more than one of them. The others order steps only when nothing was executed for a while,
each after a time of its own, so that a primary that leaves it undone does not stop it.
"""

import asyncio
from typing import Final

from dataplane.documents.commands import Maintain, encode_op
from dataplane.documents.view import StateView
from dataplane.gateways.context import Context
from dataplane.ports import Clock
from dataplane.replication.errors import ReplicationError

CHECK_S: Final = 0.25
PATIENCE: Final = 12
"""Checks without any batch after which the first of the others steps in."""
REST_S: Final = 0.02
"""Between two steps, at least, while there is other work."""
BREATH_S: Final = 0.002
"""Between two steps while there is none: what came in meanwhile goes first."""
STUCK_S: Final = 1.0
"""Between two steps while bodies that are waited for cannot be had."""
_TICK: Final = encode_op(Maintain())


class Maintainer:
    """The maintenance that one node orders."""

    def __init__(self, context: Context, view: StateView, clock: Clock, node_id: int) -> None:
        self._context = context
        self._view = view
        self._clock = clock
        self._patience = PATIENCE + 4 * node_id
        self._quiet_checks = 0
        self._applied = 0

    async def run(self) -> None:
        """Look for work for ever; looking costs microseconds."""
        while True:
            await asyncio.sleep(CHECK_S)
            while self.is_called_for():
                await self._put_back()
                await asyncio.sleep(await self._step())
                self._quiet_checks = 0

    async def _step(self) -> float:
        """Order a step; return how many seconds to rest."""
        began_ms, applied = self._clock.now_ms(), self._view.stats().applied
        try:
            await self._context.submit([_TICK])
        except ReplicationError:
            return REST_S + (self._clock.now_ms() - began_ms) / 1000
        took_s = (self._clock.now_ms() - began_ms) / 1000
        return rest_s(took_s, self._view.stats().applied - applied)

    async def _put_back(self) -> None:
        """Have put back what work waits for, which stands still until then; other work goes on."""
        maintenance = self._view.maintenance
        if not maintenance.is_stuck:
            return
        try:
            await self._context.cold.warm(list(maintenance.wanted))
        except ReplicationError:
            await asyncio.sleep(STUCK_S)

    def is_called_for(self) -> bool:
        """Say whether this node should order a step now."""
        if not self._view.maintenance.is_due(self._clock.now_ms()):
            self._quiet_checks = 0
            return False
        status = self._context.cluster.status()
        if status.primary == status.node_id:
            return status.ready
        applied = self._view.stats().applied
        self._quiet_checks = self._quiet_checks + 1 if applied == self._applied else 0
        self._applied = applied
        return status.ready and self._quiet_checks > self._patience


def rest_s(took_s: float, batches: int) -> float:
    """Return how long to rest after a step that took so long, one of so many batches meanwhile."""
    return BREATH_S if batches <= 1 else max(REST_S, took_s)
