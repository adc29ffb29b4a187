"""Everything that takes, keeps and deletes backups."""

import logging
import shutil
from datetime import datetime, timedelta
from typing import Any, Final

from celery import current_app
from django.db import IntegrityError, models, transaction

from portal.access.types import Access
from portal.audit.services import Actor
from portal.backups.constants import (
    EVERY_HOURS,
    KEEP_DAYS_MAX,
    KEEP_MAX,
    MANUAL_MAX,
    NOTE_LENGTH_MAX,
    SAFETY_KEEP,
    WINDOW_DAYS_MAX,
)
from portal.backups.errors import (
    BackupInUse,
    BackupRunning,
    StoreUnavailable,
    TooManyBackups,
    UnableToBackUp,
)
from portal.backups.keeping import forget, forget_segment
from portal.backups.models import (
    OPEN,
    ArchiveSegment,
    Backup,
    BackupPolicy,
    BackupState,
    BackupTrigger,
    BackupVault,
    Restore,
)
from portal.backups.retention import kept
from portal.backups.selectors import grid_of, next_due, policy_get
from portal.backups.taking import announce, work_dir
from portal.clusters.models import (
    FINAL,
    SERVING,
    Cluster,
    ClusterStatus,
    Operation,
    OperationKind,
)
from portal.clusters.operations.opening import (
    cluster_locked,
    cluster_record,
)
from portal.core import clock
from portal.core.errors import Invalid
from portal.core.tenancy import current_schema

logger = logging.getLogger(__name__)

LEFT_BEHIND: Final = timedelta(days=1)
PERIODS: Final = tuple(KEEP_MAX)


def backup_request(
    access: Access, cluster: Cluster, *, note: str = "", keep_days: int | None = None
) -> Backup:
    """Have a backup taken now; it is kept for so many days, for ever when none are named.

    Raises:
        Invalid: the note is too long or the days make no sense.
        UnableToBackUp: the cluster serves nothing now.
        BackupRunning: one is on its way.
        TooManyBackups: delete one first.
    """
    note = " ".join(note.split())
    if len(note) > NOTE_LENGTH_MAX:
        raise _invalid("/note", f"A note has at most {NOTE_LENGTH_MAX} characters.")
    if keep_days is not None and not 1 <= keep_days <= KEEP_DAYS_MAX:
        raise _invalid("/keep_days", f"Choose 1 to {KEEP_DAYS_MAX} days, or none.")
    if cluster.status not in SERVING or cluster.deleted_at is not None:
        raise UnableToBackUp(f"The cluster is {cluster.status}: there is nothing to back up now.")
    now = clock.now()
    with transaction.atomic():
        locked = cluster_locked(cluster)
        manual = Backup.objects.filter(
            cluster=locked, trigger=BackupTrigger.MANUAL, expired_at=None
        )
        if manual.exclude(state=BackupState.FAILED).count() >= MANUAL_MAX:
            raise TooManyBackups(
                f"A cluster keeps at most {MANUAL_MAX} backups on demand; delete one first.",
                limit=MANUAL_MAX,
            )
        backup = _insert(
            locked,
            BackupTrigger.MANUAL,
            access.user.email,
            note=note,
            keep_until=None if keep_days is None else now + timedelta(days=keep_days),
        )
        cluster_record(
            access, "backup.requested", locked, after={"backup": str(backup.pk), "note": note}
        )
    return backup


def _insert(cluster: Cluster, trigger: str, requested_by: str, **fields: Any) -> Backup:
    try:
        with transaction.atomic():
            backup = Backup.objects.create(
                cluster=cluster,
                trigger=trigger,
                requested_by=requested_by,
                created_at=clock.now(),
                **fields,
            )
    except IntegrityError as error:
        raise BackupRunning("A backup of this cluster is on its way already.") from error
    announce(backup)
    backup_enqueue(backup)
    return backup


def backup_enqueue(backup: Backup) -> None:
    """Wake a worker at commit; should the broker be away, the sweep does it later."""
    schema, backup_id = current_schema(), str(backup.pk)

    def send() -> None:
        current_app.send_task(
            "backups.run",
            kwargs={"schema": schema, "backup_id": backup_id},
            expires=60,
            retry=False,
        )

    transaction.on_commit(send, robust=True)


def policy_set(
    access: Access,
    cluster: Cluster,
    *,
    every_hours: int,
    keep: dict[str, int],
    window_days: int | None = None,
) -> BackupPolicy:
    """Say how often a cluster is backed up and what is kept.

    Raises:
        Invalid: a number is not among the choices.
    """
    if every_hours not in EVERY_HOURS:
        raise _invalid("/every_hours", f"One of {', '.join(map(str, EVERY_HOURS))}; 0 is never.")
    for name, limit in KEEP_MAX.items():
        if not 0 <= keep.get(name, 0) <= limit:
            raise _invalid(f"/keep/{name}", f"0 to {limit}.")
    if window_days is not None and not 0 <= window_days <= WINDOW_DAYS_MAX:
        raise _invalid("/window_days", f"0 to {WINDOW_DAYS_MAX}.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        policy = policy_get(locked)
        before = policy_facts(policy)
        policy.every_hours = every_hours
        for name in PERIODS:
            setattr(policy, f"keep_{name}", keep.get(name, 0))
        if window_days is not None:
            policy.window_days = window_days
        policy.updated_at = clock.now()
        policy.save()
        cluster_record(
            access, "backup.policy_changed", locked, before=before, after=policy_facts(policy)
        )
    return policy


def policy_facts(policy: BackupPolicy) -> dict[str, object]:
    """Return a policy as plain values."""
    keep = {name: getattr(policy, f"keep_{name}") for name in PERIODS}
    return {
        "every_hours": policy.every_hours,
        "keep": keep,
        "window_days": policy.window_days,
    }


def backup_delete(access: Access, backup: Backup) -> None:
    """Stop offering a backup; what is stored goes when nothing builds on it any more.

    Raises:
        BackupRunning: it is still being taken.
        BackupInUse: a restore is at work with it.
    """
    if backup.is_open:
        raise BackupRunning("The backup is still being taken.")
    with transaction.atomic():
        locked = cluster_locked(backup.cluster)
        if _in_use(backup):
            raise BackupInUse("A restore is at work with this backup.")
        Backup.objects.filter(pk=backup.pk).update(expired_at=clock.now())
        cluster_record(access, "backup.deleted", locked, after={"backup": str(backup.pk)})


def _in_use(backup: Backup) -> bool:
    """Tell whether a restore is at work that reads it, or that has nothing else to go back to."""
    needs = models.Q(params__backup=str(backup.pk)) | models.Q(params__safety=str(backup.pk))
    rows = Operation.objects.filter(needs, kind=OperationKind.RESTORE_BACKUP)
    return rows.exclude(state__in=FINAL).exists()


# --- What happens by itself -----------------------------------------------------------------------


def backups_schedule_due(*, now: datetime) -> int:
    """Begin the backups that the schedules of clusters in use ask for."""
    usable = Cluster.objects.filter(
        status__in=[ClusterStatus.RUNNING, ClusterStatus.DEGRADED], deleted_at=None
    )
    count = 0
    for cluster in usable:
        due = next_due(cluster, policy_get(cluster))
        if due is None or due > now:
            continue
        if Backup.objects.filter(cluster=cluster, state__in=OPEN).exists():
            continue
        with transaction.atomic():
            _insert(cluster, BackupTrigger.SCHEDULE, "schedule")
        count += 1
    return count


def backups_thin_out(*, now: datetime) -> int:
    """Stop offering what policies do not keep, and delete what nothing builds on."""
    kept_here = models.Q(backups__isnull=False) | models.Q(segments__isnull=False)
    for cluster in Cluster.objects.filter(kept_here).order_by().distinct():
        _thin_out(cluster, now)
        _shorten_archive(cluster, now)
    count = _delete_expired()
    # Whatever copy of them a store may still have, nobody can read it.
    gone = BackupVault.objects.exclude(cluster__purged_at=None)
    gone.filter(cluster__backups=None, cluster__segments=None).delete()
    return count


def _thin_out(cluster: Cluster, now: datetime) -> None:
    offered = Backup.objects.filter(cluster=cluster, expired_at=None).exclude(state__in=OPEN)
    if cluster.purged_at is not None:
        # Deleted for good means what it says.
        offered.update(expired_at=now)
        return
    old_failures = offered.filter(state=BackupState.FAILED, created_at__lt=now - LEFT_BEHIND)
    old_failures.update(expired_at=now)
    stored = offered.filter(state=BackupState.STORED)
    scheduled = stored.filter(trigger=BackupTrigger.SCHEDULE)
    moments = list(scheduled.values_list("pk", "created_at"))
    keeping = set(kept(moments, grid_of(policy_get(cluster))))
    scheduled.filter(pk__in={pk for pk, _ in moments} - keeping).update(expired_at=now)
    safety = models.Q(trigger=BackupTrigger.SAFETY, created_at__lt=now - SAFETY_KEEP)
    stored.filter(models.Q(keep_until__lte=now) | safety).update(expired_at=now)


def _shorten_archive(cluster: Cluster, now: datetime) -> None:
    """Delete archived batches that no moment of the window needs any more."""
    rows = ArchiveSegment.objects.filter(cluster=cluster).select_related("cluster")
    days = policy_get(cluster).window_days
    if cluster.purged_at is None and days:
        begins = now - timedelta(days=days)
        usable = Backup.objects.filter(
            cluster=cluster, state=BackupState.STORED, expired_at=None, state_at__lte=begins
        )
        base = usable.order_by("-sequence").first()
        if base is None:
            return
        rows = rows.filter(last__lte=base.sequence)
    if (begin := _replayed_from(cluster)) is not None:
        rows = rows.filter(last__lte=begin)
    # The oldest first: should the store fail on the way, what is left has no hole.
    for segment in rows.order_by("first"):
        try:
            forget_segment(segment)
        except StoreUnavailable:
            logger.warning("archive.not_deleted", extra={"segment": segment.pk})
            return
        segment.delete()


def _replayed_from(cluster: Cluster) -> int | None:
    """Return the sequence from which on restores at work execute the archive."""
    rows = Restore.objects.filter(backup__cluster=cluster).exclude(to_sequence=None)
    at_work = rows.exclude(operation__state__in=FINAL)
    begin: int | None = at_work.aggregate(begin=models.Min("backup__sequence"))["begin"]
    return begin


def _delete_expired() -> int:
    count = 0
    expired = Backup.objects.exclude(expired_at=None).select_related("cluster")
    for backup in expired.filter(increments=None):
        if _in_use(backup):
            continue
        try:
            forget(backup)
        except StoreUnavailable:
            logger.warning("backup.not_deleted", extra={"backup": str(backup.pk)})
            continue
        with transaction.atomic():
            who = Actor(label="backups")
            after: dict[str, object] = {"backup": str(backup.pk), "sequence": backup.sequence}
            backup.delete()
            cluster_record(who, "backup.gone", backup.cluster, after=after)
        count += 1
    return count


def work_dir_tidy(*, now: datetime) -> None:
    """Remove the files that workers left when they died."""
    for path in work_dir().iterdir():
        if now.timestamp() - path.stat().st_mtime > LEFT_BEHIND.total_seconds():
            shutil.rmtree(path, ignore_errors=True)


def _invalid(pointer: str, detail: str) -> Invalid:
    return Invalid(errors=[{"pointer": pointer, "detail": detail}])
