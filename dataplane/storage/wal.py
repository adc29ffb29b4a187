"""The write-ahead log: what was synced is never lost silently, what was not is cut off cleanly.

Only bytes behind the last sync may be thrown away at start. To tell a torn tail from damage, every
burst begins with a mark that says how far the log had been synced before it, and a small position
file says the same about the last burst. Damage in front of either is a `CorruptionError`.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dataplane.storage.errors import (
    CorruptionError,
    FatalStorageError,
    MissingLogError,
    StaleLogError,
)
from dataplane.storage.files import open_private, sync_directory
from dataplane.storage.ports import Ciphers
from dataplane.storage.records import (
    CHAIN_START,
    KIND_DATA,
    KIND_MARK,
    RECORD_BYTES_MAX,
    Mark,
    Record,
    decode_mark,
    encode_mark,
    find_marks,
)
from dataplane.storage.segments import HEADER_BYTES_MAX, SegmentFormat, new_format, read_format

SEGMENT_BYTES: Final = 64 * 1024 * 1024
_POSITION_FILE: Final = "position"
_SUFFIX: Final = ".wal"
_DRAFT_SUFFIX: Final = ".resealing"
_RESEAL_BYTES: Final = 256 * 1024
"""So much of a segment is sealed anew at a time."""


@dataclass(slots=True)
class Segment:
    """A segment file and the highest label in it."""

    number: int
    path: Path
    format: SegmentFormat
    label_max: int = 0


class WriteAheadLog:
    """An append-only log of labelled records in segments.

    `append` only buffers and may run while another thread is inside `sync`; `sync` writes what was
    buffered and returns when it is on disk. One thread appends, one syncs. After any
    `FatalStorageError` the log refuses to work: the process must end, because a failed sync may
    have dropped data that a retry would report as written.
    """

    def __init__(
        self,
        path: Path,
        *,
        recorded_incarnation: int = 0,
        is_replacement: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        ciphers: Ciphers | None = None,
    ) -> None:
        """Open or create the log in directory `path`.

        Args:
            path: The directory of the segments; nothing else may live there.
            recorded_incarnation: The highest incarnation known elsewhere (see `directory.py`); a
                log that does not know it was lost or restored from a backup.
            is_replacement: The log takes the place of a lost one and need not know about it.
            segment_bytes: A segment is closed when it is at least this long.
            ciphers: What new segments are sealed with, and old ones are opened with.

        Raises:
            CorruptionError: Synced bytes are damaged or gone.
            UnknownKeyError: A segment is sealed under a key that `ciphers` does not hold.
            MissingLogError: There is no log although there was one.
            StaleLogError: The log is older than it should be.
            FatalStorageError: The operating system refused.
        """
        assert segment_bytes > 0
        self._path = path
        self._segment_bytes = segment_bytes
        self._ciphers = ciphers
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._files = threading.Lock()
        """Held while a file of a closed segment is replaced or removed."""
        self._buffer: list[tuple[int, bytes]] = []
        self._appended = 0
        self._failed = False
        self._closed = False
        self._chain = CHAIN_START
        self._segments: list[Segment] = []
        self._synced_offset = 0
        self.incarnation = 0
        with self._fatal("open"):
            path.mkdir(parents=True, exist_ok=True)
            self._position_fd = os.open(path / _POSITION_FILE, os.O_RDWR | os.O_CREAT, 0o600)
            self._recover()
            if not is_replacement:
                self._check_incarnation(recorded_incarnation)
            self.incarnation = max(self.incarnation, recorded_incarnation) + 1
        with self._fatal("open"):
            self._write([], self._offset)

    def append(self, records: Iterable[bytes], *, label: int = 0) -> int:
        """Buffer records and return the position a `sync` must reach to cover them.

        `label` is any number that does not fall over time, such as the consensus sequence the
        records belong to; `truncate_before` goes by it.
        """
        assert not self._closed, "append to a closed log"
        with self._lock:
            for payload in records:
                assert len(payload) < RECORD_BYTES_MAX // 2, "record too long"
                self._buffer.append((label, payload))
                self._appended += 1
            return self._appended

    def sync(self) -> int:
        """Write and fdatasync everything appended so far; return the position reached.

        Raises:
            FatalStorageError: It is unknown what reached the disk; end the process.
        """
        if self._failed:
            raise FatalStorageError("the log failed before")
        assert not self._closed, "sync of a closed log"
        with self._lock:
            buffer, self._buffer = self._buffer, []
            position = self._appended
        if buffer:
            with self._writing, self._fatal("sync"):
                self._write(buffer, self._synced_offset)
        return position

    def replay(self, from_label: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (label, record) in order, of every segment that may hold labels >= `from_label`.

        Records of lower labels in those segments are yielded too. What is synced after the
        iteration reached its segment is left out.

        Raises:
            CorruptionError: A record is damaged.
        """
        for segment in list(self._segments):
            last = segment is self._segments[-1]
            if last or segment.label_max >= from_label:
                end = self._synced_offset if last else None
                yield from self._replay_segment(segment, end)

    def begin_segment(self) -> None:
        """Let nothing more be written to a segment that is not written as what is written now.

        Raises:
            FatalStorageError: It is unknown what reached the disk; end the process.
        """
        with self._writing, self._fatal("roll"):
            if not self._segments[-1].format.is_current(self._ciphers):
                self._write([], self._synced_offset)

    def use(self, ciphers: Ciphers) -> None:
        """Seal what is written from now on."""
        self._ciphers = ciphers

    def truncate_before(self, label: int) -> int:
        """Remove the oldest segments that hold only labels below `label`; return how many.

        Call it from the thread that syncs. The segment being written always stays.
        """
        removed = 0
        with self._fatal("truncate"), self._files:
            while len(self._segments) > 1 and self._segments[0].label_max < label:
                self._segments.pop(0).path.unlink()
                removed += 1
            if removed:
                sync_directory(self._path)
        return removed

    def close(self) -> None:
        """Sync and release the files; calling it again does nothing."""
        if self._closed:
            return
        try:
            if not self._failed:
                self.sync()
        finally:
            self._closed = True
            os.close(self._fd)
            os.close(self._position_fd)

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments on disk."""
        return sum(segment.path.stat().st_size for segment in list(self._segments))

    def _write(self, records: list[tuple[int, bytes]], synced_offset: int) -> None:
        """Write one burst behind a mark of what was synced before it, and sync it."""
        if not self._segments[-1].format.is_current(self._ciphers):
            self._roll()
            synced_offset = self._synced_offset
        mark = Mark(self._segments[-1].number, synced_offset, self.incarnation)
        pending = [self._encode(KIND_MARK, 0, encode_mark(mark), self._offset)]
        length = len(pending[0])
        for label, payload in records:
            if self._offset + length >= self._segment_bytes:
                self._write_out(pending)
                self._roll()
                pending, length = [], 0
            segment = self._segments[-1]
            segment.label_max = max(segment.label_max, label)
            pending.append(self._encode(KIND_DATA, label, payload, self._offset + length))
            length += len(pending[-1])
        self._write_out(pending)
        _fdatasync(self._fd)
        self._synced_offset = self._offset
        # Written behind the sync and not synced itself: after a crash it is a lower bound.
        synced = Mark(self._segments[-1].number, self._offset, self.incarnation)
        os.pwrite(self._position_fd, encode_mark(synced), 0)

    def _encode(self, kind: int, label: int, payload: bytes, offset: int) -> bytes:
        encoded, self._chain = self._segments[-1].format.encode(
            self._chain, kind=kind, label=label, payload=payload, offset=offset
        )
        return encoded

    def _write_out(self, pending: list[bytes]) -> None:
        view = memoryview(b"".join(pending))
        while view:
            written = os.write(self._fd, view)
            self._offset += written
            view = view[written:]

    def _roll(self) -> None:
        """Close the full segment for good before the next one exists."""
        _fdatasync(self._fd)
        os.close(self._fd)
        self._create_segment(self._segments[-1].number + 1)

    def _create_segment(self, number: int) -> None:
        path = self._path / f"{number:016d}{_SUFFIX}"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._offset = 0
        written_as = new_format(number, self._chain, self._ciphers)
        self._write_out([written_as.header])
        _fdatasync(self._fd)
        sync_directory(self._path)
        self._segments.append(Segment(number, path, written_as))
        self._synced_offset = self._offset

    def _recover(self) -> None:
        """Verify every segment, cut the torn tail and stand behind the last good record."""
        for draft in self._path.glob(f"*{_DRAFT_SUFFIX}"):
            draft.unlink()
        position = decode_mark(os.pread(self._position_fd, 4096, 0))
        paths = sorted(self._path.glob(f"*{_SUFFIX}"))
        if not paths:
            if position is not None:
                raise MissingLogError("every segment of the log is gone")
            self._create_segment(1)
            return
        for path in paths:
            self._recover_segment(path, last=path == paths[-1], position=position)
        if position is not None and position.segment > self._segments[-1].number:
            raise CorruptionError("the newest segment of the log is gone")
        segment = self._segments[-1]
        self._fd = os.open(segment.path, os.O_RDWR)
        if os.fstat(self._fd).st_size > self._offset:
            os.ftruncate(self._fd, self._offset)
        # The tail may be intact without ever having been synced; from here on it counts.
        os.fsync(self._fd)
        os.lseek(self._fd, self._offset, os.SEEK_SET)
        self._synced_offset = self._offset

    def _recover_segment(self, path: Path, *, last: bool, position: Mark | None) -> None:
        data = path.read_bytes()
        number = int(path.stem)
        synced = position.offset if position is not None and position.segment == number else 0
        found = read_format(data, self._ciphers)
        if found is None:
            # Only a crash inside _create_segment leaves a broken header: nothing follows it.
            if not last or not self._segments or synced or len(data) > HEADER_BYTES_MAX:
                raise CorruptionError(f"damaged header of {path.name}")
            path.unlink()
            return
        written_as, named, chain = found
        if named != number or (self._segments and number != self._segments[-1].number + 1):
            raise CorruptionError(f"unexpected segment {path.name}")
        if self._segments and chain != self._chain:
            raise CorruptionError(f"{path.name} does not continue the segment before it")
        segment = Segment(number, path, written_as)
        self._chain = chain
        offset = len(written_as.header)
        while (record := written_as.read(data, offset, self._chain)) is not None:
            offset, self._chain = record.end, record.chain
            segment.label_max = max(segment.label_max, record.label)
            if record.kind == KIND_MARK and (mark := decode_mark(record.payload)) is not None:
                self.incarnation = max(self.incarnation, mark.incarnation)
        if offset < len(data) or offset < synced:
            later = (mark.offset for mark in find_marks(data, offset) if mark.segment == number)
            if not last or max(synced, *later, 0) > offset:
                raise CorruptionError(f"damaged record at {offset} of {path.name}")
        self._segments.append(segment)
        self._offset = offset

    def _check_incarnation(self, recorded: int) -> None:
        if recorded and not self.incarnation:
            raise MissingLogError(f"no log, but incarnation {recorded} had one")
        if self.incarnation < recorded:
            raise StaleLogError(f"log of incarnation {self.incarnation}, expected {recorded}")

    def _replay_segment(self, segment: Segment, end: int | None) -> Iterator[tuple[int, bytes]]:
        data = self._read(segment, end)
        for record in self._records(segment, data):
            if record.kind == KIND_DATA:
                yield record.label, record.payload

    @staticmethod
    def _read(segment: Segment, end: int | None) -> bytes:
        with segment.path.open("rb") as file:
            return file.read() if end is None else file.read(end)

    def _records(self, segment: Segment, data: bytes) -> Iterator[Record]:
        found = read_format(data, self._ciphers)
        if found is None:
            raise CorruptionError(f"damaged header of {segment.path.name}")
        written_as, _, chain = found
        offset = len(written_as.header)
        while offset < len(data):
            record = written_as.read(data, offset, chain)
            if record is None:
                raise CorruptionError(f"damaged record at {offset} of {segment.path.name}")
            offset, chain = record.end, record.chain
            yield record

    # --- Another key ----------------------------------------------------------------------------

    def stale_count(self) -> int:
        """Return how many segments are not written as what is written now."""
        return sum(not s.format.is_current(self._ciphers) for s in list(self._segments))

    def reseal(self) -> Iterator[None]:
        """Write every closed segment anew as what is written now, a little at a time.

        The segment being written is closed by the next `sync`. What is done when a crash comes is
        done; a half-written file is dropped at the next start.

        Raises:
            FatalStorageError: The operating system refused.
            CorruptionError: A record is damaged.
        """
        with self._fatal("reseal"):
            for segment in list(self._segments)[:-1]:
                if not segment.format.is_current(self._ciphers):
                    yield from self._reseal_segment(segment)

    def _reseal_segment(self, segment: Segment) -> Iterator[None]:
        draft = segment.path.with_suffix(_DRAFT_SUFFIX)
        with self._files:
            if segment not in self._segments:
                return
            data = self._read(segment, None)
        first = read_format(data, self._ciphers)
        if first is None:
            raise CorruptionError(f"damaged header of {segment.path.name}")
        chain = first[2]
        written_as = new_format(segment.number, chain, self._ciphers)
        with open_private(draft) as file:
            pending, size, offset = [written_as.header], 0, len(written_as.header)
            for record in self._records(segment, data):
                encoded, chain = written_as.encode(
                    chain,
                    kind=record.kind,
                    label=record.label,
                    payload=record.payload,
                    offset=offset,
                )
                pending.append(encoded)
                offset, size = offset + len(encoded), size + len(encoded)
                if size > _RESEAL_BYTES:
                    _write_synced(file, pending)
                    pending, size = [], 0
                    yield
            _write_synced(file, pending)
        with self._files:
            if segment not in self._segments:
                draft.unlink()
                return
            draft.replace(segment.path)
            segment.format = written_as
            sync_directory(self._path)
        yield

    @contextlib.contextmanager
    def _fatal(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failed = True
            raise FatalStorageError(f"{action} of {self._path}: {error}") from error


def _write_synced(file: BinaryIO, pending: list[bytes]) -> None:
    file.write(b"".join(pending))
    file.flush()
    _fdatasync(file.fileno())


def _fdatasync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)
