"""The two key-value engines: RocksDB on disk, and a sorted map in memory for the simulator."""

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast, override

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)
from rocksdict import Snapshot as RdictSnapshot

from dataplane.storage.errors import DirectoryLockedError, FatalStorageError
from dataplane.storage.ports import CacheFigures, KeyValueStore, Snapshot

BLOCK_CACHE_BYTES: Final = 64 * 1024 * 1024
_WRITE_BUFFER_BYTES: Final = 32 * 1024 * 1024
_COUNTS: Final = re.compile(r"^rocksdb\.block\.cache\.(hit|miss) COUNT : (\d+)$", re.MULTILINE)
_ABSENT: Final = "key not found"


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the first key behind every key that starts with `prefix`; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None


class MemorySnapshot(Snapshot):
    """A copy of a map."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = dict(values)

    @override
    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    @override
    def release(self) -> None:
        self._values = {}


class MemoryStore(KeyValueStore):
    """A sorted map in memory; `flush` promises nothing."""

    def __init__(self, values: Mapping[bytes, bytes] | None = None) -> None:
        self._values: dict[bytes, bytes] = dict(values or {})
        self._keys: list[bytes] = sorted(self._values)

    def copy(self) -> "MemoryStore":
        """Return another store that holds the same."""
        return MemoryStore(self._values)

    @override
    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._values.get(key) for key in keys]

    @override
    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        low = bisect.bisect_left(self._keys, prefix)
        end = prefix_end(prefix)
        high = len(self._keys) if end is None else bisect.bisect_left(self._keys, end)
        if start is not None and not reverse:
            low = max(low, bisect.bisect_left(self._keys, start))
        if start is not None and reverse:
            high = min(high, bisect.bisect_right(self._keys, start))
        indexes = range(high - 1, low - 1, -1) if reverse else range(low, high)
        for index in indexes:
            key = self._keys[index]
            yield key, self._values[key]

    @override
    def scan(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        first, last = (bisect.bisect_left(self._keys, key) for key in (low, high))
        keys = self._keys[first:last]
        entries = [(key, self._values[key]) for key in keys]
        return reversed(entries) if reverse else iter(entries)

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        gone = {key for key, value in changes.items() if value is None and key in self._values}
        fresh = [key for key, value in changes.items() if value is not None]
        fresh = [key for key in fresh if key not in self._values]
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        if gone:
            self._keys = [key for key in self._keys if key not in gone]
        if fresh:
            self._keys.extend(fresh)
            self._keys.sort()

    @override
    def snapshot(self) -> Snapshot:
        return MemorySnapshot(self._values)

    @override
    def flush(self) -> None:
        """Do nothing: memory does not survive a crash."""

    @override
    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class RocksSnapshot(Snapshot):
    """A snapshot of RocksDB.

    Only single keys are read from it: the iterators that this binding makes of a snapshot show the
    newest values, not those of the snapshot.
    """

    def __init__(self, database: Rdict) -> None:
        self._snapshot: RdictSnapshot | None = database.snapshot()

    @override
    def get(self, key: bytes) -> bytes | None:
        assert self._snapshot is not None, "a released snapshot is not read"
        try:
            return cast("bytes", self._snapshot[key])
        except Exception as error:
            # The binding has no other sign for an absent key than these words.
            if str(error) == _ABSENT:
                return None
            raise FatalStorageError(f"read: {error}") from error

    @override
    def release(self) -> None:
        self._snapshot = None


class RocksCursor:
    """Reads ranges of the database as it was when this was made."""

    def __init__(self, database: Rdict) -> None:
        self._iterator = database.iter()

    def under(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Return all entries under a prefix in key order."""
        iterator = self._iterator
        iterator.seek(prefix)
        entries: list[tuple[bytes, bytes]] = []
        while iterator.valid():
            key = cast("bytes", iterator.key())
            if not key.startswith(prefix):
                break
            entries.append((key, cast("bytes", iterator.value())))
            iterator.next()
        return entries


class RocksStore(KeyValueStore):
    """RocksDB with its own log written but not synced, except by `flush`.

    After a crash of the process nothing is lost; after a crash of the machine a prefix of the
    writes is there, each whole.
    """

    def __init__(self, path: Path, *, block_cache_bytes: int = BLOCK_CACHE_BYTES) -> None:
        """Open or create the database in directory `path`.

        Raises:
            DirectoryLockedError: Another process has it open.
            FatalStorageError: RocksDB cannot open it.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._options = _options(block_cache_bytes)
            self._db = Rdict(str(path), self._options)
        except Exception as error:
            kind = DirectoryLockedError if "lock" in str(error).lower() else FatalStorageError
            raise kind(f"cannot open the store in {path}: {error}") from error
        self._write_options = WriteOptions()
        self._write_options.sync = False
        self._cache_bytes = block_cache_bytes
        self._closed = False

    @override
    def get(self, key: bytes) -> bytes | None:
        return cast("bytes | None", self._db.get(key))

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        if not keys:
            return []
        return cast("list[bytes | None]", self._db.get(list(keys)))

    @override
    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        end = prefix_end(prefix)
        if reverse:
            first = end if start is None or (end is not None and start > end) else start
        else:
            first = prefix if start is None else max(start, prefix)
        items = self._db.items(backwards=reverse, from_key=first)
        for key, value in cast("Iterator[tuple[bytes, bytes]]", items):
            if not key.startswith(prefix):
                if reverse and key == end:
                    continue
                return
            yield key, value

    @override
    def scan(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        # An iterator of RocksDB shows the moment at which it was made.
        items = self._db.items(backwards=reverse, from_key=high if reverse else low)
        entries = cast("Iterator[tuple[bytes, bytes]]", items)
        return _down_to(entries, low, high) if reverse else _up_to(entries, high)

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for key, value in changes.items():
            if value is None:
                delete(key)
            else:
                put(key, value)
        self.write_batch(batch)

    def write_batch(self, batch: WriteBatch) -> None:
        """Apply a batch of the engine itself; in raw mode only.

        Raises:
            FatalStorageError: RocksDB cannot write.
        """
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise FatalStorageError(f"write: {error}") from error

    @override
    def snapshot(self) -> Snapshot:
        return RocksSnapshot(self._db)

    def estimate(self) -> int:
        """Return about how many entries there are."""
        return int(self._db.property_int_value("rocksdb.estimate-num-keys") or 0)

    @override
    def cached(self) -> CacheFigures:
        counts = dict(_COUNTS.findall(self._options.get_statistics() or ""))
        return CacheFigures(
            hits=int(counts.get("hit", 0)),
            misses=int(counts.get("miss", 0)),
            size_bytes=int(self._db.property_int_value("rocksdb.block-cache-usage") or 0),
            bytes_max=self._cache_bytes,
        )

    def cursor(self) -> "RocksCursor":
        """Return a reader of ranges that shows this moment; let go of it before `close`."""
        return RocksCursor(self._db)

    @override
    def flush(self) -> None:
        try:
            self._db.flush_wal(sync=True)
        except Exception as error:
            raise FatalStorageError(f"flush: {error}") from error

    @override
    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._db.flush()
            self._db.close()
        except Exception as error:
            raise FatalStorageError(f"close: {error}") from error


def _up_to(entries: Iterator[tuple[bytes, bytes]], high: bytes) -> Iterator[tuple[bytes, bytes]]:
    for entry in entries:
        if entry[0] >= high:
            return
        yield entry


def _down_to(
    entries: Iterator[tuple[bytes, bytes]], low: bytes, high: bytes
) -> Iterator[tuple[bytes, bytes]]:
    for entry in entries:
        if entry[0] < low:
            return
        if entry[0] < high:
            yield entry


def _options(block_cache_bytes: int) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(Cache(block_cache_bytes))
    table.set_bloom_filter(10, block_based=False)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_format_version(5)
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003
    options.set_block_based_table_factory(table)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(3)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_max_background_jobs(2)
    options.set_max_total_wal_size(4 * _WRITE_BUFFER_BYTES)
    options.set_max_open_files(512)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1024 * 1024)
    options.set_paranoid_checks(True)
    # Counting costs a read a tenth of a microsecond, a write nothing that could be measured.
    options.enable_statistics()
    # A torn last write of RocksDB's own log is expected: the consensus log replays it.
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    return options
