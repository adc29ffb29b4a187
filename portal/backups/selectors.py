"""Reading backups of the organization in force."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from portal.backups.models import (
    OPEN,
    ArchiveSegment,
    Backup,
    BackupPolicy,
    BackupState,
    BackupTrigger,
    Branch,
    Drill,
    Preview,
    PreviewState,
    Restore,
)
from portal.backups.retention import Grid
from portal.clusters.models import SERVING, Cluster
from portal.core.errors import NotFound


def backup_list(cluster: Cluster) -> QuerySet[Backup]:
    """Return a cluster's backups that are not on their way out, newest first."""
    return Backup.objects.filter(cluster=cluster, expired_at=None)


def backup_get(cluster: Cluster, backup_id: UUID) -> Backup:
    """Return a backup.

    Raises:
        NotFound: the cluster has no such backup.
    """
    found = backup_list(cluster).filter(pk=backup_id).first()
    if found is None:
        raise NotFound("There is no such backup.")
    return found


def backup_newest(cluster: Cluster) -> Backup | None:
    """Return the newest backup that is stored."""
    return backup_list(cluster).filter(state=BackupState.STORED).first()


def backup_open(cluster: Cluster) -> Backup | None:
    """Return the backup of a cluster that is still to be taken."""
    return Backup.objects.filter(cluster=cluster, state__in=OPEN).first()


def backups_open(now: datetime) -> list[UUID]:
    """Return what workers have to take now, oldest first."""
    due = Q(retry_at=None) | Q(retry_at__lte=now)
    return list(
        Backup.objects.filter(due, state__in=OPEN).order_by("pk").values_list("pk", flat=True)
    )


def policy_get(cluster: Cluster) -> BackupPolicy:
    """Return how a cluster is backed up: as everybody's, unless somebody chose otherwise."""
    found = BackupPolicy.objects.filter(cluster=cluster).first()
    return found or BackupPolicy(cluster=cluster)


def grid_of(policy: BackupPolicy) -> Grid:
    """Return what a policy keeps."""
    return Grid(
        hourly=policy.keep_hourly,
        daily=policy.keep_daily,
        weekly=policy.keep_weekly,
        monthly=policy.keep_monthly,
        yearly=policy.keep_yearly,
    )


def next_due(cluster: Cluster, policy: BackupPolicy) -> datetime | None:
    """Return when the next backup of the schedule is due; None when there is no schedule."""
    if not policy.every_hours:
        return None
    last = Backup.objects.filter(cluster=cluster, trigger=BackupTrigger.SCHEDULE).first()
    begun = cluster.ready_at if last is None else last.created_at
    return None if begun is None else begun + timedelta(hours=policy.every_hours if last else 0)


@dataclass(frozen=True, slots=True)
class Window:
    """The moments that can be told: from a backup on, without a gap, to the archive's end."""

    first: int
    last: int
    first_at: datetime
    last_at: datetime


def window_of(cluster: Cluster) -> Window | None:
    """Return what moments between backups can be restored; None while there are none."""
    rows = segment_list(cluster)
    newest, oldest = rows.first(), rows.last()
    if newest is None or oldest is None:
        return None
    # What is older than the window was deleted, also of a run that goes on.
    begins = max(newest.run_first, oldest.first)
    base = (
        backup_list(cluster)
        .filter(state=BackupState.STORED, sequence__gte=begins - 1, sequence__lte=newest.last)
        .order_by("sequence")
        .first()
    )
    if base is None or base.sequence is None or base.state_at is None:
        return None
    return Window(base.sequence, newest.last, base.state_at, newest.last_at)


def segment_list(cluster: Cluster) -> QuerySet[ArchiveSegment]:
    """Return what is archived of a cluster, newest first."""
    return ArchiveSegment.objects.filter(cluster=cluster).exclude(stored_at=None)


def base_for(cluster: Cluster, sequence: int) -> Backup | None:
    """Return the backup from which a sequence can be reached; None when it cannot."""
    window = window_of(cluster)
    if window is None or not window.first <= sequence <= window.last:
        return None
    rows = backup_list(cluster).filter(
        state=BackupState.STORED, sequence__gte=window.first, sequence__lte=sequence
    )
    return rows.order_by("-sequence").first()


def leads_to(backup: Backup, sequence: int) -> bool:
    """Tell whether the archive leads from a backup to a sequence without a gap."""
    window = window_of(backup.cluster)
    return window is not None and window.first <= (backup.sequence or 0) <= sequence <= window.last


def drill_newest(cluster: Cluster) -> Drill | None:
    """Return the last rehearsal of a restore."""
    return Drill.objects.filter(cluster=cluster).first()


def restore_list(cluster: Cluster) -> QuerySet[Restore]:
    """Return what was restored into a cluster, newest first."""
    return Restore.objects.filter(cluster=cluster).select_related("operation")


def restore_get(cluster: Cluster, operation_id: UUID) -> Restore:
    """Return a restore that the nodes have signed.

    Raises:
        NotFound: there is none of that operation.
    """
    found = restore_list(cluster).filter(operation_id=operation_id).first()
    if found is None or not found.certificate:
        raise NotFound("There is no certificate of such a restore.")
    return found


def preview_get(cluster: Cluster, preview_id: UUID) -> Preview:
    """Return a preview of a restore.

    Raises:
        NotFound: the cluster has no such preview, or no longer.
    """
    found = Preview.objects.filter(cluster=cluster, pk=preview_id).first()
    if found is None:
        raise NotFound("There is no such preview, or no longer.")
    return found


def preview_newest(cluster: Cluster, sequence: int) -> Preview | None:
    """Return the last preview of a state."""
    return Preview.objects.filter(cluster=cluster, sequence=sequence).first()


def previews_running() -> list[UUID]:
    """Return the previews that are not over, oldest first."""
    rows = Preview.objects.filter(state=PreviewState.RUNNING).order_by("pk")
    return list(rows.values_list("pk", flat=True))


def branch_of(cluster: Cluster) -> Branch | None:
    """Return where a cluster branched off, if it did."""
    return Branch.objects.select_related("source").filter(cluster=cluster).first()


def branches_among(clusters: list[Cluster]) -> QuerySet[Branch]:
    """Return which of some clusters are branches."""
    return Branch.objects.select_related("source").filter(cluster__in=clusters)


def branch_list(source: Cluster, *, visible: Q | None) -> QuerySet[Branch]:
    """Return the branches of a cluster that are there, newest first, all or those of a filter."""
    rows = Branch.objects.filter(source=source, cluster__purged_at=None)
    rows = rows if visible is None else rows.filter(visible)
    return rows.select_related("cluster", "source")


def clusters_backed_up() -> QuerySet[Backup, UUID]:
    """Return the ids of clusters in use that have a backup: those worth an archive."""
    usable = Backup.objects.filter(
        state=BackupState.STORED, expired_at=None, cluster__status__in=SERVING
    )
    return usable.order_by().values_list("cluster", flat=True).distinct()
