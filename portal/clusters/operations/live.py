"""Telling open pages how an operation goes."""

from django.db import transaction

from portal.clusters.models import Cluster, Operation, StepStatus
from portal.core import live


def announce(operation: Operation) -> None:
    """Tell the cluster's watchers, once the transaction in force is committed."""
    done = [s for s in operation.steps.all() if s.status != StepStatus.SKIPPED]
    event: dict[str, object] = {
        "type": "operation",
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": operation.state,
        "cancel_requested": operation.cancel_requested,
        "error": operation.error or None,
        "next_action": operation.next_action or None,
        "steps": [{"name": s.name, "status": s.status, "waiting_for": s.waiting_for} for s in done],
    }
    group = live.cluster_group(operation.cluster_id)
    transaction.on_commit(lambda: live.publish(group, event))


def announce_cluster(cluster: Cluster) -> None:
    """Tell the cluster's watchers that its status changed."""
    event: dict[str, object] = {
        "type": "cluster",
        "id": str(cluster.pk),
        "status": cluster.status,
        "observed": cluster.observed,
    }
    group = live.cluster_group(cluster.pk)
    transaction.on_commit(lambda: live.publish(group, event))
