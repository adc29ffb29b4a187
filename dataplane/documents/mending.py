"""Whether a member's own fragments are what their segments say, and those that are to be rebuilt.

The batch that makes a segment writes the fragment. Afterwards a disk may damage it, a directory may
be lost, or the state be a copy of a peer's, who has other fragments. So all are gone through, a
little at a time and for ever, beside the look at the rows of the state; one that is found wrong
while somebody reads it is known at once.

Everything here is called between two batches and waits for nothing: a segment cannot vanish between
the look at its row and the write of its fragment. Nothing of it is replicated, and a crash at any
point leaves what the next round finds.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from dataplane.documents.cold import SegmentRecord
from dataplane.documents.own_fragments import OwnFragments
from dataplane.documents.tiering import Tiers
from dataplane.storage.erasure import is_sound, rebuild
from dataplane.storage.fragments import fragment_key, pack
from dataplane.storage.ports import KeyValueStore

LOOK_BYTES: Final = 1024 * 1024
"""Of fragments that one look compares, or the one that is larger: about two milliseconds."""
WANTED_MAX: Final = 4_096
"""Fragments that are known to be missing; looking for more waits until some are back."""
_RECORDS: Final = 16
_ROW_BYTES: Final = 1024
"""What looking at a segment costs besides its fragment."""


class Census(msgspec.Struct, frozen=True):
    """How a member's own fragments are."""

    held: int = 0
    """Segments of which it has a fragment to keep."""
    checked: int = 0
    """Segments that were looked at in this round."""
    missing: int = 0
    """Fragments that are known to be missing or damaged, and wait to be rebuilt."""
    found: int = 0
    """Those that were ever found so since the node started."""
    rebuilt: int = 0
    rounds: int = 0
    """How often all were looked at since the state was loaded or copied: none says nothing yet."""


class Mending:
    """The care for one member's fragments, in the store of its state."""

    def __init__(self, store: KeyValueStore, tiers: Callable[[], Tiers], member: int) -> None:
        """Look after what `tiers` say that `member` keeps; they may be others after a while."""
        self.own = OwnFragments(member, tiers, lambda: store)
        self.own.on_unsound = self._want
        self._store = store
        self._tiers = tiers
        self._wanted: dict[int, None] = {}
        self._next = self._checked = 0
        self._found = self._rebuilt = self._rounds = 0

    def begin(self) -> None:
        """Begin a round: everything may be another than it was."""
        self._wanted.clear()
        self._next = self._checked = self._rounds = 0

    # --- Looking --------------------------------------------------------------------------------

    def look(self, size_max: int = LOOK_BYTES) -> None:
        """Compare some more fragments with what was agreed on."""
        while size_max > 0 and len(self._wanted) < WANTED_MAX:
            records = self._tiers().segments(self._next, _RECORDS)
            for record in records:
                fragment = self.own.fragment(record)
                size_max -= _ROW_BYTES + len(fragment or b"")
                self._checked += 1
                self._next = record.number
                if size_max <= 0:
                    return
            if len(records) < _RECORDS:
                self._next = self._checked = 0
                self._rounds += 1
                return

    def _want(self, record: SegmentRecord) -> None:
        if record.number not in self._wanted and len(self._wanted) < WANTED_MAX:
            self._wanted[record.number] = None
            self._found += 1

    # --- Rebuilding -----------------------------------------------------------------------------

    @property
    def wanted(self) -> tuple[int, ...]:
        """The segments whose fragment is to be rebuilt, in the order in which to try."""
        return tuple(self._wanted)

    def postpone(self, number: int) -> None:
        """Try the others first."""
        if number in self._wanted:
            del self._wanted[number]
            self._wanted[number] = None

    def rebuild(self, number: int, segment: bytes | None) -> bool:
        """Write the fragment of a segment, given as a whole; say whether it was written.

        None: there is no such segment any more, as far as its reader knew.
        """
        record = self._tiers().segment(number)
        if record is None or not self.own.is_kept(record):
            self._wanted.pop(number, None)
            return False
        if segment is None or len(segment) != record.size:
            return False
        place = record.members.index(self.own.member)
        fragment = rebuild(segment, record.k, len(record.members), place)
        if not is_sound(fragment, place, record.fragments):
            return False
        self._store.write({fragment_key(record.collection, number): pack(fragment)})
        self._wanted.pop(number, None)
        self._rebuilt += 1
        return True

    @property
    def census(self) -> Census:
        """How the fragments are."""
        return Census(
            held=self._tiers().placement.held_by(self.own.member),
            checked=self._checked,
            missing=len(self._wanted),
            found=self._found,
            rebuilt=self._rebuilt,
            rounds=self._rounds,
        )
