"""Asking for restores: in place, into a new cluster, and into a branch that may end by itself."""

import secrets
from typing import Final

from django.db import transaction

from portal.access.types import Access
from portal.backups.errors import BackupNotUsable, MomentNotKept, UnableToBackUp
from portal.backups.models import Backup, Restore
from portal.backups.selectors import leads_to
from portal.clusters.errors import NameNotConfirmed
from portal.clusters.models import Cluster, ClusterStatus, Operation, OperationKind
from portal.clusters.operations.opening import (
    cluster_locked,
    cluster_record,
    operation_begin,
    operation_insert,
)
from portal.clusters.services import cluster_create
from portal.core import clock

RESTORE_ID_BYTES: Final = 16


def restore_in_place(
    access: Access,
    cluster: Cluster,
    backup: Backup,
    *,
    confirm: str,
    to_sequence: int | None = None,
    before_event: int | None = None,
) -> tuple[Cluster, Operation]:
    """Put a cluster back to a backup of itself: addresses, keys and limits stay.

    With `to_sequence` it is put back to that later sequence, by what was archived.

    Raises:
        MomentNotKept: the archive does not lead from the backup to the sequence.
        NameNotConfirmed: `confirm` is not the cluster's name.
        BackupNotUsable: the backup is not stored.
        UnableToBackUp: the cluster does not serve.
        UnableToChangeCluster: another operation is not over.
    """
    if confirm != cluster.name:
        raise NameNotConfirmed(
            f"Type the name of the cluster, {cluster.name}, to replace its data."
        )
    require_restorable(backup, to_sequence)
    if cluster.status not in {ClusterStatus.RUNNING, ClusterStatus.DEGRADED}:
        raise UnableToBackUp(f"The cluster is {cluster.status}; it is restored while it runs.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        _, operation = operation_begin(
            access,
            locked,
            OperationKind.RESTORE_BACKUP,
            "backup.restore_requested",
            params=_params(backup, replace=True, to_sequence=to_sequence),
        )
        _insert_restore(operation, backup, to_sequence, before_event)
    return locked, operation


def restore_new(
    access: Access,
    backup: Backup,
    *,
    name: str,
    nodes: int,
    form_token: str = "",
    to_sequence: int | None = None,
    before_event: int | None = None,
) -> tuple[Cluster, Operation]:
    """Make a new cluster of the same plan and region, and bring a backup into it.

    The same `form_token` again within minutes answers the cluster of the first time.

    Raises:
        BackupNotUsable: the backup is not stored.
        MomentNotKept: the archive does not lead from the backup to the sequence.
        Invalid, NameTaken, TooManyClusters, PlanByContract: as for any new cluster.
    """
    require_restorable(backup, to_sequence)
    source = backup.cluster
    with transaction.atomic():
        cluster, _ = cluster_create(
            access,
            name=name,
            plan=source.plan,
            region=source.region,
            nodes=nodes,
            form_token=form_token,
        )
        known = Restore.objects.filter(cluster=cluster).select_related("operation").first()
        if known is not None:
            return cluster, known.operation
        params = _params(backup, replace=False, to_sequence=to_sequence)
        operation = operation_insert(access, cluster, OperationKind.RESTORE_BACKUP, params)
        _insert_restore(operation, backup, to_sequence, before_event)
        cluster_record(
            access,
            "backup.restore_requested",
            cluster,
            after={"operation": str(operation.pk), "backup": str(backup.pk), "of": source.name},
        )
    return cluster, operation


def require_restorable(backup: Backup, to_sequence: int | None) -> None:
    """Check that a state can be told.

    Raises:
        BackupNotUsable: the backup is not stored.
        MomentNotKept: the archive does not lead from the backup to the sequence.
    """
    if not backup.is_usable:
        raise BackupNotUsable("This backup is not stored: it cannot be restored.")
    if to_sequence not in {None, backup.sequence} and not leads_to(backup, to_sequence):
        raise MomentNotKept("The archive does not lead from this backup to that sequence.")


def _params(backup: Backup, *, replace: bool, to_sequence: int | None) -> dict[str, object]:
    if to_sequence == backup.sequence:
        # The backup itself, which the nodes signed.
        to_sequence = None
    return {
        **({} if to_sequence is None else {"to_sequence": to_sequence}),
        "backup": str(backup.pk),
        "replace": replace,
        "restore_id": secrets.token_hex(RESTORE_ID_BYTES),
    }


def _insert_restore(
    operation: Operation, backup: Backup, to_sequence: int | None, before_event: int | None
) -> None:
    Restore.objects.create(
        operation=operation,
        cluster=operation.cluster,
        backup=backup,
        source_name=backup.cluster.name,
        source_sequence=backup.sequence if to_sequence is None else to_sequence,
        to_sequence=operation.params.get("to_sequence"),
        before_event=before_event,
        created_at=clock.now(),
    )
