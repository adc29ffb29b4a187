"""From the nodes' counters to the figures of one second: pure, so that tests can turn the clock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from portal.monitoring.constants import DOWN_AFTER_S, STALE_AFTER_S
from portal.monitoring.types import (
    Frame,
    Health,
    Latency,
    LatencyFrame,
    NodeFrame,
    NodeStats,
    Ops,
    Status,
    Throughput,
)


@dataclass(slots=True)
class NodeTrack:
    """What is known of one node: its last two answers and when they came."""

    index: int
    is_learner: bool = False
    stats: NodeStats | None = None
    answered_at: float | None = None
    previous: NodeStats | None = None
    previous_at: float | None = None
    started_at: float = 0.0

    def answered(self, stats: NodeStats, at: float) -> None:
        """Take an answer in."""
        self.previous, self.previous_at = self.stats, self.answered_at
        self.stats, self.answered_at = stats, at

    def health(self, now: float) -> Health:
        """Judge the node by the age of its last answer."""
        seen = self.answered_at if self.answered_at is not None else self.started_at
        age = now - seen
        if age >= DOWN_AFTER_S:
            return "down"
        if age >= STALE_AFTER_S or self.stats is None:
            return "stale"
        if self.is_learner:
            return "learning"
        return "up" if self.stats.ready else "not_ready"

    def is_heard(self, now: float) -> bool:
        """Tell whether its last answer is of now."""
        return self.health(now) in {"up", "not_ready", "learning"}

    def rate(self, now: float, counter: Callable[[Ops], int]) -> float:
        """Answer events a second between the last two answers; 0 when they are too old."""
        if self.stats is None or self.previous is None:
            return 0.0
        if self.answered_at is None or self.previous_at is None:
            return 0.0
        span = self.answered_at - self.previous_at
        if span <= 0 or now - self.answered_at >= STALE_AFTER_S:
            return 0.0
        delta = counter(self.stats.ops) - counter(self.previous.ops)
        if delta < 0:  # The node started again: its counter began at zero.
            delta = counter(self.stats.ops)
        return delta / span


def make_frame(
    cluster_id: UUID, tracks: Iterable[NodeTrack], *, now: float, at: datetime
) -> Frame | None:
    """Combine what the nodes said; None as long as no node has ever answered."""
    tracks = sorted(tracks, key=lambda track: track.index)
    known = [track.stats for track in tracks if track.stats is not None]
    if not known:
        return None
    best = _best(tracks, now)
    newest = max(stats.sequence for stats in known)
    nodes = [_node_frame(track, now=now, newest=newest, primary=best.primary) for track in tracks]
    ready = sum(1 for node in nodes if node["health"] == "up")
    members = sum(1 for track in tracks if not track.is_learner)
    return {
        "type": "metrics",
        "cluster": str(cluster_id),
        "at": at.isoformat(timespec="milliseconds"),
        "status": _status(ready, members, best.quorum),
        "throughput": _throughput(tracks, now),
        "latency_ms": _latency(tracks, now),
        "sequence": newest,
        "view": best.view,
        "primary": best.primary,
        "f": best.f,
        "quorum": best.quorum,
        "ready_count": ready,
        "member_count": members,
        "documents": best.documents,
        "collections": best.collections,
        "calls": {
            "used": best.calls.used,
            "limit": best.calls.limit,
            "resets": best.calls.resets,
        },
        "storage": {"used": best.storage.used, "limit": best.storage.limit, "resets": None},
        "nodes": nodes,
    }


def _best(tracks: list[NodeTrack], now: float) -> NodeStats:
    """Return the answer that knows the replicated figures best.

    A node that is silent may have been the primary: its last answer would still say so after the
    others chose another one. So those that are heard come first, then who executed most.
    """

    def rank(track: NodeTrack) -> tuple[bool, bool, int, bool, int]:
        stats = track.stats
        assert stats is not None, "only nodes that answered are ranked"
        return (
            track.is_heard(now),
            not track.is_learner,
            stats.sequence,
            stats.ready,
            stats.view,
        )

    found = max((track for track in tracks if track.stats is not None), key=rank).stats
    assert found is not None
    return found


def _status(ready: int, count: int, quorum: int) -> Status:
    """A cluster serves while a quorum is ready; it is whole only with every node."""
    if ready < quorum:
        return "down"
    return "ok" if ready == count else "degraded"


def _node_frame(track: NodeTrack, *, now: float, newest: int, primary: int | None) -> NodeFrame:
    """Describe one node."""
    stats = track.stats
    return {
        "id": track.index,
        "health": track.health(now),
        "role": _role(track, primary),
        "sequence": stats.sequence if stats is not None else None,
        "lag": newest - stats.sequence if stats is not None else None,
        "version": stats.version if stats is not None else "",
        "uptime_s": stats.uptime_s if stats is not None else None,
    }


def _role(track: NodeTrack, primary: int | None) -> str:
    """Say what a node is to the others, not what it last said of itself."""
    if track.is_learner:
        return "learner"
    if track.stats is None:
        return "unknown"
    if primary is None:
        return track.stats.role
    return "primary" if track.index == primary else "backup"


def _throughput(tracks: list[NodeTrack], now: float) -> Throughput:
    """Each request is counted by the node whose gateway took it, so the nodes add up."""

    def total(counter: Callable[[Ops], int]) -> float:
        return round(sum(track.rate(now, counter) for track in tracks), 2)

    return {
        "total": total(lambda ops: ops.total),
        "reads": total(lambda ops: ops.reads),
        "writes": total(lambda ops: ops.writes),
        "errors": total(lambda ops: ops.errors),
    }


def _latency(tracks: list[NodeTrack], now: float) -> LatencyFrame:
    """Percentiles cannot be averaged: the slowest node's is shown, which never flatters."""
    fresh = [
        track.stats.latency_ms
        for track in tracks
        if track.stats is not None and track.is_heard(now)
    ]

    def slowest(pick: Callable[[Latency], float | None]) -> float | None:
        values = [value for value in map(pick, fresh) if value is not None]
        return round(max(values), 3) if values else None

    return {
        "p50": slowest(lambda latency: latency.p50),
        "p95": slowest(lambda latency: latency.p95),
        "p99": slowest(lambda latency: latency.p99),
    }
