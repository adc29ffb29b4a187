"""Seeing what is: every node of a cluster is asked from outside, by several at once."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from dataplane.client.quorum import faults_tolerated, quorum_size
from portal.clusters.connections import admin_key
from portal.clusters.constants import OBSERVE_TIMEOUT_S
from portal.clusters.models import Cluster, ClusterStatus, Node
from portal.clusters.operations.live import announce_cluster
from portal.clusters.ports import Driver, DriverError
from portal.core import clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one node answered."""

    index: int
    is_ready: bool
    role: str = ""
    sequence: int | None = None
    view: int | None = None
    primary: int | None = None
    version: str = ""
    evidence: int = 0
    reason: str = ""


def nodes_observe(cluster: Cluster) -> list[Observation]:
    """Ask all nodes at once; a node that does not answer in time is not ready."""
    nodes = list(cluster.nodes.all())
    if not nodes or not cluster.admin_key:
        return []
    headers = {"Authorization": f"Bearer {admin_key(cluster)}"}
    with (
        httpx.Client(timeout=OBSERVE_TIMEOUT_S, trust_env=False, headers=headers) as http,
        ThreadPoolExecutor(max_workers=len(nodes)) as pool,
    ):
        return list(pool.map(lambda node: _ask(http, node), nodes))


def _ask(http: httpx.Client, node: Node) -> Observation:
    try:
        response = http.get(f"{node.url}/api/v1/stats")
        body: Any = response.json()
    except httpx.TimeoutException:
        return Observation(node.index, is_ready=False, reason="it does not answer in time")
    except (httpx.HTTPError, ValueError):
        return Observation(node.index, is_ready=False, reason="it does not accept connections yet")
    if not response.is_success or not isinstance(body, dict) or body.get("node_id") != node.index:
        return Observation(node.index, is_ready=False, reason=f"it answers {response.status_code}")
    return Observation(
        index=node.index,
        is_ready=body.get("ready") is True,
        role=str(body.get("role", "")),
        sequence=_number(body.get("sequence")),
        view=_number(body.get("view")),
        primary=_number(body.get("primary")),
        version=str(body.get("version", "")),
        evidence=_number(body.get("evidence")) or 0,
        reason="" if body.get("ready") is True else "it is catching up",
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def cluster_observe(cluster: Cluster, driver: Driver) -> None:
    """Write down what is seen of a cluster in use, and start processes that should be there."""
    found = nodes_observe(cluster)
    _wake(cluster, driver)
    ready = [o for o in found if o.is_ready]
    newest = max((o.sequence or 0 for o in found), default=0)
    _write_nodes(cluster, found, newest)
    best = max(ready, key=lambda o: o.sequence or 0, default=None)
    observed = {
        "nodes": len(found),
        "ready": len(ready),
        "f": faults_tolerated(cluster.desired_nodes),
        "quorum": quorum_size(cluster.desired_nodes),
        "has_quorum": len(ready) >= quorum_size(cluster.desired_nodes),
        "view": None if best is None else best.view,
        "primary": None if best is None else best.primary,
    }
    status = ClusterStatus.RUNNING if len(ready) == len(found) else ClusterStatus.DEGRADED
    is_news = status != cluster.status or observed != cluster.observed
    cluster.status, cluster.observed, cluster.observed_at = status, observed, clock.now()
    # Conditional: an operation that began meanwhile has the say over the status.
    rows = Cluster.objects.filter(
        pk=cluster.pk, status__in=[ClusterStatus.RUNNING, ClusterStatus.DEGRADED]
    )
    if rows.update(status=status, observed=observed, observed_at=clock.now()) and is_news:
        announce_cluster(cluster)


def _wake(cluster: Cluster, driver: Driver) -> None:
    """Start the processes that should be there and are not."""
    key = str(cluster.pk)
    try:
        placed = driver.observe(key)
        for node in cluster.nodes.all():
            if node.index not in placed:
                driver.start(key, node.index)
            elif placed[node.index].state == "stopped":
                driver.restart(key, node.index)
    except DriverError as error:
        # What was seen from outside is worth writing down all the same.
        logger.warning("cluster.driver_failed", extra={"cluster": key, "reason": str(error)})


def _write_nodes(cluster: Cluster, found: list[Observation], newest: int) -> None:
    rows = {node.index: node for node in cluster.nodes.all()}
    for seen in found:
        node = rows[seen.index]
        node.state = "ready" if seen.is_ready else "unreachable" if not seen.role else "starting"
        node.observed = {
            "role": seen.role or None,
            "sequence": seen.sequence,
            "lag": None if seen.sequence is None else newest - seen.sequence,
            "version": seen.version,
            "evidence": seen.evidence,
            "reason": seen.reason or None,
        }
    Node.objects.bulk_update(rows.values(), ["state", "observed"])
