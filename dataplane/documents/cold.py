"""What the state says about segments, and who reads them: ports between the tiers' parts.

A segment holds bodies of documents that were not touched for long. Its bytes are nowhere as a
whole: each member keeps one fragment, and a `ColdReader` puts enough of them together.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

type Tier = Literal["distributed", "archive"]


class SegmentRecord(msgspec.Struct, frozen=True):
    """A segment as the replicated state describes it: what every replica agrees on."""

    number: int
    collection: int
    epoch: int
    members: tuple[int, ...]
    """Who keeps which fragment: ids of nodes in the order of the fragments."""
    k: int
    """How many fragments give the segment back."""
    size: int
    digest: bytes
    """BLAKE3 of the whole segment."""
    fragments: tuple[bytes, ...]
    """BLAKE3 of each fragment."""
    documents: int
    """How many of its documents still live here."""
    bytes: int
    """And how long their bodies are."""
    tier: Tier = "distributed"
    sealed_ms: int = 0
    """The agreed time at which it was made."""
    is_leaving: bool = False
    """Whether it fell due for the archive, so that an object of it may be there."""
    attested: tuple[int, ...] = ()
    """The members that read that object back whole, while it is not enough of them."""


class SegmentTable(Protocol):
    """The segments of the executed state; read between two batches."""

    def segment(self, number: int) -> SegmentRecord | None:
        """Return a segment, None when there is none with that number (any more)."""
        ...

    def segments(self, after: int, count_max: int) -> Sequence[SegmentRecord]:
        """Return the next segments behind a number, in order."""
        ...


class ColdReader(Protocol):
    """Gives the bytes of segments, checked against what the state says of them."""

    def known(self, number: int) -> bytes | None:
        """Return a segment that is in memory."""
        ...

    async def fetch(self, number: int, *, timeout_ms: int) -> bytes | None:
        """Return a segment; None when the state knows it no more, so that the row tells anew.

        Raises:
            NotReadyError: Too few holders gave their fragments in time; says what is missing.
            OverloadedError: Too many segments are wanted already.
        """
        ...
