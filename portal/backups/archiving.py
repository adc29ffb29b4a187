"""Archiving what clusters decide, so that any moment between two backups can be told again.

A worker asks the nodes for what was decided since it last did. Each batch carries the signatures of
the quorum that decided it, which are checked before it is stored, sealed like a backup. Nodes hold
about a thousand batches: should nobody ask in time there is a gap, and the archive begins anew.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec

from dataplane.client.anchors import load_anchor
from dataplane.client.archives import (
    ArchiveDirectory,
    Batches,
    Deciders,
    fetch_batches,
    pack_segment,
    times_of,
    unpack_segment,
)
from dataplane.client.client import Client
from dataplane.client.errors import BackupError, ClientError
from portal.backups.constants import (
    ARCHIVE_AGE,
    ARCHIVE_BATCHES,
    ARCHIVE_LOCK,
    ARCHIVE_ROUNDS_MAX,
)
from portal.backups.errors import ArchiveDamaged, MomentNotKept, ObjectMissing, StoreUnavailable
from portal.backups.keeping import forget_segment, keep_segment, read_segment
from portal.backups.models import ArchiveSegment, Backup, BackupState
from portal.backups.selectors import (
    backup_list,
    backup_newest,
    base_for,
    policy_get,
    segment_list,
    window_of,
)
from portal.clusters.connections import admin_client
from portal.clusters.models import Cluster
from portal.clusters.operations.engine import cluster_lock
from portal.core import clock
from portal.core.streams import SealedStreamDamaged

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0
LOST = frozenset({"gap", "other_epoch"})
"""The archive cannot go on where it was: batches are gone, or who decided them is not known."""


def archive_advance(cluster_id: UUID) -> None:
    """Archive what a cluster decided since the last time, if that is worth a segment."""
    with cluster_lock(cluster_id, purpose=ARCHIVE_LOCK) as is_mine:
        cluster = Cluster.objects.filter(pk=cluster_id).prefetch_related("nodes").first()
        if not is_mine or cluster is None or not cluster.admin_key:
            return
        newest = backup_newest(cluster)
        if newest is None or not policy_get(cluster).window_days:
            return
        try:
            with admin_client(cluster, timeout_s=TIMEOUT_S) as client:
                _archive(cluster, newest, client)
        except (ClientError, StoreUnavailable) as error:
            logger.info("archive.waits", extra={"cluster": str(cluster.pk), "why": str(error)})


def _archive(cluster: Cluster, newest: Backup, client: Client) -> None:
    _settle(cluster)
    last = segment_list(cluster).first()
    after = (newest.sequence or 0) if last is None else last.last
    executed = int(client.stats()["sequence"])
    is_old = last is None or clock.now() - last.created_at >= ARCHIVE_AGE
    if executed - after < ARCHIVE_BATCHES and not (is_old and executed > after):
        return
    # From the oldest backup's members on, the nodes prove who followed whom.
    oldest = backup_list(cluster).filter(state=BackupState.STORED).last() or newest
    try:
        deciders = Deciders(load_anchor(msgspec.json.encode(oldest.anchor)))
        for batches in fetch_batches(client.run, deciders, after, rounds_max=ARCHIVE_ROUNDS_MAX):
            _keep(cluster, batches)
            # What came since the nodes were asked can wait for company.
            if batches.entries[-1].certificate.sequence >= executed:
                break
    except BackupError as error:
        if error.code not in LOST:
            raise
        logger.warning("archive.gap", extra={"cluster": str(cluster.pk), "after": after})
        deciders = Deciders(load_anchor(msgspec.json.encode(newest.anchor)))
        for batches in fetch_batches(client.run, deciders, executed - 1, rounds_max=1):
            _keep(cluster, batches)


def _keep(cluster: Cluster, batches: Batches) -> None:
    times = times_of(batches)
    now = clock.now()
    before = segment_list(cluster).first()
    # What a new view puts where nothing was proposed has no time of its own.
    known = [at_ms for _, at_ms in times if at_ms]
    last_at = _moment(max(known)) if known else now if before is None else before.last_at
    first = times[0][0]
    # The row comes first: an object without one would never be found again.
    segment = ArchiveSegment.objects.create(
        cluster=cluster,
        first=first,
        last=times[-1][0],
        run_first=before.run_first if before and before.last + 1 == first else first,
        first_at=_moment(known[0]) if known else last_at,
        last_at=last_at,
        created_at=now,
    )
    _stored(segment, keep_segment(segment, pack_segment(batches)))


def _stored(segment: ArchiveSegment, size_bytes: int) -> None:
    rows = ArchiveSegment.objects.filter(pk=segment.pk)
    if not rows.update(size_bytes=size_bytes, stored_at=clock.now()):
        # Archiving was given up meanwhile, before there was anything to delete.
        forget_segment(segment)


def _settle(cluster: Cluster) -> None:
    """Take what a worker stored before it died, and forget what it did not store whole."""
    pending = ArchiveSegment.objects.filter(cluster=cluster, stored_at=None)
    for segment in pending.select_related("cluster"):
        try:
            data = read_segment(segment)
        except (ObjectMissing, SealedStreamDamaged):
            forget_segment(segment)
            segment.delete()
        else:
            # Once more: who died did not say how much it takes.
            _stored(segment, keep_segment(segment, data))


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def sequence_at(cluster: Cluster, moment: datetime) -> int:
    """Return the last sequence of a moment: what was agreed on later is not in its state.

    Raises:
        MomentNotKept: the moment is outside what can be told.
        ArchiveDamaged: what was archived then is not what was stored.
        StoreUnavailable: the archive cannot be read.
    """
    window = window_of(cluster)
    if window is None or not window.first_at <= moment <= window.last_at + timedelta(minutes=1):
        raise MomentNotKept("No backup and no archive reach that moment.")
    rows = segment_list(cluster).filter(first__gt=window.first)
    found = rows.filter(first_at__lte=moment).order_by("-first").first()
    if found is None:
        return window.first
    sequence = found.first - 1
    for at, at_ms in times_of(_read(found)):
        if _moment(at_ms) > moment:
            break
        sequence = at
    return max(sequence, window.first)


def segments_write(
    cluster: Cluster, after: int, sequence: int, directory: Path
) -> Iterator[tuple[int, bool]]:
    """Write the part of the archive that leads from one sequence to another into a directory.

    What is there already is not read again. Yields after each segment how far it leads, and whether
    that is far enough, so that whoever asks may stop and go on later.

    Raises:
        StoreUnavailable: it cannot be read.
        ArchiveDamaged: the store changed it.
    """
    archive = ArchiveDirectory(directory)
    rows = segment_list(cluster).filter(last__gt=max(after, archive.last), first__lte=sequence)
    for segment in rows.order_by("first"):
        archive.add(_read(segment))
        yield segment.last, segment.last >= sequence


def _read(segment: ArchiveSegment) -> Batches:
    """Return archived batches; refuse in words that say what is lost with them."""
    try:
        return unpack_segment(read_segment(segment))
    except (SealedStreamDamaged, BackupError) as error:
        raise _damaged(segment) from error


def _damaged(segment: ArchiveSegment) -> ArchiveDamaged:
    """Say which sequences cannot be told: up to the next backup, which needs none of them."""
    window = window_of(segment.cluster)
    after = backup_list(segment.cluster).filter(
        state=BackupState.STORED, sequence__gte=segment.last
    )
    following = after.order_by("sequence").values_list("sequence", flat=True).first()
    ends = max(segment.last, 0 if window is None else window.last)
    last = ends if following is None else following - 1
    words = f"sequence {segment.first:,} to {last:,}"
    rest = "" if following is None else f" The backup at {following:,} and what follows it can."
    return ArchiveDamaged(
        f"What is archived from {segment.first_at:%d %B %Y, %H:%M:%S} to "
        f"{segment.last_at:%H:%M:%S} UTC is damaged: no moment of {words} can be restored.{rest}",
        first=segment.first,
        last=last,
    )


def moment_find(
    cluster: Cluster, *, sequence: int | None = None, time: datetime | None = None
) -> tuple[Backup, int]:
    """Return the backup from which a moment is reached, and its sequence.

    Raises:
        MomentNotKept: neither backups nor archive reach it, or no moment is named.
        ArchiveDamaged: what was archived then is not what was stored.
        StoreUnavailable: the archive cannot be read.
    """
    if sequence is None and time is not None:
        sequence = sequence_at(cluster, time)
    base = None if sequence is None else base_for(cluster, sequence)
    if base is None or sequence is None:
        window = window_of(cluster)
        if window is None or sequence is None or sequence <= window.last:
            raise MomentNotKept("No backup and no archive reach that moment.")
        raise MomentNotKept(
            f"Sequence {sequence:,} is not archived yet; the archive ends at {window.last:,}. What "
            "is decided is archived once a minute."
        )
    return base, sequence
