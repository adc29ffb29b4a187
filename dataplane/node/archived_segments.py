"""Segments in the archive: sealed and uploaded, read back, and read for whoever needs them."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from dataplane.client.errors import ArchiveUnavailableError, ObjectMissingError
from dataplane.client.spec import Algorithm
from dataplane.documents.cold import SegmentRecord
from dataplane.documents.view import StateView
from dataplane.node.encryption import Encryption
from dataplane.replication.errors import NotReadyError
from dataplane.security.archive_objects import (
    OBJECT_OVERHEAD_BYTES,
    object_key,
    object_name,
    object_place,
    open_object,
    seal_object,
)
from dataplane.storage.erasure import digest
from dataplane.storage.fragments import pack, unpack

if TYPE_CHECKING:
    from dataplane.client.archive_store import ArchiveStore

log = logging.getLogger(__name__)


class NoKeyError(ArchiveUnavailableError):
    """There is no key for objects of this collection (any more), or none on this node."""


class Archive:
    """The archive of one cluster as one node sees it."""

    def __init__(
        self,
        store: "ArchiveStore | None",
        view: StateView,
        encryption: Encryption,
        *,
        cluster_id: str,
    ) -> None:
        """Without a `store` the node has no archive, and can only say so."""
        self.store = store
        self._view = view
        self._encryption = encryption
        self._cluster_id = cluster_id
        self.damaged = 0
        """Objects that were not what they must be."""
        self.failures = 0
        """Calls that the store did not answer."""
        self.uploaded = 0

    @property
    def is_usable(self) -> bool:
        """Whether objects can be sealed and kept."""
        return self.store is not None and self._encryption.archive_keys is not None

    @property
    def gauges(self) -> dict[str, Callable[[], int]]:
        """Return what the metrics page shows."""
        return {
            "archive_enabled": lambda: int(self.is_usable),
            "archive_uploaded": lambda: self.uploaded,
            "archive_damaged": lambda: self.damaged,
            "archive_failures": lambda: self.failures,
            "archive_leaving": lambda: len(self._view.tiers.marked),
            "archive_to_remove": lambda: len(self._view.tiers.left),
        }

    async def read(self, record: SegmentRecord, /, *, timeout_ms: int) -> bytes | None:
        """Return an archived segment; None when it is not there any more.

        Raises:
            NotReadyError: It cannot be had in time; says why.
        """
        number = record.number
        if self.store is None:
            raise NotReadyError(
                f"segment {number} is in the archive, and this node has no archive in its "
                "specification: put the section `archive` back"
            )
        try:
            segment = await self.stored(record, timeout_ms=timeout_ms)
        except ObjectMissingError as error:
            if self._view.tiers.segment(number) is None:
                return None
            self._alarm(record, "missing")
            raise NotReadyError(f"the object of segment {number} is not in the archive") from error
        except ArchiveUnavailableError as error:
            self.failures += 1
            raise NotReadyError(f"the archive cannot be read: {error}") from error
        if segment is None:
            self._alarm(record, "damaged")
            raise NotReadyError(
                f"the object of segment {number} in the archive was changed or damaged: put an "
                "older version of it back"
            )
        return segment

    def _alarm(self, record: SegmentRecord, reason: str) -> None:
        self.damaged += 1
        log.error(
            "archive.object_unusable",
            extra={"segment": record.number, "object": self.name(record), "reason": reason},
        )

    async def stored(self, record: SegmentRecord, *, timeout_ms: int) -> bytes | None:
        """Return a segment as its object in the archive has it, None when that is another.

        Raises:
            ObjectMissingError: There is no such object.
            ArchiveUnavailableError: It cannot be read, or opened, now.
        """
        _, key = self._keys(record)
        assert self.store is not None, "who has no archive reads nothing from it"
        # What is sealed is the segment, compressed where that helps, and one byte that says so.
        size_max = record.size + 1 + OBJECT_OVERHEAD_BYTES
        data = await self.store.get(self.name(record), size_max, timeout_s=timeout_ms / 1000)
        packed = None if data is None else open_object(key, data, self._place(record))
        segment = None if packed is None else unpack(packed, record.size)
        return segment if segment is not None and digest(segment) == record.digest else None

    async def upload(self, record: SegmentRecord, segment: bytes) -> None:
        """Keep a segment in the archive, in the place of whatever is there under its name.

        Raises:
            ArchiveUnavailableError: It may not be there.
        """
        assert digest(segment) == record.digest, "what is uploaded was checked"
        algorithm, key = self._keys(record)
        assert self.store is not None, "who has no archive uploads nothing"
        data = seal_object(key, algorithm, pack(segment), self._place(record))
        await self.store.put(self.name(record), data)
        self.uploaded += 1

    async def remove(self, number: int, plain_digest: bytes) -> bool:
        """Remove the object of a segment that is no more; say whether it is gone.

        Raises:
            ArchiveUnavailableError: It may be there still.
        """
        assert self.store is not None, "who has no archive removes nothing from it"
        name = object_name(self._secret()[1], number, plain_digest)
        await self.store.delete([name])
        return not await self.store.exists(name)

    def name(self, record: SegmentRecord) -> str:
        """Return the name of the object of a segment.

        Raises:
            NoKeyError: This node has no keys.
        """
        return object_name(self._secret()[1], record.number, record.digest)

    def _place(self, record: SegmentRecord) -> bytes:
        return object_place(self._cluster_id, record.collection, record.number, record.digest)

    def _secret(self) -> tuple[Algorithm, bytes]:
        keys = self._encryption.archive_keys
        if keys is None:
            raise NoKeyError("this node is not encrypted, so it opens no object")
        return keys

    def _keys(self, record: SegmentRecord) -> tuple[Algorithm, bytes]:
        """Return with what, and under which key, the object of a segment is sealed."""
        algorithm, secret = self._secret()
        salt = self._view.archiving.salt_of(record.collection)
        if salt is None:
            raise NoKeyError("the collection has no key for the archive (any more)")
        return algorithm, object_key(secret, salt)
