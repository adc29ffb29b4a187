"""How fast a node looks through what it has stored."""

from typing import Final

from dataplane.documents.types import StateCopies

EVERY_MS: Final = 1_000
NODES: Final = 16
"""Nodes of the tree a look: a few hundred rows, about a millisecond."""


class Scrub:
    """Looks at a little of the state each second."""

    def __init__(self, copies: StateCopies) -> None:
        self._copies = copies
        self._looked_ms = 0

    def look(self, now_ms: int) -> str | None:
        """Look when it is time; return what was found damaged."""
        if now_ms - self._looked_ms < EVERY_MS:
            return None
        self._looked_ms = now_ms
        damaged = self._copies.scrub(NODES)
        return f"{len(damaged)} rows, one is {damaged[0]!r}" if damaged else None
