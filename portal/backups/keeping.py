"""A backup in the store: sealed under its cluster's own key, read back as files.

The store sees neither documents nor the names of collections, and can change nothing unseen.
"""

import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.db import IntegrityError, transaction

from portal.backups.models import ArchiveSegment, Backup, BackupVault
from portal.backups.stores import object_delete, object_put, object_read
from portal.clusters.models import Cluster
from portal.core.crypto import seal, unseal
from portal.core.streams import open_stream, seal_stream

KEY_BYTES = 32
READ_BYTES = 1024 * 1024
STATE, KNOWN = "state", "known"


def data_key(cluster: Cluster) -> bytes:
    """Return the key of a cluster's backups, made when it is first needed."""
    vault = BackupVault.objects.filter(cluster=cluster).first()
    if vault is None:
        try:
            with transaction.atomic():
                sealed = seal(secrets.token_bytes(KEY_BYTES))
                vault = BackupVault.objects.create(cluster=cluster, data_key=sealed)
        except IntegrityError:
            vault = BackupVault.objects.get(cluster=cluster)
    return unseal(bytes(vault.data_key))


def _key_of(backup: Backup, kind: str) -> str:
    return f"{backup.cluster.data_plane_id}/{backup.pk}.{kind}"


def _context(backup: Backup, kind: str) -> bytes:
    return f"backup|{kind}|{backup.cluster.data_plane_id}|{backup.pk}".encode()


def keep(backup: Backup, kind: str, chunks: Iterable[bytes]) -> int:
    """Seal and store a part of a backup; return the size it takes.

    Raises:
        StoreUnavailable: it was not stored.
    """
    sealed = seal_stream(data_key(backup.cluster), chunks, _context(backup, kind))
    return object_put(_key_of(backup, kind), sealed)


def fetch(backup: Backup, kind: str) -> Iterator[bytes]:
    """Yield what was stored, opened.

    Raises:
        StoreUnavailable: it cannot be read.
        SealedStreamDamaged: it was changed or cut.
    """
    pieces = object_read(_key_of(backup, kind))
    return open_stream(data_key(backup.cluster), pieces, _context(backup, kind))


def forget(backup: Backup) -> None:
    """Delete what is stored of a backup.

    Raises:
        StoreUnavailable: it may still be there.
    """
    for kind in (STATE, KNOWN):
        object_delete(_key_of(backup, kind))


def keep_segment(segment: ArchiveSegment, data: bytes) -> int:
    """Seal and store archived batches; return the size they take.

    Raises:
        StoreUnavailable: they were not stored.
    """
    name = _segment_name(segment)
    sealed = seal_stream(data_key(segment.cluster), iter([data]), name.encode())
    return object_put(name, sealed)


def read_segment(segment: ArchiveSegment) -> bytes:
    """Return archived batches.

    Raises:
        StoreUnavailable: they cannot be read.
        SealedStreamDamaged: they were changed or cut.
    """
    name = _segment_name(segment)
    return b"".join(open_stream(data_key(segment.cluster), object_read(name), name.encode()))


def forget_segment(segment: ArchiveSegment) -> None:
    """Delete archived batches.

    Raises:
        StoreUnavailable: they may still be there.
    """
    object_delete(_segment_name(segment))


def _segment_name(segment: ArchiveSegment) -> str:
    return f"{segment.cluster.data_plane_id}/batches/{segment.first:016d}-{segment.last:016d}"


def pieces_of(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces."""
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            yield piece
