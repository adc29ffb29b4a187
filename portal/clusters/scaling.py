"""Changing the nodes of a cluster: how many, and which."""

from django.db import transaction

from portal.access.types import Access
from portal.clusters.errors import UnableToChangeCluster
from portal.clusters.models import Cluster, ClusterStatus, Membership, Operation, OperationKind
from portal.clusters.operations.opening import cluster_locked, operation_begin
from portal.clusters.selectors import node_get
from portal.core.errors import Invalid
from portal.plans.selectors import estimate, fault_budget

TWO_NODES = 2


def cluster_scale(access: Access, cluster: Cluster, *, nodes: int) -> tuple[Cluster, Operation]:
    """Have a cluster of another size, which serves meanwhile.

    Raises:
        Invalid: the plan is not offered in that size, or nobody should have it.
        UnableToChangeCluster: it has that size, its state forbids it, or another operation is open.
    """
    if nodes == TWO_NODES:
        detail = "Two nodes are less available than one: both must be up. Choose one, or three."
        raise Invalid(errors=[{"pointer": "/nodes", "detail": detail}])
    estimate(cluster.plan, nodes)
    with transaction.atomic():
        locked = cluster_locked(cluster)
        _require_changeable(locked)
        if nodes == locked.size:
            raise UnableToChangeCluster(f"The cluster has {nodes} nodes already.")
        params: dict[str, object] = {"nodes": nodes, "from": locked.size}
        locked.desired_nodes = nodes
        locked.save(update_fields=["desired_nodes"])
        return operation_begin(
            access, locked, OperationKind.SCALE, "cluster.scale_requested", params=params
        )


def cluster_replace_node(
    access: Access, cluster: Cluster, *, node: int
) -> tuple[Cluster, Operation]:
    """Have a new node take the place of one that is dead, damaged or not trusted any more.

    Raises:
        NotFound: it has no such node.
        UnableToChangeCluster: the node is no member, the state forbids it, or an operation is open.
    """
    found = node_get(cluster, node)
    if found.membership != Membership.MEMBER:
        raise UnableToChangeCluster(f"Node {node} still learns; only members can be replaced.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        _require_changeable(locked)
        return operation_begin(
            access,
            locked,
            OperationKind.REPLACE_NODE,
            "cluster.replace_requested",
            params={"node": node},
        )


def change_refusal(cluster: Cluster) -> str:
    """Say why the nodes of a cluster cannot be changed now; empty when they can."""
    seen = cluster.observed or {}
    budget = fault_budget(cluster.size)
    if cluster.deleted_at is not None:
        return "The cluster is in the recycle bin: restore it first."
    match cluster.status:
        case ClusterStatus.PAUSED:
            return "The cluster is paused: resume it first."
        case ClusterStatus.RUNNING | ClusterStatus.DEGRADED:
            pass
        case _:
            words = cluster.get_status_display().lower()
            return f"The cluster is {words}: its nodes can be changed while it runs."
    if not cluster.control_seed or not cluster.genesis:
        return (
            "This cluster was made by a version whose clusters cannot change their nodes. "
            "Create another one and import the data there."
        )
    if not seen.get("has_quorum", True):
        return (
            f"Only {seen.get('ready', 0)} of {cluster.size} nodes are ready. A change of nodes is "
            f"decided by a quorum, which is {budget.quorum}: bring nodes back first."
        )
    return ""


def _require_changeable(cluster: Cluster) -> None:
    reason = change_refusal(cluster)
    if reason:
        raise UnableToChangeCluster(reason)
