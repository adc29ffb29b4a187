"""Connects watching to the portal's database and channels."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

from portal.clusters.chaos.recording import Happening, experiments_open, records_add
from portal.clusters.connections import admin_key
from portal.clusters.models import Experiment
from portal.core import clock
from portal.core.live import cluster_group
from portal.core.tenancy import tenant_context, tenants
from portal.monitoring.experiments.types import ExperimentTarget
from portal.monitoring.experiments.watching import WatchPorts
from portal.monitoring.types import NodeAddress

logger = logging.getLogger(__name__)


def targets_find() -> list[ExperimentTarget]:
    """Return every experiment to watch (three statements an organization that has one)."""
    found: list[ExperimentTarget] = []
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            found += [_target(tenant.schema_name, row) for row in experiments_open()]
    return found


def _target(schema: str, experiment: Experiment) -> ExperimentTarget:
    cluster = experiment.cluster
    return ExperimentTarget(
        schema=schema,
        cluster_id=cluster.pk,
        experiment_id=experiment.pk,
        token=admin_key(cluster),
        nodes=tuple(NodeAddress(node.index, node.url) for node in cluster.members),
        broken=experiment.broken,
    )


def _add(
    target: ExperimentTarget,
    at: datetime,
    sample: Mapping[str, object],
    happenings: Sequence[Happening],
) -> None:
    with tenant_context(target.schema):
        records_add(target.experiment_id, at=at, sample=sample, happenings=happenings)


async def _store(
    target: ExperimentTarget,
    at: datetime,
    sample: Mapping[str, object],
    happenings: Sequence[Happening],
) -> None:
    """Write a second down, and tell open pages that there is something to read."""
    await database_sync_to_async(_add)(target, at, sample, happenings)
    layer = get_channel_layer()
    if layer is None:
        return
    event = {"type": "chaos", "experiment": str(target.experiment_id)}
    try:
        group = cluster_group(target.cluster_id)
        await layer.group_send(group, {"type": "live.event", "event": event})
    except (OSError, RedisError):
        logger.warning("experiments.publish_failed", extra={"cluster": str(target.cluster_id)})


def make_watch_ports() -> WatchPorts:
    """Return what watching needs."""
    return WatchPorts(find=database_sync_to_async(targets_find), store=_store, now=clock.now)
