"""The segments of the state: making them of documents, and forgetting those that hold none.

What goes into a segment is decided by the state and batch time alone, and its bytes are the same
everywhere, so every replica makes all fragments and keeps its own: nothing is sent to move a
document, and there is no moment at which its body is nowhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, override

from dataplane.documents.archive_rows import ARCHIVE_LEFT, LeftRow, decode_left, left_key
from dataplane.documents.cold import SegmentRecord, SegmentTable, Tier
from dataplane.documents.holding import RELEASED_MAX, Holds
from dataplane.documents.membership import Membership
from dataplane.documents.placement import Placement
from dataplane.documents.remains import Remains
from dataplane.documents.stubs import build_segment
from dataplane.documents.tables import (
    SEGMENT,
    Batch,
    CollectionRow,
    MetaRow,
    SegmentRow,
    decode_segment,
    encode_row,
    key_numbers,
    number_key,
)
from dataplane.storage.erasure import digest, encode
from dataplane.storage.fragments import fragment_key, pack
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.stubs import Stub

DISTRIBUTED: Final = "distributed"
ARCHIVE: Final = "archive"


@dataclass(slots=True)
class Moves:
    """What moved between tiers since this node began, or took up another state."""

    segments_sealed: int = 0
    documents_sealed: int = 0
    bytes_sealed: int = 0
    segments_archived: int = 0
    segments_forgotten: int = 0
    documents_warmed: int = 0


class Tiers(SegmentTable):
    """All segments, in the store; how much of each collection they hold, in memory.

    `member` says whose fragments are kept. A state machine of nobody in particular, as one that
    replays an archive is, keeps whole segments.
    """

    def __init__(
        self, store: KeyValueStore, meta: MetaRow, membership: Membership, member: int | None
    ) -> None:
        self._store = store
        self._meta = meta
        self._membership = membership
        self._member = member
        self._held: dict[tuple[int, str], list[int]] = {}
        """(collection, tier) -> documents, bytes."""
        self.half_empty: set[int] = set()
        """Segments of whose bytes most are dead: advice to those who warm what is left."""
        self.erased: dict[int, int] = {}
        """Segments that hold what a person was erased from, and since which sequence that is known:
        what is left in them is to be put back at once."""
        self._remains = Remains(store)
        self.holds = Holds(store, meta)
        self.moves = Moves()
        self.waiting: dict[int, dict[int, int]] = {}
        """By collections, with the agreed time of each: segments not due for the archive yet."""
        self.marked: dict[int, int] = {}
        """Segments that are leaving for the archive, with their collections, in order."""
        self.left: dict[int, int] = {}
        """Segments that are no more, of which the archive may hold something; see `LeftRow`."""
        for key, row in store.iterate(ARCHIVE_LEFT):
            self.left[int.from_bytes(key[len(ARCHIVE_LEFT) :], "big")] = decode_left(row).since
        self.placement = Placement(meta, membership)
        membership.blocking = self.placement.blocking
        for key, row in store.iterate(SEGMENT):
            number, known = key_numbers(key)[0], decode_segment(row)
            if not known.documents:
                self.holds.dead[number] = known.collection
                continue
            self._count(known, known.documents, known.bytes)
            self._place(known, 1)
            self._advise(number, known)
            if known.tier != ARCHIVE and known.is_leaving:
                self.marked[number] = known.collection
            elif known.tier != ARCHIVE:
                self._await(number, known)

    # --- Making and forgetting ------------------------------------------------------------------

    def seal(
        self, batch: Batch, collection: int, documents: Sequence[tuple[str, bytes]]
    ) -> list[Stub]:
        """Make the segment of this batch of bodies by ids; return the stubs, in order."""
        number = self._meta.applied
        members, k = self.placement.present
        segment, stubs = build_segment(number, documents)
        fragments = encode(segment, k, max(1, len(members)))
        size_bytes = sum([stub.length for stub in stubs])
        row = SegmentRow(
            collection=collection,
            epoch=self._membership.configuration.epoch,
            members=members,
            k=k,
            size=len(segment),
            digest=digest(segment),
            fragments=tuple(map(digest, fragments)),
            sealed=size_bytes,
            documents=len(stubs),
            bytes=size_bytes,
            sealed_ms=self._meta.now_ms,
        )
        key = number_key(SEGMENT, number)
        assert batch.get(key) is None, "a batch makes one segment"
        batch.put(key, encode_row(row))
        if self._member is None:
            batch.own[fragment_key(collection, number)] = pack(segment)
        elif self._member in members:
            own = fragments[members.index(self._member)]
            batch.own[fragment_key(collection, number)] = pack(own)
        batch.spend(2 * size_bytes)
        self._count(row, row.documents, row.bytes)
        self.moves.segments_sealed += 1
        self.moves.documents_sealed += len(stubs)
        self.moves.bytes_sealed += size_bytes
        self._await(number, row)
        self._place(row, 1)
        return stubs

    def settle(self, batch: Batch) -> None:
        """Count what a batch took out of segments; forget those that hold nothing any more."""
        self._mark(batch)
        gone: dict[int, list[tuple[int, bytes]]] = {}
        for number, length, document in batch.thawed:
            gone.setdefault(number, []).append((length, document))
        for number, bodies in sorted(gone.items()):
            documents, size_bytes = len(bodies), sum([length for length, _ in bodies])
            key = number_key(SEGMENT, number)
            stored = batch.get(key)
            assert stored is not None, "stubs have a segment"
            row = decode_segment(stored)
            row.documents -= documents
            row.bytes -= size_bytes
            assert min(row.documents, row.bytes) >= 0, "a body lives in its segment once"
            self._count(row, -documents, -size_bytes)
            if row.documents:
                batch.put(key, encode_row(row))
                self._advise(number, row)
                # Of what goes with its collection nobody is erased any more.
                self._remains.add(batch, number, [known for _, known in bodies if known])
                continue
            # Who holds it is nothing that a change of members would wait for.
            self._place(row, -1)
            self._unlist(number, row)
            if self.holds.keeps(row, is_dropped=not all(known for _, known in bodies)):
                self.holds.dead[number] = row.collection
                batch.put(key, encode_row(row))
                self._remains.add(batch, number, [known for _, known in bodies])
                continue
            self._forget(batch, number, row)
        self.moves.documents_warmed += batch.warmed
        batch.thawed.clear()
        batch.erased.clear()

    def _mark(self, batch: Batch) -> None:
        """Mark the segments that have bodies of documents that a person was erased from."""
        for number in self._remains.segments_of(batch, batch.erased if self.is_used else ()):
            if number not in self.erased:
                key = number_key(SEGMENT, number)
                stored = batch.get(key)
                assert stored is not None, "those that are no more are passed over"
                row = decode_segment(stored)
                row.erased_at = self._meta.applied
                if not row.documents:
                    # It was kept for who reads an earlier moment: not what is erased.
                    self._forget(batch, number, row)
                    continue
                batch.put(key, encode_row(row))
                self._advise(number, row)

    def sweep(self, batch: Batch) -> None:
        """Forget some of what is noted of segments that are no more, before all else."""
        if self._remains.is_sweeping:
            self._remains.sweep(batch)

    @property
    def is_sweeping(self) -> bool:
        """Whether something is noted of segments that are no more."""
        return self._remains.is_sweeping

    def holding(self, sequence: int) -> list[int]:
        """Return the segments that hold what was erased up to a sequence."""
        return sorted([number for number, at in self.erased.items() if at <= sequence])

    def left_holding(self, sequence: int) -> list[int]:
        """Return those that are no more, but whose objects in the archive may hold it."""
        return sorted([number for number, at in self.left.items() if at <= sequence])

    def _await(self, number: int, row: SegmentRow) -> None:
        self.waiting.setdefault(row.collection, {})[number] = row.sealed_ms

    def _forget(self, batch: Batch, number: int, row: SegmentRow) -> None:
        """Let a segment be no more."""
        batch.delete(number_key(SEGMENT, number))
        batch.own[fragment_key(row.collection, number)] = None
        self._remains.forget(number)
        self.holds.dead.pop(number, None)
        if row.is_leaving:
            since = self.left[number] = row.erased_at or self._meta.applied
            left = LeftRow(row.collection, row.digest, since)
            batch.put(left_key(number), encode_row(left))
        self.moves.segments_forgotten += 1

    def _unlist(self, number: int, row: SegmentRow) -> None:
        """Ask nothing more of a segment that holds nothing."""
        self.half_empty.discard(number)
        self.erased.pop(number, None)
        self.marked.pop(number, None)
        self._forget_waiting(number, row)

    def _forget_waiting(self, number: int, row: SegmentRow) -> None:
        waiting = self.waiting.get(row.collection, {})
        waiting.pop(number, None)
        if not waiting:
            self.waiting.pop(row.collection, None)

    # --- What is kept for who reads an earlier moment -------------------------------------------

    def release(self, batch: Batch) -> None:
        """Remove some of what was kept by a hold that is over, and at last the hold."""
        # In no order that a replica which began anew does not know.
        for number in sorted(self.holds.dead)[:RELEASED_MAX]:
            self._release(batch, number)
        if not self.holds.dead:
            self.holds.end(batch)

    def release_dropped(
        self, batch: Batch, revision: int, collections: Iterable[CollectionRow]
    ) -> None:
        """Remove what is kept of collections that are no more: their keys may be destroyed next."""
        for number in self.holds.dropped(revision, collections):
            self._release(batch, number)

    def _release(self, batch: Batch, number: int) -> None:
        stored = batch.get(number_key(SEGMENT, number))
        assert stored is not None, "what is kept is there"
        self._forget(batch, number, decode_segment(stored))

    @property
    def is_used(self) -> bool:
        """Whether there are segments at all, dead ones too."""
        return bool(self._held or self.holds.dead)

    # --- To the archive -------------------------------------------------------------------------

    def mark(self, batch: Batch, number: int) -> None:
        """Let a segment leave for the archive; until it is there nothing else changes."""
        key = number_key(SEGMENT, number)
        stored = batch.get(key)
        assert stored is not None, "what waits is there"
        row = decode_segment(stored)
        self._forget_waiting(number, row)
        row.is_leaving = True
        self.marked[number] = row.collection
        batch.put(key, encode_row(row))

    def leaving(self, batch: Batch, number: int) -> SegmentRow | None:
        """Return a segment that is leaving, None when it is not."""
        if number not in self.marked:
            return None
        stored = batch.get(number_key(SEGMENT, number))
        assert stored is not None, "what is leaving is there"
        return decode_segment(stored)

    def attest(self, batch: Batch, number: int, row: SegmentRow) -> None:
        """Keep who saw a segment in the archive."""
        batch.put(number_key(SEGMENT, number), encode_row(row))

    def archive(self, batch: Batch, number: int, row: SegmentRow) -> None:
        """Let a segment be in the archive alone, but for who is nobody and keeps whole ones."""
        self._count(row, -row.documents, -row.bytes)
        self._place(row, -1)
        self.moves.segments_archived += 1
        row.tier, row.attested = ARCHIVE, ()
        self._count(row, row.documents, row.bytes)
        del self.marked[number]
        batch.put(number_key(SEGMENT, number), encode_row(row))
        if self._member is not None:
            batch.own[fragment_key(row.collection, number)] = None

    def _count(self, row: SegmentRow, documents: int, size_bytes: int) -> None:
        counts = self._held.setdefault((row.collection, row.tier), [0, 0])
        counts[0] += documents
        counts[1] += size_bytes
        if counts == [0, 0]:
            del self._held[row.collection, row.tier]

    def _place(self, row: SegmentRow, segments: int) -> None:
        if row.tier == DISTRIBUTED:
            self.placement.count((row.members, row.k), segments)

    def _advise(self, number: int, row: SegmentRow) -> None:
        if 2 * row.bytes < row.sealed:
            self.half_empty.add(number)
        if row.erased_at:
            self.erased[number] = row.erased_at

    # --- Reading --------------------------------------------------------------------------------

    def held(self, collection: int, tier: Tier) -> tuple[int, int]:
        """Return how many documents of a collection are in a tier, and how many bytes they are."""
        documents, size_bytes = self._held.get((collection, tier), (0, 0))
        return documents, size_bytes

    def total(self, tier: Tier) -> tuple[int, int]:
        """Return how many documents are in a tier, and how many bytes they are."""
        found = [counts for (_, name), counts in self._held.items() if name == tier]
        return sum([counts[0] for counts in found]), sum([counts[1] for counts in found])

    @property
    def collections(self) -> set[int]:
        """The collections of which documents are cold."""
        return {collection for collection, _ in self._held}

    def misplaced(self) -> Iterator[SegmentRecord]:
        """Yield the segments that are to be made anew because of who holds them, in order.

        Those in the archive are not even looked at: they may be many, and nobody holds them.
        """
        wanted = self.placement.misplaced
        held = sorted(chain(self.marked, *self.waiting.values())) if wanted else ()
        for number in held:
            record = self.segment(number)
            if record is not None and (record.members, record.k) in wanted:
                yield record

    @override
    def segment(self, number: int) -> SegmentRecord | None:
        row = self._store.get(number_key(SEGMENT, number))
        return None if row is None else _record(number, decode_segment(row))

    @override
    def segments(self, after: int, count_max: int) -> Sequence[SegmentRecord]:
        found: list[SegmentRecord] = []
        for record in self._records(number_key(SEGMENT, after + 1)):
            if len(found) == count_max:
                break
            found.append(record)
        return found

    def _records(self, start: bytes) -> Iterator[SegmentRecord]:
        for key, row in self._store.iterate(SEGMENT, start=start):
            yield _record(key_numbers(key)[0], decode_segment(row))


def _record(number: int, row: SegmentRow) -> SegmentRecord:
    return SegmentRecord(
        number=number,
        collection=row.collection,
        epoch=row.epoch,
        members=row.members,
        k=row.k,
        size=row.size,
        digest=row.digest,
        fragments=row.fragments,
        documents=row.documents,
        bytes=row.bytes,
        tier="archive" if row.tier == ARCHIVE else "distributed",
        sealed_ms=row.sealed_ms,
        is_leaving=row.is_leaving,
        attested=row.attested,
    )
