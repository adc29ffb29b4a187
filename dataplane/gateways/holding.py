"""Segments kept for who reads an earlier moment, for as long as this node sends a backup."""

import asyncio
import contextlib
from typing import Final

from dataplane.documents.archive_commands import Hold
from dataplane.documents.commands import encode_op
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.replication.errors import ReplicationError

HOLD_MS: Final = 120_000
"""How far each order reaches: what is left of the last one when the reader is done."""
RENEW_S: Final = 10.0
_HOLD: Final = encode_op(Hold(HOLD_MS))


async def hold(context: Context) -> None:
    """Have segments kept from now on; nothing is ordered while no document is cold.

    Raises:
        ReplicationError: It is not certain that they are.
    """
    if context.state.view.tiers.is_used:
        await context.submit([_HOLD])


async def keep_holding(context: Context) -> None:
    """Renew the hold for ever while backups are sent."""
    while True:
        await asyncio.sleep(RENEW_S)
        if context.backups_running:
            # Without a quorum nothing is ordered, and no segment goes either.
            with contextlib.suppress(ReplicationError, Problem):
                await hold(context)
