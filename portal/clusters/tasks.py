"""Background work of clusters."""

from datetime import timedelta
from uuid import UUID

from celery import shared_task
from celery.signals import worker_shutting_down

from portal.clusters.accountability.fetching import has_news
from portal.clusters.accountability.services import evidence_collect as collect
from portal.clusters.chaos.services import experiments_revert_due as revert_due
from portal.clusters.models import Cluster, ClusterStatus
from portal.clusters.operations.engine import cluster_lock, operation_advance, turns_end
from portal.clusters.operations.observation import cluster_observe
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import operations_unfinished
from portal.clusters.services import clusters_purge_due
from portal.core import clock
from portal.core.tenancy import (
    current_schema,
    tenant_context,
    tenant_task,
    tenants,
    tenants_each,
)

OBSERVED_STATUSES = (ClusterStatus.RUNNING, ClusterStatus.DEGRADED)
OBSERVE_AGE_MIN = timedelta(seconds=2)
MESSAGE_EXPIRES_S = 4
EVIDENCE_LOCK = 0x6576_6964  # "evid": one reader of a cluster's proofs at a time.


@worker_shutting_down.connect
def worker_ends(**_details: object) -> None:
    """Cut turns short, or the worker would wait for nodes that are being stopped like itself."""
    turns_end()


@tenant_task(name="clusters.operation_run")
def operation_run(operation_id: str) -> None:
    """Work on an operation; the sweep asks again while it is unfinished."""
    if operation_advance(UUID(operation_id)):
        return
    # One that waited behind this one need not wait for the sweep.
    for waiting in operations_unfinished()[:1]:
        operation_run.apply_async(
            kwargs={"schema": current_schema(), "operation_id": str(waiting)},
            expires=MESSAGE_EXPIRES_S,
        )


@shared_task(name="clusters.operations_sweep")
def operations_sweep() -> None:
    """Ask workers for every unfinished operation: whatever died, somebody goes on."""
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            unfinished = operations_unfinished()
        for operation_id in unfinished:
            operation_run.apply_async(
                kwargs={"schema": tenant.schema_name, "operation_id": str(operation_id)},
                expires=MESSAGE_EXPIRES_S,
            )


@tenant_task(name="clusters.observe")
def observe(cluster_id: str) -> None:
    """Look at one cluster, unless an operation is at work on it."""
    cluster = (
        Cluster.objects.filter(pk=cluster_id, status__in=OBSERVED_STATUSES)
        .prefetch_related("nodes")
        .first()
    )
    if cluster is None:
        return
    if cluster.observed_at and clock.now() - cluster.observed_at < OBSERVE_AGE_MIN:
        return
    with cluster_lock(cluster.pk) as is_mine:
        if is_mine:
            cluster_observe(cluster, driver())
    if is_mine and any(has_news(node) for node in cluster.nodes.all()):
        evidence_collect.apply_async(
            kwargs={"schema": current_schema(), "cluster_id": cluster_id},
            expires=MESSAGE_EXPIRES_S,
        )


@tenant_task(name="clusters.evidence_collect")
def evidence_collect(cluster_id: str) -> None:
    """Read from the nodes of a cluster what proofs they keep that the portal does not know.

    One at a time: a liar can make hundreds, and every look at the cluster asks for this again.
    """
    with cluster_lock(UUID(cluster_id), purpose=EVIDENCE_LOCK) as is_mine:
        cluster = Cluster.objects.filter(pk=cluster_id).prefetch_related("nodes").first()
        if is_mine and cluster is not None and cluster.admin_key:
            collect(cluster)


@shared_task(name="clusters.observe_all")
def observe_all() -> None:
    """Ask workers to look at every cluster in use."""
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            found = list(
                Cluster.objects.filter(status__in=OBSERVED_STATUSES).values_list("pk", flat=True)
            )
        for cluster_id in found:
            observe.apply_async(
                kwargs={"schema": tenant.schema_name, "cluster_id": str(cluster_id)},
                expires=MESSAGE_EXPIRES_S,
            )


@shared_task(name="clusters.experiments_revert_due")
def experiments_revert_due() -> None:
    """End experiments whose time is over, whoever started them and whatever died since."""
    tenants_each(lambda: revert_due(now=clock.now()))


@shared_task(name="clusters.purge_due")
def purge_due() -> None:
    """Begin to delete what has been in the recycle bin for its time."""
    tenants_each(lambda: clusters_purge_due(now=clock.now()))
