"""The work of one backup: fetch it from the nodes, check it, store it, read it back.

Nothing of it is half done: until the last step the row says that it is still to be taken, and
whoever takes it begins again.
"""

import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import models, transaction

from dataplane.client.anchors import TrustAnchor
from dataplane.client.backups import BackupReader, Verified, Weighing, verified
from dataplane.client.errors import ClientError, ProofError
from dataplane.client.taking import take_backup
from portal.audit.services import Actor, audit_record
from portal.backups.constants import ATTEMPTS_MAX, BACKUP_LOCK, RETRY_PAUSE, WHOLE_EVERY
from portal.backups.errors import StoreUnavailable
from portal.backups.keeping import KNOWN, STATE, fetch, keep, pieces_of
from portal.backups.models import Backup, BackupState, BackupTrigger
from portal.backups.selectors import backup_newest
from portal.backups.stores import Pieces
from portal.clusters.connections import admin_key, node_urls, trust_anchor
from portal.clusters.models import Cluster
from portal.clusters.operations.engine import cluster_lock
from portal.core import clock, live
from portal.core.streams import SealedStreamDamaged

logger = logging.getLogger(__name__)

FAILURES = (ClientError, StoreUnavailable, SealedStreamDamaged, OSError)


def backup_advance(backup_id: UUID) -> bool:
    """Take a backup that is still to be taken; tell whether it is over."""
    found = Backup.objects.filter(pk=backup_id).values_list("cluster_id", flat=True).first()
    if found is None:
        return True
    with cluster_lock(found, purpose=BACKUP_LOCK) as is_mine:
        if not is_mine:
            return False
        backup = Backup.objects.select_related("cluster", "base").get(pk=backup_id)
        now = clock.now()
        if not backup.is_open:
            return True
        if backup.retry_at is not None and backup.retry_at > now:
            return False
        _begin(backup)
        try:
            _take(backup)
        except FAILURES as error:
            _failed(backup, str(error) or type(error).__name__)
    return not backup.is_open


def _begin(backup: Backup) -> None:
    backup.state, backup.attempt = BackupState.RUNNING, backup.attempt + 1
    backup.started_at = backup.started_at or clock.now()
    backup.base = _base_for(backup)
    backup.save(update_fields=["state", "attempt", "started_at", "base"])
    announce(backup)


def _base_for(backup: Backup) -> Backup | None:
    """Return the whole backup that this one builds on, None when it is to be whole itself.

    One that is no longer offered serves as long as another one that is builds on it: a schedule
    that keeps each for a day would take a whole one every day.
    """
    stored = Backup.objects.filter(cluster=backup.cluster, state=BackupState.STORED)
    bases = stored.filter(expired_at=None).exclude(base=None).values("base")
    serves = models.Q(expired_at=None) | models.Q(pk__in=bases)
    whole = stored.filter(serves, base=None).exclude(pk=backup.pk).first()
    if whole is None or clock.now() - whole.created_at >= WHOLE_EVERY:
        return None
    return whole


def _take(backup: Backup) -> None:
    cluster = backup.cluster
    anchor = trust_anchor(cluster)
    if anchor is None or not cluster.admin_key:
        raise ClientError("the cluster has no nodes that could sign")
    known = b"" if backup.base is None else b"".join(fetch(backup.base, KNOWN))
    newest = backup_newest(cluster)
    with tempfile.TemporaryDirectory(dir=work_dir()) as directory:
        path = Path(directory) / "backup"
        taken = take_backup(
            node_urls(cluster),
            admin_key(cluster),
            anchor,
            path,
            known=known,
            after=0 if newest is None else newest.sequence or 0,
        )
        size_bytes = keep(backup, STATE, pieces_of(path))
    if backup.base is None:
        size_bytes += keep(backup, KNOWN, iter([taken.contents.known]))
    read_back(backup, anchor)
    _stored(backup, taken, anchor, size_bytes)


def work_dir() -> Path:
    """Return the directory for files on their way; what a worker that died left there is old."""
    directory: Path = settings.BACKUP_WORK_DIR
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def read_back(backup: Backup, anchor: TrustAnchor) -> None:
    """Read a backup from the store and hash it to the signed root.

    Raises:
        ProofError: it is not what the nodes signed.
        SealedStreamDamaged: it was changed or cut in the store.
        StoreUnavailable: it cannot be read.
    """
    reader, weighing = BackupReader(Pieces(fetch(backup, STATE))), Weighing()
    for _ in weighing.through(reader.records()):
        pass
    verified(reader.head, weighing.contents(), anchor)


def _stored(backup: Backup, taken: Verified, anchor: TrustAnchor, size_bytes: int) -> None:
    now, head = clock.now(), taken.head
    backup.state, backup.finished_at, backup.verified_at = BackupState.STORED, now, now
    backup.sequence, backup.epoch = head.certificate.sequence, head.epoch
    backup.root, backup.signers = head.certificate.root.hex(), len(taken.signers)
    backup.state_at = datetime.fromtimestamp(head.at_ms / 1000, UTC)
    backup.anchor = msgspec.to_builtins(anchor)
    backup.rows, backup.size_bytes = taken.contents.rows, size_bytes
    backup.problem, backup.retry_at = "", None
    with transaction.atomic():
        backup.save()
        _record(backup, "backup.stored", {"sequence": backup.sequence, "root": backup.root})
        announce(backup)


def _failed(backup: Backup, problem: str) -> None:
    """Try again after a pause, or give up in words."""
    logger.warning("backup.failed", extra={"backup": str(backup.pk), "problem": problem})
    backup.problem = problem[:500]
    if backup.attempt < ATTEMPTS_MAX:
        backup.state = BackupState.QUEUED
        backup.retry_at = clock.now() + RETRY_PAUSE * backup.attempt
    else:
        backup.state, backup.finished_at = BackupState.FAILED, clock.now()
    with transaction.atomic():
        backup.save(update_fields=["state", "problem", "retry_at", "finished_at"])
        if backup.state == BackupState.FAILED:
            _record(backup, "backup.failed", {"problem": backup.problem})
        announce(backup)


def _record(backup: Backup, action: str, after: dict[str, object]) -> None:
    cluster: Cluster = backup.cluster
    audit_record(
        access_or_actor=Actor(label="backups"),
        action=action,
        target_type="cluster",
        target_id=cluster.pk,
        target_label=cluster.name,
        after={"backup": str(backup.pk), "trigger": backup.trigger, **after},
    )


def announce(backup: Backup) -> None:
    """Tell the cluster's watchers how a backup goes."""
    event: dict[str, object] = {
        "type": "backup",
        "id": str(backup.pk),
        "status": backup.state,
        "problem": backup.problem or None,
    }
    group = live.cluster_group(backup.cluster_id)
    transaction.on_commit(lambda: live.publish(group, event))


def safety_backup(cluster: Cluster, requested_by: str) -> Backup:
    """Return the row of a backup that is to be taken before a restore."""
    return Backup.objects.create(
        cluster=cluster,
        trigger=BackupTrigger.SAFETY,
        requested_by=requested_by,
        created_at=clock.now(),
    )


__all__ = ["ProofError", "backup_advance", "read_back", "safety_backup", "work_dir"]
