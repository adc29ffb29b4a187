"""Writing operations down: one at a time for a cluster, priced, recorded and given to a worker."""

from decimal import Decimal

from celery import current_app
from django.db import transaction

from portal.access.types import Access
from portal.audit.services import Actor, audit_record
from portal.clusters.errors import ExperimentRunning, UnableToChangeCluster
from portal.clusters.models import (
    BREAKING_KINDS,
    FINAL,
    Cluster,
    ClusterStatus,
    Operation,
    OperationKind,
)
from portal.clusters.operations.live import announce_cluster
from portal.clusters.operations.plans import operation_budget
from portal.clusters.selectors import experiment_broken
from portal.core import clock
from portal.core.tenancy import current_schema
from portal.plans.selectors import node_hour_price

STATUS_WHILE = {
    OperationKind.CREATE: ClusterStatus.PROVISIONING,
    OperationKind.DELETE: ClusterStatus.DELETING,
    OperationKind.RESTORE_DELETED: ClusterStatus.PROVISIONING,
    OperationKind.PURGE: ClusterStatus.DELETING,
    OperationKind.SCALE: ClusterStatus.SCALING,
    OperationKind.RESTORE_BACKUP: ClusterStatus.PROVISIONING,
}


def operation_begin(
    who: Access | Actor,
    cluster: Cluster,
    kind: OperationKind,
    action: str,
    *,
    params: dict[str, object] | None = None,
    confirmed: bool = False,
) -> tuple[Cluster, Operation]:
    """Write an operation down, behind the one at work if there is one.

    Raises:
        UnableToChangeCluster: another operation of the cluster is not over.
        ExperimentRunning: nodes of it are broken on purpose.
    """
    if kind not in BREAKING_KINDS and (running := experiment_broken(cluster)) is not None:
        raise ExperimentRunning(
            "Nodes of this cluster are broken on purpose: revert that first, on its page Chaos.",
            experiment=str(running.pk),
        )
    at_work = operation_unfinished(cluster)
    if at_work is not None and not (confirmed and at_work.kind == OperationKind.RESTART_NODE):
        raise UnableToChangeCluster(
            f"Another operation is not over yet: {at_work.get_kind_display().lower()}, "
            f"{at_work.state}. Wait for it, or cancel it.",
            operation=str(at_work.pk),
        )
    operation = operation_insert(who, cluster, kind, params or {})
    if kind in STATUS_WHILE:
        cluster.status = STATUS_WHILE[kind]
        cluster.save(update_fields=["status"])
        announce_cluster(cluster)
    cluster_record(who, action, cluster, after={"operation": str(operation.pk), **(params or {})})
    return cluster, operation


def operation_insert(
    who: Access | Actor, cluster: Cluster, kind: OperationKind, params: dict[str, object]
) -> Operation:
    """Write an operation down with its price and deadline, and wake a worker."""
    now = clock.now()
    operation = Operation.objects.create(
        cluster=cluster,
        kind=kind,
        params=params,
        deadline_at=now + operation_budget(kind),
        requested_by=who.label if isinstance(who, Actor) else who.user.email,
        created_at=now,
        cost_delta=_cost_delta(cluster, kind),
    )
    operation_enqueue(operation)
    return operation


def _cost_delta(cluster: Cluster, kind: OperationKind) -> Decimal | None:
    """Return by how much the organization's cost of an hour changes."""
    price = node_hour_price(cluster.plan)
    match kind:
        case OperationKind.CREATE | OperationKind.RESTORE_DELETED:
            return None if price is None else price * cluster.desired_nodes
        case OperationKind.DELETE:
            return None if price is None else -price * cluster.desired_nodes
        case OperationKind.SCALE:
            return None if price is None else price * (cluster.desired_nodes - cluster.size)
        case _:
            return Decimal(0)


def operation_enqueue(operation: Operation) -> None:
    """Wake a worker at commit; should the broker be away, the sweep does it later."""
    schema, operation_id = current_schema(), str(operation.pk)

    def send() -> None:
        current_app.send_task(
            "clusters.operation_run",
            kwargs={"schema": schema, "operation_id": operation_id},
            expires=60,
            retry=False,
        )

    transaction.on_commit(send, robust=True)


def operation_unfinished(cluster: Cluster, kind: OperationKind | None = None) -> Operation | None:
    """Return the oldest operation of a cluster that is not over."""
    rows = Operation.objects.filter(cluster=cluster).exclude(state__in=FINAL).order_by("pk")
    return (rows.filter(kind=kind) if kind else rows).first()


def cluster_locked(cluster: Cluster) -> Cluster:
    """Return the row afresh, locked until the transaction ends."""
    return Cluster.objects.select_for_update().get(pk=cluster.pk)


def cluster_record(
    who: Access | Actor,
    action: str,
    cluster: Cluster,
    *,
    before: dict[str, object] | None = None,
    after: dict[str, object] | None = None,
) -> None:
    """Put into the audit trail what was done to a cluster."""
    audit_record(
        access_or_actor=who,
        action=action,
        target_type="cluster",
        target_id=cluster.pk,
        target_label=cluster.name,
        before=before,
        after=after,
    )


def operation_record(who: Access | Actor, action: str, operation: Operation) -> None:
    """Put into the audit trail what was done to an operation."""
    after: dict[str, object] = {"operation": str(operation.pk), "kind": operation.kind}
    cluster_record(who, action, operation.cluster, after=after)
