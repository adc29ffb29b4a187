"""Steps that bring a cluster up; each one observes before it acts."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import httpx
from django.db import transaction

from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClientError, KeyProviderError
from dataplane.client.quorum import quorum_size
from portal.clusters.connections import admin_client, admin_key
from portal.clusters.constants import PROBE_COLLECTION
from portal.clusters.keeping import cluster_key_ensure
from portal.clusters.models import ClusterStatus, Node
from portal.clusters.operations.observation import cluster_observe, nodes_observe
from portal.clusters.operations.specs import blueprint_of, genesis_make, material_make
from portal.clusters.operations.types import Context, Outcome, Waiting
from portal.core import clock
from portal.plans.selectors import plan_get

CLIENT_TIMEOUT_S = 3.0
PATIENCE = timedelta(seconds=20)


def allocate(context: Context) -> Outcome:
    """Give every node an address that stays its own."""
    cluster = context.cluster
    addresses = context.driver.reserve(str(cluster.pk), range(cluster.desired_nodes))
    with transaction.atomic():
        for index, address in addresses.items():
            Node.objects.update_or_create(
                cluster=cluster,
                index=index,
                defaults={
                    "name": f"{cluster.slug}-{index}",
                    "host": address.host,
                    "peer_port": address.peer_port,
                    "http_port": address.http_port,
                    "grpc_port": address.grpc_port,
                },
            )
    return None


def material(context: Context) -> Outcome:
    """Make keys once, and fix what every node begins with."""
    material_make(context.cluster)
    try:
        cluster_key_ensure(context.cluster)
    except KeyProviderError as error:
        return Waiting(f"the keeper of the keys ({error_words(error)})")
    genesis_make(context.cluster)
    return None


def place(context: Context) -> Outcome:
    """Hand each node its specification; placing the same twice changes nothing."""
    for node in context.cluster.present_nodes:
        context.driver.place(blueprint_of(context.cluster, node))
    return None


def start(context: Context) -> Outcome:
    """Start what does not run, and wait until every process is seen to run."""
    return processes_start(context, [node.index for node in context.cluster.present_nodes])


def processes_start(context: Context, indexes: Sequence[int]) -> Outcome:
    """Start those of these nodes that do not run, and say which are not seen to run yet."""
    key = str(context.cluster.pk)
    seen = context.driver.observe(key)
    for index in indexes:
        if index not in seen:
            context.driver.start(key, index)
        elif seen[index].state in {"stopped", "failed"}:
            context.driver.restart(key, index)
    down = [index for index in indexes if index not in seen or not seen[index].is_up]
    return Waiting(f"process of {nodes_named(down)} to start") if down else None


def quorum(context: Context) -> Outcome:
    """Ask every node from outside, as a client would."""
    cluster = context.cluster
    found = nodes_observe(cluster.members, admin_key(cluster))
    ready = [o for o in found if o.is_ready]
    if len(ready) == len(found):
        return None
    not_ready = [o.index for o in found if not o.is_ready]
    needed = quorum_size(cluster.size)
    # One slow node must not hold back what works without it: it will be shown as degraded.
    if len(ready) >= needed and has_waited(context, PATIENCE):
        return None
    words = f"({len(ready)} are, a quorum is {needed})"
    return Waiting(f"{nodes_named(not_ready)} to be ready {words}")


def has_waited(context: Context, span: timedelta) -> bool:
    """Tell whether the step at work has been waiting for longer than that."""
    begun = context.operation.steps.filter(status="running").first()
    return (
        begun is not None
        and begun.started_at is not None
        and (clock.now() - begun.started_at > span)
    )


def probe(context: Context) -> Outcome:
    """Write through the cluster, and read it back."""
    return probe_with(lambda: admin_client(context.cluster, timeout_s=CLIENT_TIMEOUT_S))


def probe_with(client_new: Callable[[], Client]) -> Outcome:
    """Write, read the write back behind a barrier, and take it away again.

    What is written is a collection and not a document: versions never repeat in a cluster, so
    that the customer's first documents would otherwise start at version 2.
    """
    try:
        with client_new() as client:
            client.collection_put(PROBE_COLLECTION, {})
            client.query(PROBE_COLLECTION, consistency="strong", limit=1)
            names = {str(found["name"]) for found in client.collections()}
            client.collection_drop(PROBE_COLLECTION)
    except (ClientError, httpx.HTTPError) as error:
        return Waiting(f"the cluster to accept a write ({error_words(error)})")
    return None if PROBE_COLLECTION in names else Waiting("what was written to be read")


def limits(context: Context) -> Outcome:
    """Compare the limits in force with the plan's, and set them where they differ."""
    plan = plan_get(context.cluster.plan)
    try:
        with admin_client(context.cluster, timeout_s=CLIENT_TIMEOUT_S) as client:
            stats = client.stats()
            in_force = (
                stats["calls"]["limit"],
                stats["storage"]["limit"],
                stats["requests_per_s"],
            )
            if in_force == (plan.calls_per_month, plan.storage_bytes, plan.requests_per_s):
                return None
            client.quota_put(
                {
                    "calls_limit": plan.calls_per_month,
                    "storage_limit_bytes": plan.storage_bytes,
                    "requests_per_s": plan.requests_per_s,
                }
            )
    except (ClientError, httpx.HTTPError) as error:
        return Waiting(f"the cluster to take the limits of the plan ({error_words(error)})")
    return Waiting("the limits of the plan to be in force")


def finish(context: Context) -> Outcome:
    """Open the cluster: from now on its status follows what is observed."""
    cluster = context.cluster
    cluster.status = ClusterStatus.RUNNING
    cluster.ready_at = cluster.ready_at or clock.now()
    cluster.deleted_at = cluster.purge_at = None
    cluster.save(update_fields=["status", "ready_at", "deleted_at", "purge_at"])
    cluster_observe(cluster, context.driver)
    return None


def nodes_named(indexes: Sequence[int]) -> str:
    """Return the nodes in words."""
    words = ", ".join(str(index) for index in indexes)
    return f"node {words}" if len(indexes) == 1 else f"nodes {words}"


def error_words(error: Exception) -> str:
    """Return what an error of a cluster says, short."""
    return error.code if isinstance(error, ApiError) else str(error)[:200]
