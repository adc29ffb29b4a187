"""Which clusters run now, over all organizations, and what the collector does with frames."""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from portal.clusters.models import Cluster, Membership, Node
from portal.core import clock
from portal.core.crypto import unseal
from portal.core.live import cluster_group
from portal.core.tenancy import tenant_context, tenants
from portal.monitoring.collector import Ports
from portal.monitoring.services import sample_store, samples_maintain
from portal.monitoring.types import Frame, NodeAddress, Target

logger = logging.getLogger(__name__)

# A cluster is worth watching from the moment its nodes have addresses until it is gone.
WATCHED = ("running", "degraded", "scaling", "provisioning", "needs_operator")


def targets_find() -> list[Target]:
    """Answer every cluster to watch (two statements an organization)."""
    found: list[Target] = []
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            found += _targets_of(tenant.schema_name)
    return found


def _targets_of(schema: str) -> list[Target]:
    """Answer the clusters to watch of one organization."""
    clusters = list(Cluster.objects.filter(status__in=WATCHED, deleted_at=None))
    addresses: dict[UUID, list[NodeAddress]] = {}
    nodes = Node.objects.filter(cluster__in=clusters, http_port__gt=0)
    for node in nodes.exclude(membership=Membership.REMOVED).order_by("index"):
        is_learner = node.membership == Membership.LEARNER
        address = NodeAddress(node.index, node.url, is_learner)
        addresses.setdefault(node.cluster_id, []).append(address)
    return [
        Target(
            schema=schema,
            cluster_id=cluster.pk,
            token=unseal(bytes(cluster.admin_key)).decode(),
            nodes=tuple(addresses[cluster.pk]),
        )
        for cluster in clusters
        if cluster.pk in addresses and cluster.admin_key
    ]


async def publish(target: Target, frame: Frame) -> None:
    """Send a frame to everyone who looks at the cluster; nobody misses one for long."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        group = cluster_group(target.cluster_id)
        await layer.group_send(group, {"type": "live.event", "event": frame})
    except (OSError, RedisError):
        logger.warning("collector.publish_failed", extra={"cluster": str(target.cluster_id)})


def _store(target: Target, frames: Sequence[Frame], at: datetime) -> None:
    """Keep some seconds as a sample."""
    with tenant_context(target.schema):
        sample_store(target.cluster_id, frames, at=at)


def _maintain() -> None:
    """Thin samples out in every organization."""
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            samples_maintain(now=now)


def make_ports() -> Ports:
    """Connect the collector to the portal's database and channels."""
    return Ports(
        discover=database_sync_to_async(targets_find),
        publish=publish,
        store=database_sync_to_async(_store),
        maintain=sync_to_async(_maintain, thread_sensitive=True),
        now=clock.now,
    )
