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
        return "up" if self.stats.ready else "not_ready"

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
    # The node that executed most knows the replicated figures best.
    best = max(known, key=lambda stats: (stats.sequence, stats.ready))
    nodes = [_node_frame(track, now=now, sequence=best.sequence) for track in tracks]
    ready = sum(1 for node in nodes if node["health"] == "up")
    return {
        "type": "metrics",
        "cluster": str(cluster_id),
        "at": at.isoformat(timespec="milliseconds"),
        "status": _status(ready, len(tracks), best.quorum),
        "throughput": _throughput(tracks, now),
        "latency_ms": _latency(tracks, now),
        "sequence": best.sequence,
        "view": best.view,
        "primary": best.primary,
        "f": best.f,
        "quorum": best.quorum,
        "ready_count": ready,
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


def _status(ready: int, count: int, quorum: int) -> Status:
    """A cluster serves while a quorum is ready; it is whole only with every node."""
    if ready < quorum:
        return "down"
    return "ok" if ready == count else "degraded"


def _node_frame(track: NodeTrack, *, now: float, sequence: int) -> NodeFrame:
    """Describe one node."""
    stats = track.stats
    return {
        "id": track.index,
        "health": track.health(now),
        "role": stats.role if stats is not None else "unknown",
        "sequence": stats.sequence if stats is not None else None,
        "lag": sequence - stats.sequence if stats is not None else None,
        "version": stats.version if stats is not None else "",
        "uptime_s": stats.uptime_s if stats is not None else None,
    }


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
        if track.stats is not None and track.health(now) in {"up", "not_ready"}
    ]

    def slowest(pick: Callable[[Latency], float | None]) -> float | None:
        values = [value for value in map(pick, fresh) if value is not None]
        return round(max(values), 3) if values else None

    return {
        "p50": slowest(lambda latency: latency.p50),
        "p95": slowest(lambda latency: latency.p95),
        "p99": slowest(lambda latency: latency.p99),
    }
