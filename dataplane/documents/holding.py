"""Segments that hold nothing any more, kept for a while for those who read an earlier moment.

A backup is a stream of the rows of one moment and of the bodies that were cold then; the gateway
that sends it orders a hold, and renews it while the stream goes on. Until the latest time that was
ordered, a segment whose last document goes keeps its row and its fragments; steps of maintenance
remove it afterwards. Nobody keeps by that what a person was erased from, nor what was dropped.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from dataplane.documents.tables import Batch, CollectionRow, MetaRow, Row, SegmentRow, encode_row
from dataplane.storage.ports import KeyValueStore

HOLD: Final = b"Jh"
"""One row, which is there while a hold is in force or segments are kept by one that was."""
HOLD_MS_MAX: Final = 600_000
"""How far ahead a hold reaches: who orders one for ever has to go on ordering."""
KEPT_MAX: Final = 8_192
"""Segments that are kept at once; what dies beyond them goes at once."""
RELEASED_MAX: Final = 256
"""Segments that one step removes when a hold is over."""


class HoldRow(Row):
    """Until when segments are kept that hold nothing any more, by agreed time."""

    until_ms: int


_decode = msgspec.msgpack.Decoder(HoldRow).decode


class Holds:
    """The hold of one state, and what it keeps."""

    def __init__(self, store: KeyValueStore, meta: MetaRow) -> None:
        self._meta = meta
        row = store.get(HOLD)
        self.until_ms = 0 if row is None else _decode(row).until_ms
        self.dead: dict[int, int] = {}
        """Segments that are kept, with their collections."""
        self._revision: int | None = None

    def extend(self, batch: Batch, for_ms: int) -> None:
        """Keep what dies for so long from now on, at least."""
        until_ms = self._meta.now_ms + min(for_ms, HOLD_MS_MAX)
        if until_ms > self.until_ms:
            self.until_ms = until_ms
            batch.put(HOLD, encode_row(HoldRow(until_ms)))

    def keeps(self, row: SegmentRow, *, is_dropped: bool) -> bool:
        """Whether a segment whose last document just went is kept."""
        is_held = self._meta.now_ms < self.until_ms and len(self.dead) < KEPT_MAX
        return is_held and not is_dropped and not row.erased_at

    def is_over(self, now_ms: int) -> bool:
        """Whether a step is to remove what was kept, or the row alone."""
        return 0 < self.until_ms <= now_ms

    def end(self, batch: Batch) -> None:
        """Forget the hold, which keeps nothing any more."""
        assert not self.dead, "what is kept goes first"
        self.until_ms = 0
        batch.delete(HOLD)

    def dropped(self, revision: int, collections: Iterable[CollectionRow]) -> list[int]:
        """Return what is kept of other collections than these, if they changed since asked last."""
        if revision == self._revision:
            return []
        self._revision = revision
        there = {row.id for row in collections}
        return sorted([number for number, of in self.dead.items() if of not in there])
