"""Seeing what is: every node of a cluster is asked from outside, by several at once."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from dataplane.client.quorum import faults_tolerated, quorum_size
from portal.clusters.connections import admin_key
from portal.clusters.constants import OBSERVE_TIMEOUT_S
from portal.clusters.models import Cluster, ClusterStatus, Membership, Node
from portal.clusters.operations.live import announce_cluster
from portal.clusters.ports import Driver, DriverError
from portal.clusters.selectors import experiment_broken
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


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a node says the cluster and itself stand; `accused` is whom it caught at faults."""

    index: int
    epoch: int
    is_member: bool
    sequence: int
    primary: int | None
    accused: frozenset[int]


@dataclass(frozen=True, slots=True, order=True)
class Moving:
    """For how many segments of cold documents, of how many, a change of members waits."""

    waiting: int
    segments: int


def nodes_observe(nodes: Sequence[Node], key: str) -> list[Observation]:
    """Ask nodes at once; one that does not answer in time is not ready."""
    return _ask_all(nodes, key, _ask)


def standings(nodes: Sequence[Node], key: str) -> dict[int, Standing]:
    """Ask nodes at once where they stand; those that do not answer are missing."""
    found = _ask_all(nodes, key, _ask_standing)
    return {standing.index: standing for standing in found if standing is not None}


def moving(members: Sequence[Node], key: str) -> Moving | None:
    """Ask members whether the change that was ordered waits for cold documents; None: it does not.

    Up to f may say so falsely: what is told is not more than an honest one says.
    """
    found = [seen for seen in _ask_all(members, key, _ask_moving) if seen is not None]
    faults = faults_tolerated(len(members))
    return sorted(found, reverse=True)[faults] if len(found) > faults else None


def _ask_moving(http: httpx.Client, node: Node) -> Moving | None:
    try:
        body: Any = http.get(f"{node.url}/api/v1/members").json()["moving"]
        return Moving(int(body["waiting"]), int(body["segments"]))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def checkpoints(nodes: Sequence[Node], key: str) -> dict[int, dict[int, str]]:
    """Ask nodes at once for their own roots at their last checkpoints; the silent are missing."""
    found = zip(nodes, _ask_all(nodes, key, _ask_checkpoints), strict=True)
    return {node.index: roots for node, roots in found if roots is not None}


def _ask_checkpoints(http: httpx.Client, node: Node) -> dict[int, str] | None:
    try:
        body: Any = http.get(f"{node.url}/api/v1/nodes/status").json()
        return {int(found["sequence"]): str(found["root"]) for found in body["checkpoints"]}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def _ask_all[T](nodes: Sequence[Node], key: str, ask: Callable[[httpx.Client, Node], T]) -> list[T]:
    if not nodes:
        return []
    headers = {"Authorization": f"Bearer {key}"}
    with (
        httpx.Client(timeout=OBSERVE_TIMEOUT_S, trust_env=False, headers=headers) as http,
        ThreadPoolExecutor(max_workers=len(nodes)) as pool,
    ):
        return list(pool.map(lambda node: ask(http, node), nodes))


def _ask_standing(http: httpx.Client, node: Node) -> Standing | None:
    try:
        response = http.get(f"{node.url}/api/v1/nodes/status")
        body: Any = response.json()
        return Standing(
            index=node.index,
            epoch=int(body["epoch"]),
            is_member=body["is_member"] is True,
            sequence=int(body["sequence"]),
            primary=_number(body["primary"]),
            accused=frozenset(int(peer["id"]) for peer in body["nodes"] if int(peer["faults"])),
        )
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


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
    if not cluster.admin_key:
        return
    answers = nodes_observe(cluster.present_nodes, admin_key(cluster))
    _wake(cluster, driver)
    nodes_write(cluster, answers)
    voting = {node.index for node in cluster.members}
    found = [o for o in answers if o.index in voting]
    ready = [o for o in found if o.is_ready]
    # Of those who executed the same, the one in the newest view knows who leads it.
    best = max(ready, key=lambda o: (o.sequence or 0, o.view or 0), default=None)
    size = cluster.size
    observed = {
        "nodes": len(found),
        "ready": len(ready),
        "f": faults_tolerated(size),
        "quorum": quorum_size(size),
        "has_quorum": len(ready) >= quorum_size(size),
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
    experiment = experiment_broken(cluster)
    crashed = [] if experiment is None else experiment.crashed
    try:
        placed = driver.observe(key)
        for node in cluster.present_nodes:
            if node.index in crashed:
                continue
            if node.index not in placed:
                driver.start(key, node.index)
            elif placed[node.index].state == "stopped":
                driver.restart(key, node.index)
    except DriverError as error:
        # What was seen from outside is worth writing down all the same.
        logger.warning("cluster.driver_failed", extra={"cluster": key, "reason": str(error)})


def nodes_write(cluster: Cluster, found: Sequence[Observation]) -> None:
    """Write down how nodes answered."""
    rows = {node.index: node for node in cluster.present_nodes}
    newest = max((o.sequence or 0 for o in found), default=0)
    for seen in found:
        node = rows[seen.index]
        node.state = _state_of(node, seen)
        node.observed = {
            "role": "learner" if node.state == "learning" else seen.role or None,
            "sequence": seen.sequence,
            "lag": None if seen.sequence is None else newest - seen.sequence,
            "version": seen.version,
            "evidence": seen.evidence,
            "reason": seen.reason or None,
        }
    Node.objects.bulk_update(rows.values(), ["state", "observed"])


def _state_of(node: Node, seen: Observation) -> str:
    if not seen.role:
        return "unreachable"
    if node.membership == Membership.LEARNER:
        return "learning"
    return "ready" if seen.is_ready else "starting"
