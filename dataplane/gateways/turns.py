"""Long queries take turns with everything else that the node does."""

import asyncio
from collections.abc import Generator
from typing import Final

from dataplane.gateways.errors import Problem

RUNNING_MAX: Final = 4
WAITING_MAX: Final = 64


class Turns:
    """Runs a few queries at a time, one slice of one of them in a turn of the event loop.

    So a query delays others by the length of a slice, however long it is, and the memory of all
    queries together is bounded.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(RUNNING_MAX)
        self._turn = asyncio.Lock()
        self._count = 0

    async def run[T](self, steps: Generator[None, None, T]) -> T:
        """Return what the steps lead to.

        Raises:
            Problem: `rate_limited`: too many queries wait already.
        """
        if self._count >= RUNNING_MAX + WAITING_MAX:
            raise Problem("rate_limited", "too many queries wait for their turn at this node")
        self._count += 1
        try:
            async with self._places:
                return await self._finish(steps)
        finally:
            self._count -= 1
            steps.close()

    async def _finish[T](self, steps: Generator[None, None, T]) -> T:
        while True:
            async with self._turn:
                try:
                    next(steps)
                except StopIteration as done:
                    answer: T = done.value
                    return answer
                # Slept with the turn in hand, so that no other query gets this one too.
                await asyncio.sleep(0)
