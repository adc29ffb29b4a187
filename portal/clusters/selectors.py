"""Reading clusters, operations and keys of the organization in force."""

import hashlib
import hmac
from datetime import timedelta
from uuid import UUID

from django.db.models import Count, Prefetch, Q, QuerySet

from dataplane.client.anchors import TrustAnchor
from portal.clusters.connections import trust_anchor
from portal.clusters.models import (
    BROKEN,
    FINAL,
    UNFINISHED,
    ApiKey,
    Cluster,
    Evidence,
    Experiment,
    ExperimentStatus,
    Node,
    Operation,
    OperationState,
)
from portal.core.errors import NotFound

USUAL_RUNS_MAX = 50


def cluster_list(*, with_deleted: bool = False, visible: Q | None = None) -> QuerySet[Cluster]:
    """Return clusters with their nodes (two statements), of these only if a filter is given."""
    rows = Cluster.objects.filter(purged_at=None).prefetch_related(
        Prefetch("nodes", queryset=Node.objects.order_by("index"))
    )
    rows = rows if visible is None else rows.filter(visible)
    return rows if with_deleted else rows.filter(deleted_at=None)


def cluster_get(cluster_id: UUID) -> Cluster:
    """Return a cluster that is not purged, with its nodes.

    Raises:
        NotFound: the organization in force has no such cluster.
    """
    found = cluster_list(with_deleted=True).filter(pk=cluster_id).first()
    if found is None:
        raise NotFound("There is no such cluster.")
    return found


def anchor_get(cluster: Cluster) -> TrustAnchor:
    """Return whose signatures prove what the cluster holds.

    Raises:
        NotFound: its nodes have no keys yet.
    """
    anchor = trust_anchor(cluster)
    if anchor is None:
        raise NotFound("The nodes of the cluster have no keys yet.")
    return anchor


def cluster_names() -> dict[UUID, str]:
    """Return the names of all clusters that are not purged, by id."""
    rows = Cluster.objects.filter(purged_at=None).order_by("name")
    return dict(rows.values_list("pk", "name"))


def cluster_exists(cluster_id: UUID) -> bool:
    """Tell whether the organization in force has the cluster."""
    return Cluster.objects.filter(pk=cluster_id, purged_at=None).exists()


def cluster_by_usage_token(token: str) -> Cluster | None:
    """Find the cluster whose nodes report with this token."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    found = Cluster.objects.filter(usage_token_hash=digest).first()
    if found is None or not hmac.compare_digest(found.usage_token_hash, digest):
        return None
    return found


def node_get(cluster: Cluster, index: int) -> Node:
    """Return a node of a cluster.

    Raises:
        NotFound: it has no node of that index.
    """
    for node in cluster.present_nodes:
        if node.index == index:
            return node
    raise NotFound(f"The cluster has no node {index}.")


def accused_nodes(cluster: Cluster) -> dict[int, int]:
    """Return how many proofs there are against each node that was caught lying.

    What a node was made to say in an experiment counts against it only as long as that goes on.
    """
    is_own = Q(experiment=None) | ~Q(experiment__status=ExperimentStatus.OVER)
    rows = Evidence.objects.filter(is_own, cluster=cluster).order_by().values("node")
    return {row["node"]: row["count"] for row in rows.annotate(count=Count("pk"))}


def experiment_list(cluster: Cluster) -> QuerySet[Experiment]:
    """Return experiments, newest first."""
    return Experiment.objects.filter(cluster=cluster)


def experiment_get(cluster: Cluster, experiment_id: UUID) -> Experiment:
    """Return an experiment.

    Raises:
        NotFound: the cluster had no such experiment.
    """
    found = experiment_list(cluster).filter(pk=experiment_id).first()
    if found is None:
        raise NotFound("There is no such experiment.")
    return found


def experiment_broken(cluster: Cluster) -> Experiment | None:
    """Return the experiment in which nodes are, or may be, broken now."""
    return experiment_list(cluster).filter(status__in=BROKEN).first()


def operation_list(*, visible: Q | None = None) -> QuerySet[Operation]:
    """Return operations with their clusters and steps (two statements)."""
    rows = Operation.objects.select_related("cluster").prefetch_related("steps")
    return rows if visible is None else rows.filter(visible)


def operation_get(operation_id: UUID) -> Operation:
    """Return an operation.

    Raises:
        NotFound: the organization in force has no such operation.
    """
    found = operation_list().filter(pk=operation_id).first()
    if found is None:
        raise NotFound("There is no such operation.")
    return found


def operations_unfinished() -> list[UUID]:
    """Return what workers have to look after, oldest first."""
    rows = Operation.objects.filter(state__in=UNFINISHED).order_by("pk")
    return list(rows.values_list("pk", flat=True))


def operation_open(cluster: Cluster) -> Operation | None:
    """Return the operation that a cluster's page shows: the oldest that is not over."""
    return operation_list().filter(cluster=cluster).exclude(state__in=FINAL).order_by("pk").first()


def stopped_operation(cluster: Cluster) -> Operation | None:
    """Return the operation of a cluster that stopped and waits for a person."""
    return Operation.objects.filter(cluster=cluster, state=OperationState.NEEDS_OPERATOR).first()


def usual_duration(kind: str) -> timedelta | None:
    """Return the median time that past operations of a kind took; None before the first."""
    rows = (
        Operation.objects.filter(kind=kind, state=OperationState.SUCCEEDED)
        .exclude(finished_at=None)
        .order_by("-pk")
        .values_list("created_at", "finished_at")[:USUAL_RUNS_MAX]
    )
    spans = sorted(end - start for start, end in rows if end is not None)
    return spans[len(spans) // 2] if spans else None


def key_list(cluster: Cluster) -> QuerySet[ApiKey]:
    """Return a cluster's keys, newest first, revoked ones included; not the portal's own."""
    return ApiKey.objects.filter(cluster=cluster)


def key_get(cluster: Cluster, key_id: str) -> ApiKey:
    """Return a key.

    Raises:
        NotFound: the cluster has no such key.
    """
    found = ApiKey.objects.filter(cluster=cluster, key_id=key_id).first()
    if found is None:
        raise NotFound("There is no such key.")
    return found
