"""Steps that bring a cluster up; each one observes before it acts."""

from datetime import timedelta

import httpx
import msgspec
from django.conf import settings
from django.db import transaction

from dataplane.client.errors import ApiError, ClientError
from dataplane.client.keys import SCOPES, hash_token, key_id_of
from dataplane.client.provisioning import (
    Authority,
    NodeMaterial,
    create_authority,
    create_node_material,
)
from dataplane.client.quorum import quorum_size
from dataplane.client.spec import GenesisSpec, KeySpec, MemberSpec
from portal.clusters.connections import admin_client, admin_key
from portal.clusters.constants import PROBE_COLLECTION
from portal.clusters.models import Cluster, ClusterStatus, Node
from portal.clusters.operations.observation import cluster_observe, nodes_observe
from portal.clusters.operations.types import Context, Outcome, Waiting
from portal.clusters.ports import Blueprint
from portal.core import clock
from portal.core.crypto import seal, unseal
from portal.core.tenancy import current_schema
from portal.plans.selectors import plan_get

CLIENT_TIMEOUT_S = 3.0
USAGE_WINDOW_MS = 60_000
PATIENCE = timedelta(seconds=20)


def allocate(context: Context) -> Outcome:
    """Give every node an address that stays its own."""
    cluster = context.cluster
    addresses = context.driver.reserve(str(cluster.pk), cluster.desired_nodes)
    with transaction.atomic():
        for index, address in enumerate(addresses):
            Node.objects.update_or_create(
                cluster=cluster,
                index=index,
                defaults={
                    "name": f"{cluster.slug}-{index}",
                    "host": address.host,
                    "peer_port": address.peer_port,
                    "http_port": address.http_port,
                },
            )
    return None


def material(context: Context) -> Outcome:
    """Make keys once; a second run keeps those that exist, since peers may know them."""
    cluster, now = context.cluster, clock.now()
    with transaction.atomic():
        if not cluster.authority:
            made = create_authority(cluster.data_plane_id, now)
            cluster.authority = seal(msgspec.json.encode(made))
            cluster.save(update_fields=["authority"])
        authority = _authority(cluster)
        for node in cluster.nodes.filter(public_key=""):
            own = create_node_material(authority, cluster.data_plane_id, node.index, node.host, now)
            node.material = seal(msgspec.json.encode(own))
            node.public_key, node.gateway_public_key = own.public_key, own.gateway_public_key
            node.save(update_fields=["material", "public_key", "gateway_public_key"])
    return None


def place(context: Context) -> Outcome:
    """Hand each node its specification; placing the same twice changes nothing."""
    cluster = context.cluster
    nodes = list(cluster.nodes.all())
    members = tuple(
        MemberSpec(n.index, n.host, n.peer_port, n.http_port, n.public_key, n.gateway_public_key)
        for n in nodes
    )
    for node in nodes:
        context.driver.place(
            Blueprint(
                cluster=str(cluster.pk),
                cluster_id=cluster.data_plane_id,
                cluster_name=cluster.name,
                organization=current_schema(),
                index=node.index,
                members=members,
                genesis=_genesis(cluster),
                authority=_authority(cluster),
                material=msgspec.json.decode(unseal(bytes(node.material)), type=NodeMaterial),
                usage_url=f"{_internal_url()}/internal/usage",
                usage_token=unseal(bytes(cluster.usage_token)).decode(),
            )
        )
    return None


def start(context: Context) -> Outcome:
    """Start what does not run, and wait until every process is seen to run."""
    cluster, key = context.cluster, str(context.cluster.pk)
    seen = context.driver.observe(key)
    missing = [n.index for n in cluster.nodes.all() if n.index not in seen]
    for index in missing:
        context.driver.start(key, index)
    for index, placed in seen.items():
        if placed.state in {"stopped", "failed"}:
            context.driver.restart(key, index)
    down = [n.index for n in cluster.nodes.all() if n.index not in seen or not seen[n.index].is_up]
    return Waiting(f"process of {_nodes(down)} to start") if down else None


def quorum(context: Context) -> Outcome:
    """Ask every node from outside, as a client would."""
    cluster = context.cluster
    found = nodes_observe(cluster)
    ready = [o for o in found if o.is_ready]
    if len(ready) == len(found):
        return None
    not_ready = [o.index for o in found if not o.is_ready]
    needed = quorum_size(cluster.desired_nodes)
    # One slow node must not hold back what works without it: it will be shown as degraded.
    begun = context.operation.steps.filter(name__endswith="quorum", status="running").first()
    since = None if begun is None else begun.started_at
    if len(ready) >= needed and since is not None and clock.now() - since > PATIENCE:
        return None
    return Waiting(f"{_nodes(not_ready)} to be ready ({len(ready)} are, a quorum is {needed})")


def probe(context: Context) -> Outcome:
    """Write through the cluster, read the write back behind a barrier, and take it away again.

    What is written is a collection and not a document: versions never repeat in a cluster, so
    that the customer's first documents would otherwise start at version 2.
    """
    try:
        with admin_client(context.cluster, timeout_s=CLIENT_TIMEOUT_S) as client:
            client.collection_put(PROBE_COLLECTION, {})
            client.query(PROBE_COLLECTION, consistency="strong", limit=1)
            names = {str(found["name"]) for found in client.collections()}
            client.collection_drop(PROBE_COLLECTION)
    except (ClientError, httpx.HTTPError) as error:
        return Waiting(f"the cluster to accept a write ({_short(error)})")
    return None if PROBE_COLLECTION in names else Waiting("what was written to be read")


def limits(context: Context) -> Outcome:
    """Compare the limits in force with the plan's, and set them where they differ."""
    plan = plan_get(context.cluster.plan)
    try:
        with admin_client(context.cluster, timeout_s=CLIENT_TIMEOUT_S) as client:
            stats = client.stats()
            in_force = (stats["calls"]["limit"], stats["storage"]["limit"])
            if in_force == (plan.calls_per_month, plan.storage_bytes):
                return None
            client.quota_put(
                {
                    "calls_limit": plan.calls_per_month,
                    "storage_limit_bytes": plan.storage_bytes,
                }
            )
    except (ClientError, httpx.HTTPError) as error:
        return Waiting(f"the cluster to take the limits of the plan ({_short(error)})")
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


def _genesis(cluster: Cluster) -> GenesisSpec:
    plan = plan_get(cluster.plan)
    token = admin_key(cluster)
    key_id = key_id_of(token)
    assert key_id is not None
    own = KeySpec(key_id, "portal", hash_token(token), SCOPES)
    return GenesisSpec(
        (own,),
        plan.calls_per_month,
        plan.storage_bytes,
        getattr(settings, "USAGE_WINDOW_MS", USAGE_WINDOW_MS),
    )


def _internal_url() -> str:
    """Return where nodes reach the portal: not always where browsers do."""
    return str(getattr(settings, "INTERNAL_URL", settings.PORTAL_URL))


def _authority(cluster: Cluster) -> Authority:
    return msgspec.json.decode(unseal(bytes(cluster.authority)), type=Authority)


def _nodes(indexes: list[int]) -> str:
    words = ", ".join(str(index) for index in indexes)
    return f"node {words}" if len(indexes) == 1 else f"nodes {words}"


def _short(error: Exception) -> str:
    return error.code if isinstance(error, ApiError) else str(error)[:200]
