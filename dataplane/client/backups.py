"""Reading a backup and checking it: functions of the file and of a trust anchor, offline.

Rows are hashed to leaves and leaves to the root with what is written here alone, apart from the
tree of the nodes, so that the two cannot share a mistake. Neither the node that sent the file nor
whoever kept it is trusted. Memory is bounded, however large the file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

import zstandard
from blake3 import blake3

from dataplane.client.anchors import TrustAnchor, follow
from dataplane.client.errors import BackupError
from dataplane.client.folding import ContentDigest, TreeFold
from dataplane.client.proofs import check_certificate
from dataplane.wire.backups import (
    COLLECTION,
    FORMAT,
    LENGTH_BYTES,
    MAGIC,
    RECORD_BYTES_MAX,
    AnyRecord,
    End,
    Head,
    Leaf,
    Row,
    Rows,
    Same,
    decode_record,
)
from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.proofs import (
    BUCKET_ENTRIES_MAX,
    KEY_HASH_BYTES,
)

READ_BYTES: Final = 64 * 1024
WINDOW_BYTES_MAX: Final = 32 * 1024 * 1024
COLLECTIONS_MAX: Final = 10_000
COLLECTION_BYTES_MAX: Final = 128 * 1024
_META: Final = b"M"


class Readable(Protocol):
    """Where a file comes from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...


class _Tally:
    """Counts records, and refuses those that cannot come next."""

    def __init__(self) -> None:
        self._missing = self._rows = self._same = 0

    def count(self, record: AnyRecord) -> None:
        """Take the next one.

        Raises:
            BackupError: `malformed`.
        """
        if self._missing and not isinstance(record, Rows):
            raise BackupError("malformed", "a leaf has not the rows it should have")
        match record:
            case Head():
                raise BackupError("malformed", "a second head")
            case Leaf():
                self._missing = record.entries
            case Rows():
                self._missing -= len(record.rows)
                self._rows += len(record.rows)
            case Same():
                self._same += 1
            case End():
                if (record.rows, record.same) != (self._rows, self._same):
                    raise BackupError("malformed", "it has something else than it says it has")
        if not 0 <= self._missing <= BUCKET_ENTRIES_MAX:
            raise BackupError("malformed", "a leaf has not the rows it should have")


class BackupReader:
    """Reads the records of one file, in order, once."""

    def __init__(self, source: Readable, *, may_break_off: bool = False) -> None:
        """Read the head.

        With `may_break_off` a file that ends early just ends.

        Raises:
            BackupError: `malformed` or `truncated`.
        """
        self._may_break_off = may_break_off
        if _exactly(source, len(MAGIC)) != MAGIC:
            raise BackupError("malformed", "this is no backup")
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
        self._stream = decompressor.stream_reader(
            source,  # type: ignore[arg-type]  # It is read, and nothing else of a file is asked.
            read_size=READ_BYTES,
            read_across_frames=True,
        )
        head = self._next()
        if not isinstance(head, Head):
            raise BackupError("truncated" if head is None else "malformed", "no head")
        if head.format != FORMAT:
            raise BackupError("malformed", f"format {head.format} of a backup is not known")
        self.head = head

    def records(self) -> Iterator[AnyRecord]:
        """Yield what follows the head, the end included, with every leaf whole.

        Raises:
            BackupError: `malformed` or `truncated`.
        """
        tally = _Tally()
        while (record := self._next()) is not None:
            tally.count(record)
            if isinstance(record, End) and self._read(1):
                raise BackupError("malformed", "something follows the end")
            yield record
            if isinstance(record, End):
                return
        if not self._may_break_off:
            raise BackupError("truncated", "the end is missing")

    def _next(self) -> AnyRecord | None:
        """Return the next record, None where the file ends."""
        length = self._read(LENGTH_BYTES)
        if len(length) < LENGTH_BYTES:
            return None
        size_bytes = int.from_bytes(length, "big")
        if size_bytes > RECORD_BYTES_MAX:
            raise BackupError("malformed", "a record is too long")
        data = self._read(size_bytes)
        if len(data) < size_bytes:
            return None
        try:
            return decode_record(data)
        except MalformedMessageError as error:
            raise BackupError("malformed", f"not a record: {error}") from error

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        left = size
        try:
            while left:
                part = self._stream.read(min(left, READ_BYTES))
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        except zstandard.ZstdError as error:
            raise BackupError("malformed", f"damaged: {error}") from error
        return b"".join(parts)


def whole_rows(record: Rows) -> list[Row]:
    """Return the rows of a record, those of cold documents with their bodies.

    Raises:
        BackupError: `malformed`: a body is missing, or is another.
    """
    try:
        return list(record.whole())
    except MalformedMessageError as error:
        raise BackupError("malformed", str(error)) from error


def _exactly(source: Readable, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.read(size - len(data))
        if not part:
            break
        data += part
    return data


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup turned out to hold, whoever signed it."""

    root: bytes
    rows: int
    same: int
    known: bytes
    """For the next incremental backup: see `TreeFold.known`."""
    content: bytes
    """The digest of what a restore brings back; meaningless while subtrees are missing."""
    content_rows: int
    meta: bytes | None
    """The row with the counters of the state."""
    collections: tuple[Row, ...]
    """The rows about collections: few and small, and the first that a restore needs."""


class Weighing:
    """Looks at every record on its way; at the end it knows what the backup holds."""

    def __init__(self) -> None:
        self._fold = TreeFold()
        self._content = ContentDigest()
        self._bucket: list[bytes] = []
        self._leaf: Leaf | None = None
        self._rows = self._same = 0
        self._meta: bytes | None = None
        self._collections: list[Row] = []

    def through(self, records: Iterator[AnyRecord]) -> Iterator[AnyRecord]:
        """Yield the records as they are.

        Raises:
            BackupError: `malformed`.
        """
        for record in records:
            match record:
                case Leaf():
                    self._leaf, self._bucket = record, []
                case Rows():
                    self._take(record)
                case Same():
                    self._same += 1
                    self._fold.add(record.path, record.digest, record.entries)
                case _:
                    pass
            yield record

    def _take(self, rows: Rows) -> None:
        leaf = self._leaf
        if leaf is None:
            raise BackupError("malformed", "rows of no leaf")
        for (key, value), (_, whole) in zip(rows.rows, whole_rows(rows), strict=True):
            key_hash = blake3(key).digest(KEY_HASH_BYTES)
            entry = blake3(key_hash + value).digest()
            if self._bucket and self._bucket[-1][:KEY_HASH_BYTES] >= key_hash:
                raise BackupError("malformed", "the rows of a leaf are not in order")
            self._bucket.append(key_hash + entry)
            # A restore brings cold documents back with their bodies.
            is_cold = whole is not value
            restored = blake3(key_hash + whole).digest() if is_cold else entry
            self._content.add(key, restored)
            if key == _META:
                self._meta = value
            elif key.startswith(COLLECTION):
                self._collect((key, value))
        self._rows += len(rows.rows)
        if len(self._bucket) == leaf.entries:
            digest = blake3(b"B" + b"".join(self._bucket)).digest()
            self._fold.add(leaf.path, digest, leaf.entries)
            self._leaf = None

    def _collect(self, row: Row) -> None:
        if len(self._collections) >= COLLECTIONS_MAX or len(row[1]) > COLLECTION_BYTES_MAX:
            raise BackupError("malformed", "more collections than there can be")
        self._collections.append(row)

    @property
    def known(self) -> bytes:
        """What is complete so far; see `TreeFold.known`."""
        return self._fold.known

    def contents(self) -> Contents:
        """Return what came through."""
        root = self._fold.root()
        return Contents(
            root=root,
            rows=self._rows,
            same=self._same,
            known=self._fold.known,
            content=self._content.digest(),
            content_rows=self._content.rows,
            meta=self._meta,
            collections=tuple(self._collections),
        )


@dataclass(frozen=True, slots=True)
class Verified:
    """What a backup proves."""

    head: Head
    signers: tuple[int, ...]
    validator_count: int
    contents: Contents

    @property
    def is_whole(self) -> bool:
        """Whether it stands alone; otherwise it needs the backups before it."""
        return not self.contents.same

    def in_words(self) -> str:
        """Say what was proven."""
        head, contents = self.head, self.contents
        names = ", ".join(map(str, self.signers))
        parts = (
            f"all {contents.rows} rows of it are here"
            if self.is_whole
            else f"{contents.rows} changed rows of it are here; {contents.same} parts are in the "
            "backups before it"
        )
        return (
            f"This is the state of cluster {head.cluster_id} after sequence "
            f"{head.certificate.sequence}; {parts}.\n"
            f"{len(self.signers)} of the {self.validator_count} nodes of epoch {head.epoch} signed "
            f"it (nodes {names}; {head.certificate.kind} {contents.root.hex()})."
        )


def verify_head(head: Head, anchor: TrustAnchor) -> TrustAnchor:
    """Check who signed for a backup; return the validators of its epoch.

    Raises:
        ProofError: Names the first check that failed.
    """
    if head.cluster_id != anchor.cluster_id:
        raise BackupError("other_cluster", f"the backup is of cluster {head.cluster_id!r}")
    current = follow(anchor, head.changes)
    if head.epoch != current.epoch:
        raise BackupError(
            "other_epoch", f"the backup is of epoch {head.epoch}, trusted is {current.epoch}"
        )
    check_certificate(head.certificate, current)
    return current


def verify_backup(files: list[BinaryIO], anchor: TrustAnchor) -> Verified:
    """Check a backup: alone, or the last of several with the ones before it.

    Raises:
        ProofError: Names the first check that failed; most are `BackupError`s.
    """
    readers = [BackupReader(file) for file in files]
    weighing = Weighing()
    for _ in weighing.through(chained(readers)):
        pass
    return verified(readers[-1].head, weighing.contents(), anchor)


def weigh_backup(files: list[BinaryIO]) -> Verified:
    """Read a backup that nobody needs to have signed: it is of whoever replayed it.

    Raises:
        BackupError: It is not whole, or has not the root that it says.
    """
    readers = [BackupReader(file) for file in files]
    weighing = Weighing()
    for _ in weighing.through(chained(readers)):
        pass
    head, contents = readers[-1].head, weighing.contents()
    if contents.root != head.certificate.root:
        raise BackupError("other_root", "the rows are not those of the root it says")
    return Verified(head, (), 0, contents)


def verified(head: Head, contents: Contents, anchor: TrustAnchor) -> Verified:
    """Compare what came with what was signed.

    Raises:
        ProofError: Names the first check that failed.
    """
    current = verify_head(head, anchor)
    if contents.root != head.certificate.root:
        raise BackupError("other_root", "the rows are not those that were signed")
    signers = tuple(sorted(replica for replica, _ in head.certificate.votes))
    return Verified(head, signers, len(current.validators), contents)


def chained(readers: list[BackupReader]) -> Iterator[AnyRecord]:
    """Yield the records of the last backup, with what it leaves out taken from those before.

    Nothing is believed here: what is put together has a root, which is to be compared.
    """
    records = readers[0].records()
    for reader in readers[1:]:
        records = _merged(records, reader.records())
    return records


def _merged(before: Iterator[AnyRecord], newer: Iterator[AnyRecord]) -> Iterator[AnyRecord]:
    older = _Older(before)
    rows = same = 0
    for record in newer:
        match record:
            case Same():
                found = False
                for kept in older.below(record.path):
                    found = True
                    rows += len(kept.rows) if isinstance(kept, Rows) else 0
                    same += isinstance(kept, Same)
                    yield kept
                if not found:
                    same += 1
                    yield record
            case End():
                yield End(rows, same)
            case Rows():
                rows += len(record.rows)
                yield record
            case _:
                yield record


class _Older:
    """The leaves of an older backup, looked up by rising paths."""

    def __init__(self, records: Iterator[AnyRecord]) -> None:
        self._records = records
        self._current: Leaf | Same | None = None
        self._advance()

    def _advance(self) -> Iterator[AnyRecord]:
        """Go to the next leaf; return the records that were in between."""
        between: list[AnyRecord] = []
        self._current = None
        for record in self._records:
            if isinstance(record, Leaf | Same):
                self._current = record
                break
            if isinstance(record, Rows):
                between.append(record)
        return iter(between)

    def below(self, path: str) -> Iterator[AnyRecord]:
        """Yield everything at or below a path."""
        while self._current is not None and self._current.path < path:
            self._advance()
        while self._current is not None and self._current.path.startswith(path):
            yield self._current
            yield from self._advance()
