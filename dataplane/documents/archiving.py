"""Segments that leave for the archive: which are due, who saw them there, what is to be deleted.

Theory of operation: a step of maintenance marks the segments that are due; from then on an object
of them may be in the archive, and when such a segment is no more, its number is queued. Nothing
else is decided by time. Any member uploads, every member reads the object back by itself and tells
so in order (`ArchiveSeen`). A segment is archived with the word of f + 1 members, one of which is
honest; in that same batch all let their fragments go. A number leaves the queue likewise.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from dataplane.documents.archive_commands import ArchiveSalt, ArchiveSeen, Hold
from dataplane.documents.archive_rows import ARCHIVE_LEFT, LeftRow, decode_left, left_key, salt_key
from dataplane.documents.cold import SegmentRecord
from dataplane.documents.collections import Collections
from dataplane.documents.commands import Op, OpResult
from dataplane.documents.conflicts import is_shreddable
from dataplane.documents.errors import FORBIDDEN, INVALID, NOT_FOUND, Refusal, invalid
from dataplane.documents.membership import Membership
from dataplane.documents.settings import settings_of
from dataplane.documents.tables import Batch, CollectionRow, MetaRow, encode_row
from dataplane.documents.tiering import Tiers
from dataplane.storage.ports import KeyValueStore

MARKED_MAX: Final = 64
"""Segments that one step marks."""
SEEN_MAX: Final = 64
SALT_BYTES: Final = 32


class Archiving:
    """What the state says of the archive; objects are none of its business."""

    def __init__(
        self,
        store: KeyValueStore,
        meta: MetaRow,
        *,
        collections: Collections,
        membership: Membership,
        tiers: Tiers,
    ) -> None:
        self._store = store
        self._meta = meta
        self._collections = collections
        self._membership = membership
        self._tiers = tiers
        self.client = b""
        """Whose request is being executed."""
        self._waits: dict[int, int] = {}
        self._revision: int | None = None
        self.handlers: dict[type[Op], Callable[[Batch, Any], OpResult]] = {
            ArchiveSeen: self.seen,
            ArchiveSalt: self.salt,
            Hold: self.hold,
        }

    # --- What is due ----------------------------------------------------------------------------

    def is_due(self, now_ms: int) -> bool:
        """Whether a segment is to be marked."""
        return any(True for _ in self._due(now_ms))

    def step(self, batch: Batch) -> None:
        """Mark what is due."""
        for number in list(islice(self._due(self._meta.now_ms), MARKED_MAX)):
            self._tiers.mark(batch, number)

    def _due(self, now_ms: int) -> Iterator[int]:
        for collection, waiting in sorted(self._tiers.waiting.items()):
            wait_ms = self._wait_ms(collection)
            if wait_ms is None:
                continue
            # They were made one after the other.
            for number, sealed_ms in waiting.items():
                if sealed_ms + wait_ms > now_ms:
                    break
                yield number

    def _wait_ms(self, collection: int) -> int | None:
        """Return how long segments of a collection wait; None where they do for ever."""
        if self._revision != self._collections.revision:
            self._waits = dict(self._policies())
            self._revision = self._collections.revision
        return self._waits.get(collection)

    def _policies(self) -> Iterator[tuple[int, int]]:
        for row in self._collections.rows.values():
            settings = settings_of(row.options)
            cold_s, archive_s = settings.cold_after_s, settings.archive_after_s
            if archive_s is not None:
                assert cold_s is not None, "what is archived was cold before"
                yield row.id, 1000 * (archive_s - cold_s)

    # --- What members tell ----------------------------------------------------------------------

    def seen(self, batch: Batch, operation: ArchiveSeen) -> OpResult:
        """Take the word of a member.

        Raises:
            Refusal: `forbidden`: it is nobody's; `invalid`: it is too much at once.
        """
        member = self._member()
        if len(operation.stored) + len(operation.gone) > SEEN_MAX:
            raise Refusal(INVALID, f"at most {SEEN_MAX} segments at once")
        for number in dict.fromkeys(operation.stored):
            self._stored(batch, member, number)
        for number in dict.fromkeys(operation.gone):
            self._gone(batch, member, number)
        return OpResult(200)

    def _stored(self, batch: Batch, member: int, number: int) -> None:
        row = self._tiers.leaving(batch, number)
        if row is None or member in row.attested:
            return
        row.attested = self._present((*row.attested, member))
        if self._is_enough(row.attested):
            self._tiers.archive(batch, number, row)
        else:
            self._tiers.attest(batch, number, row)

    def _gone(self, batch: Batch, member: int, number: int) -> None:
        key = left_key(number) if 0 < number <= self._meta.applied else b""
        stored = batch.get(key) if key else None
        if stored is None:
            return
        row = decode_left(stored)
        row.attested = self._present((*row.attested, member))
        if self._is_enough(row.attested):
            batch.delete(key)
            del self._tiers.left[number]
        else:
            batch.put(key, encode_row(row))

    def _member(self) -> int:
        members = self._membership.configuration.members
        found = next((member.id for member in members if member.gateway_key == self.client), None)
        if found is None:
            raise Refusal(FORBIDDEN, "only gateways of members ask for this")
        return found

    def _present(self, attested: Iterable[int]) -> tuple[int, ...]:
        """Return those that are members, once each: the word of one that left does not count."""
        members = {member.id for member in self._membership.configuration.members}
        return tuple(sorted(members.intersection(attested)))

    def _is_enough(self, attested: tuple[int, ...]) -> bool:
        liars_max = (len(self._membership.configuration.members) - 1) // 3
        return len(attested) > liars_max

    # --- What readers of an earlier moment need -------------------------------------------------

    def hold(self, batch: Batch, operation: Hold) -> OpResult:
        """Keep segments for a while that hold nothing any more.

        Raises:
            Refusal: `forbidden`: nobody's gateway asks for it; `invalid`: for no time.
        """
        self._member()
        if operation.for_ms <= 0:
            raise invalid("/for_ms", "for how long")
        if self._tiers.is_used:
            self._tiers.holds.extend(batch, operation.for_ms)
        return OpResult(200)

    # --- Keys of collections that are to be shredded --------------------------------------------

    def salt(self, batch: Batch, operation: ArchiveSalt) -> OpResult:
        """Keep what the archive key of a collection is derived with.

        Raises:
            Refusal: `forbidden`, `not_found`, `invalid`.
        """
        self._member()
        if len(operation.salt) != SALT_BYTES:
            raise invalid("/salt", f"{SALT_BYTES} bytes")
        row = self._row(operation.collection)
        if row is None or not is_shreddable(row.options):
            raise Refusal(NOT_FOUND, "no collection with a key of its own")
        key = salt_key(row.id)
        if batch.get(key) is None:
            batch.put(key, operation.salt)
        return OpResult(200)

    def salt_of(self, collection: int) -> bytes | None:
        """Return what the archive key of a collection is derived with, nothing for the common one.

        None: it is to be chosen still, or the collection is no more, and so what was under its key.
        """
        salt = self._store.get(salt_key(collection))
        if salt:
            return salt
        row = self._row(collection)
        return None if row is None or is_shreddable(row.options) else b""

    def needs_salt(self, collection: int) -> bool:
        """Whether a collection waits for its salt."""
        return self._row(collection) is not None and self.salt_of(collection) is None

    def _row(self, collection: int) -> CollectionRow | None:
        rows = self._collections.rows.values()
        return next((row for row in rows if row.id == collection), None)

    # --- What members look for ------------------------------------------------------------------

    def wanted(self) -> Iterator[SegmentRecord]:
        """Yield the segments that are leaving of collections whose policy still says so."""
        for number, collection in self._tiers.marked.items():
            if self._wait_ms(collection) is not None:
                record = self._tiers.segment(number)
                assert record is not None, "what is leaving is there"
                yield record

    def left(self, count_max: int) -> list[tuple[int, LeftRow]]:
        """Return the first of what is to be deleted."""
        rows = islice(self._store.iterate(ARCHIVE_LEFT), count_max)
        at = len(ARCHIVE_LEFT)
        return [(int.from_bytes(key[at:], "big"), decode_left(row)) for key, row in rows]

    def is_garbage(self, number: int) -> bool:
        """Whether an object of a segment of that number is nobody's, and nobody deletes it yet.

        A segment is numbered by the batch that makes it, so none of an executed number comes later.
        """
        if not 0 < number <= self._meta.applied or self._tiers.segment(number) is not None:
            return False
        return self._store.get(left_key(number)) is None
