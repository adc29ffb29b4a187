"""Segments of which this node's own fragment is the whole: those of a cluster of one."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, override

from dataplane.documents.cold import ColdReader, SegmentTable
from dataplane.replication.errors import NotReadyError
from dataplane.storage.erasure import digest, fragment_bytes
from dataplane.storage.fragments import fragment_key, unpack
from dataplane.storage.ports import KeyValueStore

KNOWN_BYTES: Final = 32 * 1024 * 1024


class OwnSegments(ColdReader):
    """Reads segments from this node's store, and remembers the last ones."""

    def __init__(
        self, table: Callable[[], SegmentTable], store: Callable[[], KeyValueStore]
    ) -> None:
        """Read what `table` tells from `store`; both may be others after a while."""
        self._table = table
        self._store = store
        self._known: OrderedDict[int, bytes] = OrderedDict()
        self._known_bytes = 0

    @override
    def known(self, number: int) -> bytes | None:
        segment = self._known.get(number)
        if segment is not None:
            self._known.move_to_end(number)
        return segment

    @override
    async def fetch(self, number: int, *, timeout_ms: int) -> bytes | None:
        record = self._table().segment(number)
        if record is None:
            return None
        if record.k != 1:
            raise NotReadyError(f"segment {number} needs fragments of {record.k} members")
        packed = self._store().get(fragment_key(record.collection, number))
        segment = None if packed is None else unpack(packed, fragment_bytes(record.size, 1))
        if segment is not None:
            segment = segment[: record.size]
        if segment is None or digest(segment) != record.digest:
            raise NotReadyError(f"this node's fragment of segment {number} is damaged or missing")
        self._remember(number, segment)
        return segment

    def _remember(self, number: int, segment: bytes) -> None:
        self._known_bytes += len(segment) - len(self._known.pop(number, b""))
        self._known[number] = segment
        while self._known_bytes > KNOWN_BYTES and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._known_bytes -= len(oldest)
