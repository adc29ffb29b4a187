"""Steps that stop, recycle, purge and restart."""

from dataplane.client.errors import ArchiveUnavailableError
from portal.clusters.archives import archive_clear, archive_store
from portal.clusters.connections import admin_key
from portal.clusters.constants import RECYCLE_PERIOD
from portal.clusters.errors import StepFailed
from portal.clusters.models import ClusterStatus, Membership, Node
from portal.clusters.operations.changing import leftovers_remove
from portal.clusters.operations.observation import nodes_observe
from portal.clusters.operations.specs import blueprint_of
from portal.clusters.operations.types import Context, Outcome, Waiting
from portal.core import clock
from portal.plans.selectors import fault_budget

RESTART_LAG_MAX = 64


def stop_nodes(context: Context) -> Outcome:
    """Stop every process and wait until none is seen."""
    key = str(context.cluster.pk)
    seen = context.driver.observe(key)
    for index, placed in seen.items():
        if placed.state not in {"stopped", "stopping"}:
            context.driver.stop(key, index)
    up = [index for index, placed in context.driver.observe(key).items() if placed.pid is not None]
    return Waiting(f"{len(up)} processes to end") if up else None


def recycle(context: Context) -> Outcome:
    """Note when the cluster was deleted and until when that can be undone."""
    cluster = context.cluster
    now = clock.now()
    leftovers_remove(context)
    cluster.status = ClusterStatus.DELETED
    cluster.deleted_at = cluster.deleted_at or now
    cluster.purge_at = cluster.purge_at or now + RECYCLE_PERIOD
    cluster.desired_nodes = cluster.size
    cluster.save(update_fields=["status", "deleted_at", "purge_at", "desired_nodes"])
    present = Node.objects.filter(cluster=cluster).exclude(membership=Membership.REMOVED)
    present.update(state="stopped", observed={})
    return None


def recycle_again(context: Context) -> Outcome:
    """Put a cluster back to where it was before it was restored or purged."""
    return recycle(context)


def remove_nodes(context: Context) -> Outcome:
    """Delete processes and data, and wait until the driver knows none of them."""
    key = str(context.cluster.pk)
    known = {node.index for node in context.cluster.nodes.all()}
    for index in sorted(known | set(context.driver.observe(key))):
        context.driver.remove(key, index)
    left = context.driver.observe(key)
    if left:
        return Waiting(f"{len(left)} nodes to be removed")
    context.driver.release(key)
    return None


def clear_archive(context: Context) -> Outcome:
    """Delete what the nodes archived; nobody can read it any more, but somebody pays for it."""
    cluster, archive = context.cluster, archive_store()
    # Only a cluster that encrypts, or did until a moment ago, has an archive.
    if archive is None or not (cluster.wrapped_key or "key" in cluster.erasure):
        return None
    try:
        count = archive_clear(archive, cluster.data_plane_id, context.tell)
    except ArchiveUnavailableError as error:
        return Waiting(f"the store of archives ({error})")
    return Waiting("more archived segments to be deleted") if count is None else None


def close(context: Context) -> Outcome:
    """Forget the secrets; the row stays, because bills and the audit trail name it."""
    cluster = context.cluster
    now = clock.now()
    cluster.status = ClusterStatus.DELETED
    cluster.deleted_at = cluster.deleted_at or now
    cluster.purged_at = cluster.purged_at or now
    cluster.purge_at = None
    cluster.admin_key = cluster.authority = b""
    cluster.control_seed = cluster.token_seed = b""
    cluster.save(
        update_fields=[
            "status",
            "deleted_at",
            "purged_at",
            "purge_at",
            "admin_key",
            "authority",
            "control_seed",
            "token_seed",
        ]
    )
    cluster.nodes.all().delete()
    return None


def restart_check(context: Context) -> Outcome:
    """Note which process is to go, unless the others could not do without it."""
    operation, cluster = context.operation, context.cluster
    index = int(operation.params["node"])
    budget = fault_budget(cluster.size)
    others = [node for node in cluster.members if node.index != index]
    ready = sum(1 for o in nodes_observe(others, admin_key(cluster)) if o.is_ready)
    if ready < budget.quorum and cluster.size > 1 and not operation.params.get("force"):
        raise StepFailed(
            "would_lose_quorum",
            f"Without node {index} only {ready} nodes would be ready; a quorum is "
            f"{budget.quorum}, so nobody could write.",
            "Bring the other nodes up first, then retry; or cancel.",
        )
    placed = context.driver.observe(str(cluster.pk)).get(index)
    operation.params["pid_before"] = None if placed is None else placed.pid
    operation.save(update_fields=["params"])
    return None


def restart(context: Context) -> Outcome:
    """Restart until another process is seen than the one noted before."""
    operation, key = context.operation, str(context.cluster.pk)
    index = int(operation.params["node"])
    placed = context.driver.observe(key).get(index)
    before = operation.params.get("pid_before")
    if placed is not None and placed.is_up and placed.pid != before:
        return None
    if placed is None or placed.state in {"stopped", "failed"} or placed.pid == before:
        # What it is told may be more than when it was placed: where to archive, and with what.
        node = next(node for node in context.cluster.present_nodes if node.index == index)
        context.driver.place(blueprint_of(context.cluster, node))
        context.driver.restart(key, index)
    return Waiting(f"a new process of node {index}")


def restart_ready(context: Context) -> Outcome:
    """Wait until the node serves and has executed what the others have."""
    index = int(context.operation.params["node"])
    found = nodes_observe(context.cluster.members, admin_key(context.cluster))
    own = next(o for o in found if o.index == index)
    newest = max((o.sequence or 0 for o in found), default=0)
    if not own.is_ready:
        return Waiting(f"node {index} to be ready ({own.reason or 'it is starting'})")
    lag = newest - (own.sequence or 0)
    return Waiting(f"node {index} to catch up, {lag} behind") if lag > RESTART_LAG_MAX else None


def restart_undo(context: Context) -> Outcome:
    """Leave no node stopped behind."""
    key, index = str(context.cluster.pk), int(context.operation.params["node"])
    placed = context.driver.observe(key).get(index)
    if placed is None:
        context.driver.start(key, index)
    elif placed.state in {"stopped", "failed"}:
        context.driver.restart(key, index)
    elif placed.is_up:
        return None
    return Waiting(f"process of node {index}")
