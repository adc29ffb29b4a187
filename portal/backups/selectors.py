"""Reading backups of the organization in force."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet

from portal.backups.models import (
    OPEN,
    Backup,
    BackupPolicy,
    BackupState,
    BackupTrigger,
    Restore,
)
from portal.backups.retention import Grid
from portal.clusters.models import Cluster
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
